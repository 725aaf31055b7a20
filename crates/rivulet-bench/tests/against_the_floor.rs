//! Both scenarios, as processes, against the floor alone and at a size that takes a moment.

use std::{path::Path, process::Command};

use serde_json::Value;

/// Runs the bench with `arguments` against the floor; answers its JSON.
fn bench(arguments: &[&str]) -> Value {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let json = directory.path().join("result.json");
    let output = Command::new(env!("CARGO_BIN_EXE_rivulet-bench"))
        .args(arguments)
        .args(["--servers", "floor", "--publishers", "3", "--pipeline", "4", "--json"])
        .arg(&json)
        .output()
        .expect("the bench starts");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{stdout}\n{stderr}", output.status);
    assert!(stdout.contains("floor"), "{stdout}");
    read_json(&json)
}

fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).expect("the bench wrote its JSON")).expect("it is JSON")
}

/// The floor's median of a figure.
fn median(result: &Value, phase: &str, metric: &str) -> f64 {
    let comparisons = result["summary"].as_array().expect("a summary");
    let found = comparisons.iter().find(|entry| entry["phase"] == phase && entry["metric"] == metric);
    let value = found.and_then(|entry| entry["servers"]["floor"]["median"].as_f64());
    value.unwrap_or_else(|| panic!("{phase} has no {metric}: {result:#}"))
}

#[test]
fn one_topic_delivers_every_update_to_every_subscriber() {
    let result = bench(&[
        "one-topic",
        "--subscribers",
        "40",
        "--updates",
        "6",
        "--burst-updates",
        "50",
        "--rounds",
        "2",
    ]);
    assert_eq!(result["scenario"], "one-topic");
    assert_eq!(result["runs"].as_array().map(Vec::len), Some(2));
    for (phase, deliveries) in [("one after another", 240.0), ("burst", 2000.0)] {
        let figure = |metric: &str| median(&result, phase, metric);
        assert_eq!(
            figure("deliveries").total_cmp(&deliveries),
            std::cmp::Ordering::Equal,
            "{phase}: {result:#}"
        );
        assert!(
            figure("lost") + figure("duplicates") + figure("closed_streams") < 0.5,
            "{phase}: {result:#}"
        );
        assert!(figure("latency_p50_ms") <= figure("latency_max_ms"), "{phase}: {result:#}");
        assert!(
            figure("server_cpu_s_per_million") > 0.0 && figure("messages_per_read") >= 1.0,
            "{phase}: {result:#}"
        );
    }
}

#[test]
fn idle_measures_memory_with_own_topics_and_with_one() {
    let result = bench(&[
        "idle",
        "--connections",
        "60",
        "--burst-updates",
        "3",
        "--settle-s-max",
        "1",
        "--rounds",
        "1",
    ]);
    for phase in ["own topic", "shared topic"] {
        let figure = |metric: &str| median(&result, phase, metric);
        assert!((figure("connections") - 60.0).abs() < 0.5, "{phase}: {result:#}");
        assert!((figure("deliveries") - 180.0).abs() < 0.5 && figure("lost") < 0.5, "{phase}: {result:#}");
        assert!(figure("before_resident_mib") > 0.0 && figure("connects_per_s") > 0.0, "{phase}: {result:#}");
        figure("idle_resident_bytes");
        figure("after_burst_resident_bytes");
        figure("after_disconnect_resident_bytes");
    }
}

#[test]
fn more_connections_than_files_are_refused_before_anything_starts() {
    let output = Command::new("sh")
        .args(["-c", "ulimit -n 1000 && exec \"$0\" idle --connections 700 --servers floor"])
        .arg(env!("CARGO_BIN_EXE_rivulet-bench"))
        .output()
        .expect("sh starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && stderr.contains("at most 600 connections"), "{stderr}");
}
