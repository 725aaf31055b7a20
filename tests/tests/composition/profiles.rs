//! The hubs of the profiles `sentinel` and `cluster`: their servers, by their own commands, and their nodes.

use std::{net::IpAddr, process::Command};

use rivulet_tests::{PATIENCE, Request, Subscriber, eventually, process::Process};

use super::{
    shipped::{nodes, services},
    world::{World, publication},
};

/// Starts the services whose names begin like this.
fn start(world: &World, beginning: &str) -> Vec<Process> {
    let names = services().into_iter().map(|(name, _)| name).filter(|name| name.starts_with(beginning));
    names.map(|name| world.redis(&name)).collect()
}

/// Starts the nodes of a profile; what is published on one arrives at the other.
async fn nodes_are_one_hub(world: &World, profile: &str) {
    let mut running = Vec::new();
    for (name, _) in nodes(Some(profile)) {
        running.push(world.ready(&name, &[]).await);
    }
    let mut streams = Vec::new();
    for node in &running {
        streams.push(Subscriber::open(node.address, &Request::subscribe("topic=a")).await);
    }
    for (number, node) in running.iter().enumerate() {
        let data = number.to_string();
        node.publish("a", &data).await;
        for stream in &mut streams {
            assert_eq!(stream.event().await.data(), data);
        }
    }
}

/// The servers of the profile `sentinel`, and who watches them.
fn start_sentinels(world: &World) -> Vec<Process> {
    let mut running = start(world, "sentinel-redis-");
    running.extend([1, 2, 3].map(|number| world.redis(&format!("sentinel-{number}"))));
    running
}

fn ask(ip: IpAddr, port: u16, words: &str) -> String {
    let mut command = Command::new("redis-cli");
    command.args(["-h", &ip.to_string(), "-p", &port.to_string()]).args(words.split(' '));
    let output = command.output().expect("redis-cli can be started");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// The address of the master, as a Sentinel knows it.
fn master(world: &World) -> String {
    let answer = ask(world.ip("sentinel-2"), 26379, "sentinel get-master-addr-by-name rivulet");
    answer.lines().next().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_are_one_hub_on_the_sentinels_of_the_profile() {
    let world = World::new();
    let _running = start_sentinels(&world);
    nodes_are_one_hub(&world, "sentinel").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_restart_of_everything_the_last_master_of_the_profile_is_it_again() {
    let world = World::new();
    let (running, first) = (start_sentinels(&world), world.ip("sentinel-redis-1").to_string());
    let node = world.ready("rivulet-sentinel-1", &[]).await;
    let before = node.publish("a", "before").await;
    assert_eq!(master(&world), first);
    eventually("whoever is promoted has it", PATIENCE, || async {
        let has = |name: &str| ask(world.ip(name), 6379, "xlen {rivulet:0}t:a");
        let replicas = ["sentinel-redis-2", "sentinel-redis-3"].map(has);
        if replicas == ["1", "1"] { Ok(()) } else { Err(format!("{replicas:?}")) }
    })
    .await;
    // Once: a replica that copies everything anew after the first failover holds nothing for a second one.
    eventually("a failover begins", PATIENCE, || async {
        let said = ask(world.ip("sentinel-1"), 26379, "sentinel failover rivulet");
        if said == "OK" { Ok(()) } else { Err(said) }
    })
    .await;
    eventually("another one becomes the master", PATIENCE, || async {
        let now = master(&world);
        if now.is_empty() || now == first { Err(now) } else { Ok(()) }
    })
    .await;
    // Until it is told, the old one takes updates as well, which are lost with it.
    eventually("the first one is a replica", 2 * PATIENCE, || async {
        let role = ask(world.ip("sentinel-redis-1"), 6379, "role");
        if role.starts_with("slave") { Ok(()) } else { Err(role) }
    })
    .await;
    eventually("it takes an update", 2 * PATIENCE, || async {
        let answer = publication("a", "after").send(node.address).await;
        if answer.status == 200 { Ok(()) } else { Err(format!("{answer:?}\n{}", node.said())) }
    })
    .await;
    let last = master(&world);
    drop((node, running));

    let _running = start_sentinels(&world);
    let node = world.ready("rivulet-sentinel-1", &[]).await;
    let request = Request::subscribe("topic=a").header("Last-Event-ID", &before);
    let mut stream = Subscriber::open(node.address, &request).await;
    assert_eq!(
        stream.event().await.data(),
        "after",
        "the first server's log is not the newest\n{}",
        world.said()
    );
    assert_eq!(master(&world), last);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_are_one_hub_on_the_cluster_of_the_profile() {
    let world = World::new();
    let _servers = start(&world, "cluster-redis-");
    // It is started again when it fails.
    eventually("the servers are a cluster", PATIENCE, || async {
        match world.redis("cluster-create").wait(2 * PATIENCE) {
            Ok(ended) if ended.success() => Ok(()),
            other => Err(format!("{other:?}\n{}", world.said_by("cluster-create"))),
        }
    })
    .await;
    nodes_are_one_hub(&world, "cluster").await;
}
