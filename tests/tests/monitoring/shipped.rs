//! The shipped files, and what stands in them.

use std::path::PathBuf;

pub(crate) use rivulet_tests::repository::{root, text, yaml};
use serde_json::Value;

/// Where the files for Prometheus and Grafana lie.
pub(crate) fn monitoring() -> PathBuf {
    root().join("k8s/monitoring")
}

/// The text of a member that must be there.
pub(crate) fn member<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("no text {name} in {value}"))
}

/// The rules for Prometheus, of all groups.
pub(crate) fn rules() -> Vec<Value> {
    let file = yaml("k8s/monitoring/rules.yaml");
    let groups = file["groups"].as_array().expect("a rule file has groups");
    let rules = groups.iter().flat_map(|group| group["rules"].as_array().expect("a group has rules"));
    rules.cloned().collect()
}

/// The rules that are alerts.
pub(crate) fn alerts() -> Vec<Value> {
    rules().into_iter().filter(|rule| rule["alert"].is_string()).collect()
}

/// The names that recording rules make.
pub(crate) fn records() -> Vec<String> {
    rules().iter().filter_map(|rule| rule["record"].as_str().map(str::to_owned)).collect()
}
