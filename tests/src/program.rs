//! The programs that cargo has built.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// The program under test without any configuration, not even this process' own.
pub fn command() -> Command {
    command_of(&binary())
}

/// The same with another program in its place.
pub fn command_of(program: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let prefixes = ["RIVULET_", "MERCURE_", "OTEL_"];
        if prefixes.iter().any(|prefix| text.starts_with(prefix)) || text == "SERVER_NAME" {
            command.env_remove(&name);
        }
    }
    command
}

/// The program under test: `RIVULET_BIN`, or what cargo built beside the tests.
///
/// # Panics
/// If it was not built.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("RIVULET_BIN") {
        return PathBuf::from(path);
    }
    let path = built("rivulet");
    assert!(path.is_file(), "{} is missing: run `cargo build -p rivulet` first", path.display());
    path
}

/// Where cargo puts a program of this name, beside this one.
pub fn built(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("a running program has a path");
    let directory = own.parent().expect("a file lies in a directory");
    // A test is target/PROFILE/deps/TEST, a program is target/PROFILE/PROGRAM.
    let profile = if directory.ends_with("deps") { directory.parent() } else { Some(directory) };
    profile.expect("target/PROFILE").join(name)
}
