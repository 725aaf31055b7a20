//! Profiles of a hub at work, read by the standard tool: Go's `pprof`.

use std::{path::Path, process::Stdio};

use rivulet_tests::{Backend, Hub, PATIENCE, Request, Response, eventually, guide};
use tokio::process::Command;

/// The README's commands, one a line, with the address of this test's hub.
fn commands(hub: &Hub) -> Vec<String> {
    let commands = guide::readme_command("profiles");
    assert!(commands.lines().all(|command| command.contains("127.0.0.1:9180")), "{commands}");
    // A build without optimization takes seconds to look up names, more than half of those that a profile lasts.
    let patient = commands.replace("-symbolize=none", "-symbolize=none -timeout 60");
    patient.lines().map(|command| command.replace("127.0.0.1:9180", &hub.admin().to_string())).collect()
}

/// What Go's pprof says about a profile that it gets from the hub: the functions with the most first.
async fn top(command: &str, directory: &Path) -> String {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &format!("exec {command}")])
        // It keeps what it got at home.
        .env("HOME", directory)
        .env("PPROF_TMPDIR", directory)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = shell.output().await.expect("a shell can be started");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    text
}

async fn get(hub: &Hub, path: &str) -> Response {
    Request::new("GET", path).send(hub.admin()).await
}

/// Publishes until the future is done; answers its output.
async fn under_load<O>(hub: &Hub, work: impl Future<Output = O>) -> O {
    let load = async {
        loop {
            hub.publish(&[("topic", "a"), ("data", "0123456789")]).await;
        }
    };
    tokio::select! {
        output = work => output,
        () = load => unreachable!("the load never ends"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn go_reads_profiles_of_the_heap_and_of_the_cpu_that_were_made_at_once_under_load() {
    let hub = Backend::Memory.hub().await;
    let dir = tempfile::tempdir().expect("a temporary directory");
    // Something that is surely sampled, which of half a megabyte is one allocation: updates that are kept.
    let data = "x".repeat(500_000);
    for _ in 0..40 {
        hub.publish(&[("topic", "kept"), ("data", &data)]).await;
    }
    let mut streams = Vec::new();
    for _ in 0..20 {
        streams.push(hub.subscribe("topic=a").await);
    }
    let commands = commands(&hub);
    let [heap, cpu] = &commands[..] else { panic!("two kinds of profiles: {commands:?}") };
    let (cpu, heap) = under_load(&hub, async {
        tokio::join!(top(cpu, dir.path()), async {
            get(&hub, "/debug/pprof/heap").await;
            top(heap, dir.path()).await
        })
    })
    .await;

    assert!(heap.contains("Type: inuse_space"), "{heap}");
    assert!(heap.contains("rivulet_http::publish::"), "{heap}");
    assert!(!heap.contains("prof_backtrace"), "the allocator's own functions are left out: {heap}");

    assert!(cpu.contains("Type: cpu"), "{cpu}");
    assert!(cpu.contains("rivulet_http::"), "{cpu}");
    assert!(!cpu.contains("perf_signal_handler"), "the profiler's own functions are left out: {cpu}");

    // Nobody was lost on the way: every stream goes on.
    let last = hub.publish(&[("topic", "a"), ("data", "last")]).await;
    for stream in &mut streams {
        while stream.event().await.id.as_deref() != Some(last.as_str()) {}
    }
}

#[tokio::test]
async fn what_making_a_profile_took_is_given_back() {
    let hub = Backend::Memory.hub().await;
    // What is loaded once stays: tables of the program's parts, the first thread for such work.
    get(&hub, "/debug/pprof/heap").await;
    let resident = || hub.metrics().sum("process_resident_memory_bytes", "").unwrap_or_default();
    let before = resident();
    for _ in 0..3 {
        assert_eq!(get(&hub, "/debug/pprof/heap").await.status, 200);
    }
    eventually("memory is given back", PATIENCE, || async {
        let now = resident();
        let grown = now - before;
        if grown < f64::from(8 << 20) { Ok(()) } else { Err(format!("{before} bytes have become {now}")) }
    })
    .await;
}
