//! The scenarios about connections, as processes, with the hub that is built beside this test and a real redis-server,
//! at a size that takes a moment. What a share of a big number means is not asked here: the commands do that.

mod hub;

use std::{
    path::Path,
    process::{Command, Output},
};

use hub::rivulet;
use serde_json::Value;

/// Whether the hub of this build has a flag.
fn has(flag: &str) -> bool {
    let help = Command::new(rivulet()).arg("--help").output().expect("rivulet starts");
    let help = String::from_utf8(help.stdout).expect("the help is text");
    help.lines().any(|line| line.trim_start().split([' ', '[', '=']).next() == Some(flag))
}

fn run(arguments: &[&str], json: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rivulet-bench"))
        .args(arguments)
        .arg("--rivulet")
        .arg(rivulet())
        .arg("--json")
        .arg(json)
        .output()
        .expect("the bench starts")
}

/// Runs the bench once with `arguments`; answers its JSON.
fn bench(arguments: &[&str]) -> Value {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let json = directory.path().join("result.json");
    let output = run(arguments, &json);
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{stdout}\n{stderr}", output.status);
    serde_json::from_slice(&std::fs::read(&json).expect("the bench wrote its JSON")).expect("it is JSON")
}

/// The figure of a phase.
fn figure(result: &Value, phase: &str, metric: &str) -> f64 {
    let comparisons = result["summary"].as_array().expect("a summary");
    let found = comparisons.iter().find(|entry| entry["phase"] == phase && entry["metric"] == metric);
    let value = found.and_then(|entry| entry["servers"]["rivulet"]["median"].as_f64());
    value.unwrap_or_else(|| panic!("{phase} has no {metric}: {result:#}"))
}

/// The goals that were missed, without those whose figures mean something only at full size or on a quiet machine.
fn missed<'a>(result: &'a Value, but: &[&str]) -> Vec<&'a Value> {
    let goals = result["goals"].as_array().expect("goals");
    assert!(!goals.is_empty(), "{result:#}");
    goals
        .iter()
        .filter(|goal| goal["is_met"] == false && !but.contains(&goal["metric"].as_str().expect("a name")))
        .collect()
}

#[test]
fn churn_leaves_nothing_behind_whatever_the_manner() {
    let small = "--connections 600 --waves 2 --at-once 300 --vanish 0 --timers-s 0 --heartbeat-s 2";
    let mut arguments: Vec<&str> = ["churn"].into_iter().chain(small.split(' ')).collect();
    arguments.extend(has("--tls-cert-file").then_some("--tls"));
    let result = bench(&arguments);
    assert_eq!(missed(&result, &["heap_growth_percent"]), Vec::<&Value>::new(), "{result:#}");
    assert!((figure(&result, "churn", "connections") - 600.0).abs() < 0.5, "{result:#}");
    for manner in ["fin", "rst", "half_close", "stop_reading", "token_expiry"] {
        assert!(figure(&result, "churn", &format!("ended_by_{manner}")) >= 20.0, "{manner}: {result:#}");
    }
    for manner in ["request", "replay"] {
        assert!(figure(&result, "churn", &format!("ended_mid_{manner}")) >= 50.0, "{manner}: {result:#}");
    }
    // A small soak does not fill what is kept once and for all, but a leak of kilobytes per connection would show.
    assert!(figure(&result, "churn", "heap_growth_bytes") < 2.0 * 1024.0 * 1024.0, "{result:#}");
    assert!(figure(&result, "churn", "updates_published") > 100.0, "{result:#}");
}

#[test]
fn stuck_readers_are_ended_and_healthy_ones_get_everything() {
    let result = bench(&[
        "stuck",
        "--healthy",
        "20",
        "--stuck",
        "20",
        "--updates-per-s",
        "400",
        "--seconds",
        "1",
        "--write-deadline-s",
        "4",
    ]);
    let at_full_size = ["healthy_p99_ratio", "resident_bytes_per_stuck", "heap_bytes_per_stuck"];
    assert_eq!(missed(&result, &at_full_size), Vec::<&Value>::new(), "{result:#}");
    let phase = "stuck compared with idle";
    assert!(figure(&result, phase, "send_queue_bytes_per_stuck") > 1_000.0, "they are not stuck: {result:#}");
    assert!(figure(&result, phase, "healthy_p99_ratio") > 0.0, "{result:#}");
    assert!(figure(&result, phase, "healthy_duplicates") < 0.5, "{result:#}");
}

#[test]
fn hostile_clients_are_at_work_while_healthy_ones_get_everything() {
    let result =
        bench(&["hostile", "--healthy", "10", "--connections", "10", "--pairs", "1", "--seconds", "1"]);
    let on_a_quiet_machine = ["hub_cpu_share_above_idle", "healthy_p99_by_allowed"];
    assert_eq!(missed(&result, &on_a_quiet_machine), Vec::<&Value>::new(), "{result:#}");
    let mut kinds = vec![
        "a head, a byte a second",
        "a body, a byte a second",
        "pipelining on a stream",
        "pipelining without reading",
        "1 MB of headers",
        "1 MB of headers in pieces",
    ];
    if has("--tls-cert-file") {
        kinds.extend(["stalled TLS handshakes", "a storm of stalled TLS handshakes"]);
    }
    kinds.extend(has("--proxy-protocol").then_some("stalled PROXY headers"));
    for kind in kinds {
        assert!(figure(&result, kind, "attack_connections") >= 1.0, "{kind}: {result:#}");
        // Far from a core that is kept busy, even on a machine that does other things.
        assert!(figure(&result, kind, "hub_cpu_share_above_idle") < 0.5, "{kind}: {result:#}");
    }
    assert!(figure(&result, "1 MB of headers", "attack_ended_by_hub") >= 1.0, "{result:#}");
}

#[test]
fn a_quota_is_never_exceeded_and_comes_back_from_nodes_that_died() {
    let arguments = [
        "quota",
        "--nodes",
        "4",
        "--clients-per-node",
        "8",
        "--limit",
        "10",
        "--lease-s",
        "5",
        "--seconds",
        "2",
    ];
    if has("--limit-connections-per-subject") {
        let result = bench(&arguments);
        assert_eq!(missed(&result, &[]), Vec::<&Value>::new(), "{result:#}");
        assert!(figure(&result, "all hammer", "refused") > 0.0, "{result:#}");
        assert!(figure(&result, "half of the nodes killed", "held_by_the_killed") >= 1.0, "{result:#}");
    } else {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let output = run(&arguments, &directory.path().join("result.json"));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains("--limit-connections-per-subject"), "{said}");
    }
}
