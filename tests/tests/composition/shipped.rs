//! The composition, and the files that it mounts.

pub(crate) use rivulet_tests::repository::{root, text, yaml};
use serde_json::{Map, Value};

/// All services.
pub(crate) fn services() -> Map<String, Value> {
    yaml("docker-compose.yml")["services"].as_object().expect("there are services").clone()
}

/// The profile that a service is in, if it is in one.
pub(crate) fn profile(service: &Value) -> Option<&str> {
    service["profiles"][0].as_str()
}

/// The nodes of the hub of a profile; `None`: what is always started.
pub(crate) fn nodes(of: Option<&str>) -> Vec<(String, Value)> {
    let is_one = |(name, service): &(String, Value)| name.starts_with("rivulet-") && profile(service) == of;
    services().into_iter().filter(is_one).collect()
}

/// The texts of a list.
pub(crate) fn texts(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().map(|text| text.as_str().expect("a text")).collect()
}
