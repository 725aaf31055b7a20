//! Who decides on the number of nodes, and by what.

use rivulet_tests::repository;
use serde_json::Value;

use super::super::manifests::rendered::{Rendered, list, title};

/// The most that a node is to hold, as a part of what it can: one that dies leaves its streams to the others.
const TARGET_PART_MAX: f64 = 0.6;

/// The documented names of metrics.
fn documented() -> String {
    repository::text("docs/metrics.md")
}

fn is_documented(metric: &str) -> bool {
    documented().contains(&format!("| `{metric}` | gauge |"))
}

/// The gauges that something scales by, each with the number that it aims at.
fn aims(scaler: &Value) -> Vec<(String, f64)> {
    let number = |value: &Value| value.as_str().and_then(|text| text.parse().ok()).unwrap_or(0.0);
    let pods = list(&scaler["spec"]["metrics"]).filter(|metric| metric["type"] == "Pods").map(|metric| {
        let name = metric["pods"]["metric"]["name"].as_str().unwrap_or_default();
        (name.to_owned(), number(&metric["pods"]["target"]["averageValue"]))
    });
    let triggers = list(&scaler["spec"]["triggers"]).map(|trigger| {
        let query = trigger["metadata"]["query"].as_str().unwrap_or_default();
        // The metric is what stands before the labels: sum(NAME{…}).
        let name = query.split('{').next().unwrap_or_default().trim_start_matches("sum(");
        (name.to_owned(), number(&trigger["metadata"]["threshold"]))
    });
    pods.chain(triggers).collect()
}

/// Exactly one thing decides on the hub's replicas: an autoscaler, KEDA, or a number in the Deployment. What it goes by is a
/// gauge of the hub, its aim leaves room for the streams of a node that dies, and it takes nodes away slowly.
pub(super) fn one_scales_by_a_metric_that_there_is(rendered: &Rendered) -> Vec<String> {
    let scalers: Vec<&Value> =
        ["HorizontalPodAutoscaler", "ScaledObject"].into_iter().flat_map(|kind| rendered.of(kind)).collect();
    let mut found = Vec::new();
    let is_fixed = rendered.hub()["spec"]["replicas"].is_number();
    if scalers.len() + usize::from(is_fixed) != 1 {
        let who: Vec<_> = scalers.iter().map(|scaler| title(scaler)).collect();
        found.push(format!("the hub's replicas are decided on by {who:?}, a fixed number: {is_fixed}"));
    }
    for scaler in scalers {
        let name = title(scaler);
        let target = &scaler["spec"]["scaleTargetRef"];
        if target["kind"] != "Deployment" || target["name"] != "rivulet" {
            found.push(format!("{name} scales {target}"));
        }
        let aims = aims(scaler);
        if aims.is_empty() {
            found.push(format!("{name} goes by nothing of the hub"));
        }
        let most = rendered.settings().get("connections-max").and_then(toml::Value::as_integer).unwrap_or(0);
        for (metric, aim) in aims {
            if !is_documented(&metric) {
                found.push(format!("{name} goes by {metric}, which docs/metrics.md does not have"));
            }
            #[allow(clippy::cast_precision_loss, reason = "numbers of connections")]
            if aim <= 0.0 || aim > most as f64 * TARGET_PART_MAX {
                found.push(format!("{name} aims at {aim} of {most}"));
            }
        }
        let keda = &scaler["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"];
        let behavior = if keda.is_object() { keda } else { &scaler["spec"]["behavior"] };
        if behavior["scaleDown"]["stabilizationWindowSeconds"].as_u64().unwrap_or(0) < 600 {
            found.push(format!("{name} takes nodes away at once"));
        }
    }
    found
}
