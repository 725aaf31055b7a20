//! Wrong variables stop the start, with every other mistake.

use std::process::{Command, Stdio};

use rivulet_tests::hub;

#[test]
fn wrong_variables_stop_the_start_and_are_listed_with_every_other_mistake() {
    let mut command = Command::new("timeout");
    command.arg("20").arg(hub::binary()).args(["--dev", "--heartbeat", "soon"]).env_clear();
    command.envs([
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_TRACES_SAMPLER", "sometimes"),
        ("OTEL_TRACES_SAMPLER_ARG", "2"),
    ]);
    let output = command.stdin(Stdio::null()).output().expect("rivulet runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(64), "{said}");
    let expected = [
        "--heartbeat",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "OTEL_EXPORTER_OTLP_PROTOCOL",
        "OTEL_TRACES_SAMPLER ",
        "OTEL_TRACES_SAMPLER_ARG",
    ];
    for name in expected {
        assert!(said.contains(name), "{name} is not in {said}");
    }
    assert_eq!(said.lines().count(), expected.len(), "{said}");
}
