//! The programs of tests/tools/requirements.txt, which tests/run installs.

use std::path::{Path, PathBuf};

/// One of them, by its name: `kubectl`, `kubernetes-validate`, `check-jsonschema`, `hadolint`, `actionlint`, `caddy`,
/// `envoy`, `traefik`; `python3` is the interpreter that sees their modules.
///
/// # Panics
/// If it is not installed.
pub fn tool(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/venv/bin").join(name);
    assert!(path.is_file(), "{} is missing: ./tests/run installs it", path.display());
    path
}
