//! The scenarios about what was missed, as processes, with the hub that is built beside this test and real
//! redis-servers, at a size that takes a moment.

mod hub;

use std::process::Command;

use hub::rivulet;
use serde_json::Value;

/// Runs the bench once with `arguments`; answers its JSON.
fn bench(arguments: &[&str]) -> Value {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let json = directory.path().join("result.json");
    let output = Command::new(env!("CARGO_BIN_EXE_rivulet-bench"))
        .args(arguments)
        .args(["--rounds", "1", "--rivulet"])
        .arg(rivulet())
        .arg("--json")
        .arg(&json)
        .output()
        .expect("the bench starts");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{stdout}\n{stderr}", output.status);
    assert!(stdout.contains(arguments[0]), "{stdout}");
    serde_json::from_slice(&std::fs::read(&json).expect("the bench wrote its JSON")).expect("it is JSON")
}

/// The median of a figure.
fn median(result: &Value, phase: &str, metric: &str) -> f64 {
    let comparisons = result["summary"].as_array().expect("a summary");
    let found = comparisons.iter().find(|entry| entry["phase"] == phase && entry["metric"] == metric);
    let value = found.and_then(|entry| entry["servers"]["rivulet"]["median"].as_f64());
    value.unwrap_or_else(|| panic!("{phase} has no {metric}: {result:#}"))
}

/// Whether a figure that counts is this.
fn assert_count(result: &Value, phase: &str, metric: &str, expected: f64) {
    let found = median(result, phase, metric);
    assert!((found - expected).abs() < 0.5, "{phase}: {metric} is {found}, not {expected}: {result:#}");
}

#[test]
fn backfill_delivers_what_was_missed_once() {
    let result = bench(&["backfill", "--topics", "30"]);
    for phase in ["redis restart", "network back"] {
        assert_count(&result, phase, "missed_updates", 30.0);
        for metric in ["lost", "duplicates", "closed_streams"] {
            assert_count(&result, phase, metric, 0.0);
        }
        let at = |metric: &str| median(&result, phase, metric);
        assert!(at("reconnect_ms") <= at("first_delivery_ms"), "{result:#}");
        assert!(at("first_delivery_ms") <= at("last_delivery_ms"), "{result:#}");
    }
    assert_eq!(result["goals"].as_array().map(Vec::len), Some(2));
}

#[test]
fn failover_is_measured_from_the_masters_death() {
    let result = bench(&["failover", "--replicas", "1"]);
    let phase = "the master is killed";
    let at = |metric: &str| median(&result, phase, metric);
    // A Sentinel calls a master down after a second of silence, which may have begun a little before.
    assert!(at("sentinel_names_another_ms") > 500.0, "{result:#}");
    assert!(at("first_acknowledged_ms") > 500.0 && at("first_delivery_ms") > 500.0, "{result:#}");
    assert_count(&result, phase, "duplicates", 0.0);
    assert_count(&result, phase, "closed_streams", 0.0);
}

#[test]
fn resume_brings_everybody_up_to_date_and_shares_the_reads() {
    let result = bench(&["resume", "--clients", "20", "--updates", "50"]);
    for (phase, deliveries) in [
        ("one client alone", 50.0),
        ("all with the same id", 20.0 * 50.0),
        ("each with its own id", (50..70).sum::<u32>().into()),
    ] {
        assert_count(&result, phase, "deliveries", deliveries);
        for metric in ["lost", "duplicates", "closed_streams"] {
            assert_count(&result, phase, metric, 0.0);
        }
        assert!(median(&result, phase, "redis_xranges") >= 1.0, "{result:#}");
    }
    assert!(median(&result, "all with the same id", "reads_by_one_client") < 20.0, "{result:#}");
}

#[test]
fn subscribe_counts_topics_and_watches_redis() {
    let result =
        bench(&["subscribe", "--connections", "6", "--topics-per-connection", "10", "--watch-s", "2"]);
    assert_count(&result, "subscribe", "topics", 60.0);
    assert_count(&result, "subscribe", "closed_streams", 0.0);
    // The node's own two channels beside them.
    assert!(median(&result, "subscribe", "redis_channels") >= 60.0, "{result:#}");
    assert!(median(&result, "subscribe", "redis_commands_per_s_empty") > 0.0, "{result:#}");
}
