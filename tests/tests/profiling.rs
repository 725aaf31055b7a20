//! Profiles of a hub at work, read by the standard tool: Go's `pprof`.

use std::{path::Path, process::Command};

use rivulet_tests::{Backend, Hub, PATIENCE, Request, Response, eventually};

/// What Go's pprof says about a profile that lies in a file: the functions with the most first.
fn top(profile: &Path) -> String {
    let output = Command::new("go")
        .args(["tool", "pprof", "-top", "-cum", "-nodecount=1000", "-symbolize=none"])
        .arg(profile)
        // It wants a place of its own for what it downloads, which is nothing.
        .env("HOME", profile.parent().expect("a file lies in a directory"))
        .output()
        .expect("go can be started");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// Saves an answer's body.
fn save(response: &Response, directory: &Path, name: &str) -> std::path::PathBuf {
    assert_eq!(response.status, 200, "{response:?}");
    assert_eq!(response.header("content-type"), Some("application/octet-stream"));
    let path = directory.join(name);
    std::fs::write(&path, &response.body).expect("a temporary directory");
    path
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
    let (cpu, heap) = under_load(&hub, async {
        tokio::join!(get(&hub, "/debug/pprof/profile?seconds=2"), async {
            get(&hub, "/debug/pprof/heap").await;
            get(&hub, "/debug/pprof/heap").await
        })
    })
    .await;

    let heap = top(&save(&heap, dir.path(), "heap.pb.gz"));
    assert!(heap.contains("Type: inuse_space"), "{heap}");
    assert!(heap.contains("rivulet_http::publish::"), "{heap}");
    assert!(!heap.contains("prof_backtrace"), "the allocator's own functions are left out: {heap}");

    let cpu = save(&cpu, dir.path(), "cpu.pb.gz");
    let all = top(&cpu);
    assert!(all.contains("Type: cpu"), "{all}");
    assert!(all.contains("rivulet_http::"), "{all}");
    assert!(!all.contains("perf_signal_handler"), "the profiler's own functions are left out: {all}");

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
