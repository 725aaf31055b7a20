//! The scenario about tracing, as a process, with the hub that is built beside this test and real redis-servers, at a size
//! that takes a moment. What tracing costs is not asked here: the command does that, on a quiet machine.

mod hub;

use std::process::Command;

use hub::rivulet;
use serde_json::Value;

#[test]
fn every_hub_delivers_everything_and_is_compared_with_the_one_without_tracing() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let json = directory.path().join("result.json");
    let output = Command::new(env!("CARGO_BIN_EXE_rivulet-bench"))
        .args(["traces", "--subscribers", "8", "--updates", "200", "--publishers", "3", "--pipeline", "4"])
        .args(["--turns", "3", "--rounds", "1", "--rivulet"])
        .arg(rivulet())
        .arg("--json")
        .arg(&json)
        .output()
        .expect("the bench starts");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{stdout}\n{stderr}", output.status);
    let result = std::fs::read(&json).expect("the bench wrote its JSON");
    let result: Value = serde_json::from_slice(&result).expect("it is JSON");
    let figure = |phase: &str, metric: &str| {
        let comparisons = result["summary"].as_array().expect("a summary");
        let found = comparisons.iter().find(|entry| entry["phase"] == phase && entry["metric"] == metric);
        found.and_then(|entry| entry["servers"]["rivulet"]["median"].as_f64())
    };
    let phases =
        ["no endpoint", "no endpoint, again", "unsampled", "1 % sampled", "1 % sampled, mute collector"];
    for phase in phases {
        let of = |metric: &str| {
            figure(phase, metric).unwrap_or_else(|| panic!("{phase}: no {metric}: {result:#}"))
        };
        assert!(of("lost") + of("closed_streams") < 0.5, "{phase}: {result:#}");
        assert!(of("hub_cpu_us_per_delivery") > 0.0 && of("updates_per_s") > 0.0, "{phase}: {result:#}");
        let spread = ["hub_cpu_by_untraced_p25", "hub_cpu_by_untraced", "hub_cpu_by_untraced_p75"].map(of);
        assert!(spread[0] > 0.0 && spread.is_sorted(), "{phase}: {result:#}");
        assert!(of("updates_per_s_by_untraced") > 0.0, "{phase}: {result:#}");
    }
    assert_eq!(
        figure("unsampled", "collector_calls"),
        Some(0.0),
        "what is not sampled is not sent: {result:#}"
    );
    assert_eq!(result["goals"].as_array().map(Vec::len), Some(8));
}
