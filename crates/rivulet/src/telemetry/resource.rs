//! The resource: what all spans of this process have in common.

use opentelemetry::{KeyValue, Value};
use opentelemetry_sdk::{Resource, resource::TelemetryResourceDetector};
use opentelemetry_semantic_conventions::{
    SCHEMA_URL,
    resource::{HOST_NAME, PROCESS_PID, SERVICE_INSTANCE_ID, SERVICE_NAME, SERVICE_VERSION},
};

use super::variables::{Variables, pairs};
use crate::process;

const SERVICE_NAME_DEFAULT: &str = "rivulet";
/// More would be sent with every batch.
const ATTRIBUTES_MAX: usize = 128;

/// What the operator says: `OTEL_RESOURCE_ATTRIBUTES` (Kubernetes' `k8s.*` come this way), and `OTEL_SERVICE_NAME`, which
/// stands above it.
pub(super) fn read(variables: &mut Variables<'_>) -> Vec<(String, String)> {
    let attributes = variables.value(["OTEL_RESOURCE_ATTRIBUTES"; 2], |text| {
        let attributes = pairs(text).filter(|attributes| attributes.len() <= ATTRIBUTES_MAX);
        attributes.ok_or_else(|| {
            format!(
                "must be at most {ATTRIBUTES_MAX} pairs like k8s.pod.name=hub-0,deployment.environment.name=staging, \
                 percent-encoded"
            )
        })
    });
    let mut attributes = attributes.unwrap_or_default();
    if let Some(name) = variables.text("OTEL_SERVICE_NAME") {
        attributes.retain(|(key, _)| key != SERVICE_NAME);
        attributes.push((SERVICE_NAME.to_owned(), name.to_owned()));
    }
    attributes
}

/// The whole resource. What the operator says stands above what we know.
pub(super) fn resource(attributes: &[(String, String)], node_id: String) -> Resource {
    let pid = i64::from(std::process::id());
    let ours = [
        KeyValue::new(SERVICE_NAME, SERVICE_NAME_DEFAULT),
        KeyValue::new(SERVICE_VERSION, env!("CARGO_PKG_VERSION")),
        KeyValue::new(SERVICE_INSTANCE_ID, node_id),
        KeyValue::new(PROCESS_PID, pid),
    ];
    let host = process::host_name().map(|name| KeyValue::new(HOST_NAME, name));
    let theirs = attributes.iter().map(|(key, value)| KeyValue::new(key.clone(), Value::from(value.clone())));
    Resource::builder_empty()
        .with_detector(Box::new(TelemetryResourceDetector))
        .with_schema_url(ours.into_iter().chain(host), SCHEMA_URL)
        .with_attributes(theirs)
        .build()
}

#[cfg(test)]
mod tests {
    use opentelemetry::Key;

    use super::*;

    #[test]
    fn what_the_operator_says_stands_above_what_we_know() {
        let said = [("k8s.pod.name", "hub-0"), ("service.name", "events"), ("host.name", "outer")];
        let said = said.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let resource = resource(&said, "a-node".to_owned());
        let check = |key: &'static str, expected: &str| {
            let found = resource.get(&Key::new(key)).map(|value| value.to_string());
            assert_eq!(found.as_deref(), Some(expected), "{key}");
        };
        check("k8s.pod.name", "hub-0");
        check("service.name", "events");
        check("host.name", "outer");
        check("service.instance.id", "a-node");
        check("service.version", env!("CARGO_PKG_VERSION"));
        check("process.pid", &std::process::id().to_string());
        check("telemetry.sdk.language", "rust");
    }
}
