//! The files of this repository, by their paths from its top.

use std::path::{Path, PathBuf};

use serde_json::Value;

/// The top of the repository.
///
/// # Panics
/// If `tests/` lies somewhere else.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the repository").to_owned()
}

/// The text of a file.
///
/// # Panics
/// If it cannot be read.
pub fn text(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What a YAML file holds, with its anchors and merges resolved.
///
/// # Panics
/// If it cannot be read, or is no YAML.
pub fn yaml(path: &str) -> Value {
    serde_saphyr::from_str(&text(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}
