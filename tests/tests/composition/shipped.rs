//! The composition, and the files that it mounts.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

/// The top of the repository.
pub(crate) fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("tests/ lies in the repository").to_owned()
}

/// The text of a file.
pub(crate) fn text(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What a YAML file holds, with its anchors and merges resolved.
pub(crate) fn yaml(path: &str) -> Value {
    serde_saphyr::from_str(&text(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

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
