//! Wrong variables stop the start, with every other mistake, if there is an endpoint.

use std::process::{Command, Stdio};

use rivulet_tests::hub;

use crate::stage::{node, publish_traced, with};

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

#[tokio::test]
async fn without_an_endpoint_what_is_meant_for_others_is_a_warning() {
    let foreign = [("OTEL_PROPAGATORS", "b3multi"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")];
    let hub = node(&with(&[], &foreign)).await;
    for (name, value) in foreign {
        let warnings = hub.log();
        let mut warnings = warnings.lines().filter(|line| line.contains(" WARN ") && line.contains(name));
        assert!(warnings.next().is_some_and(|line| line.contains(value)), "{name}: {}", hub.log());
    }
    publish_traced(&hub, "a").await;
}
