//! Redis' servers and Sentinels as the components start them: real processes by the scripts of the manifests.

use std::{process::Command, time::Duration};

use rivulet_tests::{eventually, process::Process};

use super::containers::Machine;

/// A failover begins after five seconds without an answer, and Sentinels look at each other every few seconds.
const PATIENCE: Duration = Duration::from_secs(60);

const SERVERS: (&str, &str) = ("StatefulSet", "redis");

/// What a server answers, on one line; nothing if nobody is there.
fn ask(ip: &str, port: &str, command: &str) -> String {
    let asked = ["3", "redis-cli", "-h", ip, "-p", port].into_iter().chain(command.split(' '));
    let output = Command::new("timeout").args(asked).output().expect("there is a redis-cli");
    String::from_utf8_lossy(&output.stdout).trim().replace('\n', " ")
}

/// The value of a member of what a Sentinel says of the master.
fn told(machine: &Machine, number: usize, member: &str) -> String {
    let answer = ask(&machine.ip(number), "26379", "sentinel master rivulet");
    let mut words = answer.split(' ').skip_while(|word| *word != member);
    words.nth(1).unwrap_or_default().to_owned()
}

/// A pod: a server, and the Sentinel beside it.
struct Pod {
    _containers: [Process; 2],
}

fn pod(machine: &Machine, number: usize) -> Pod {
    Pod { _containers: ["redis", "sentinel"].map(|container| machine.start(SERVERS, number, container)) }
}

/// Waits until these Sentinels agree on a master, which is not one of `not`, and answers who it is.
async fn master(machine: &Machine, sentinels: &[usize], not: &[usize]) -> usize {
    eventually(format!("a master of {sentinels:?}"), PATIENCE, || async {
        let said: Vec<_> = sentinels.iter().map(|number| told(machine, *number, "ip")).collect();
        let found = (0..3).find(|number| said.iter().all(|said| *said == machine.ip(*number)));
        found.filter(|found| !not.contains(found)).ok_or(format!("{said:?}"))
    })
    .await
}

/// Waits until a server follows the master with all that it has.
async fn follows(machine: &Machine, number: usize, master: usize) {
    let wanted = format!("slave {} 6379 connected", machine.ip(master));
    eventually(format!("redis-{number} follows redis-{master}"), PATIENCE, || async {
        let role = ask(&machine.ip(number), "6379", "role");
        let said = || machine.said("redis", number, "redis");
        if role.starts_with(&wanted) { Ok(()) } else { Err(format!("{role}\n{}", said())) }
    })
    .await;
}

/// Writes as soon as a replica has come, which the master wants.
async fn write(machine: &Machine, master: usize, key: &str) {
    eventually(format!("{key} is written"), PATIENCE, || async {
        let answer = ask(&machine.ip(master), "6379", &format!("set {key} 1"));
        let replicas = ask(&machine.ip(master), "6379", "wait 1 1000");
        if answer == "OK" && replicas != "0" { Ok(()) } else { Err(answer) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_pod_of_sentinels_component_comes_back_as_a_second_master_or_with_an_older_log() {
    let machine = Machine::with("sentinel");
    let mut pods: Vec<_> = (0..3).map(|number| Some(pod(&machine, number))).collect();
    assert_eq!(master(&machine, &[0, 1, 2], &[]).await, 0, "at the first start of all the first one begins");
    follows(&machine, 1, 0).await;
    follows(&machine, 2, 0).await;
    for number in 0..3 {
        eventually(format!("Sentinel {number} knows everybody"), PATIENCE, || async {
            let known = ["num-slaves", "num-other-sentinels"].map(|member| told(&machine, number, member));
            if known == ["2", "2"] { Ok(()) } else { Err(format!("{known:?}")) }
        })
        .await;
    }

    pods[0] = None;
    let second = master(&machine, &[1, 2], &[0]).await;
    write(&machine, second, "a").await;
    // Its own Sentinel has written down another master than the others know.
    machine.forget("redis", 0);
    pods[0] = Some(pod(&machine, 0));
    follows(&machine, 0, second).await;
    let said = machine.said("redis", 0, "redis");
    assert!(!said.contains("user request"), "it began as a second master, until a Sentinel saw it:\n{said}");
    assert_eq!(master(&machine, &[0, 1, 2], &[0]).await, second);

    // All together, the first one with an older log than the others.
    pods[0] = None;
    write(&machine, second, "b").await;
    pods.clear();
    (0..3).for_each(|number| machine.forget("redis", number));
    pods.extend((0..3).map(|number| Some(pod(&machine, number))));
    assert_eq!(master(&machine, &[0, 1, 2], &[]).await, second, "as it was before");
    for number in (0..3).filter(|number| *number != second) {
        follows(&machine, number, second).await;
    }
    for number in 0..3 {
        assert_eq!(ask(&machine.ip(number), "6379", "mget a b"), "1 1", "what redis-{number} has");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_job_joins_the_six_servers_once() {
    let machine = Machine::with("redis-cluster");
    let _servers: Vec<_> = (0..6).map(|number| machine.start(SERVERS, number, "redis")).collect();
    let join = || {
        // As a restart on failure would.
        eventually("the Job succeeds", PATIENCE, || async {
            let mut job = machine.start(("Job", "redis-create"), 6, "create");
            let ended = job.wait(PATIENCE)?;
            let said = machine.said("redis-create", 6, "create");
            if ended.success() { Ok(said) } else { Err(said) }
        })
    };
    join().await;
    eventually("a cluster of six", PATIENCE, || async {
        let info = ask(&machine.ip(5), "6379", "cluster info");
        let is_whole = ["cluster_state:ok", "cluster_known_nodes:6", "cluster_size:3"];
        if is_whole.iter().all(|wanted| info.contains(wanted)) { Ok(()) } else { Err(info) }
    })
    .await;
    let said = join().await;
    assert!(said.contains("there is a cluster already"), "{said}");
}
