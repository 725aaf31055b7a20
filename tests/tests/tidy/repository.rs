//! The files of the repository, and what may stand at its top.

use std::path::{Path, PathBuf};

pub(crate) use rivulet_tests::repository::root;

/// Directories that hold what tools make, not what people wrote.
const GENERATED: [&str; 8] =
    [".git", "target", "node_modules", "results", "corpus", "artifacts", ".cargo-home", "venv"];

/// Everything that may stand at the top beside dotfiles.
const TOP: [&str; 12] = [
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "crates",
    "docker-compose.yml",
    "docs",
    "k8s",
    "target",
    "tests",
];

/// All files that people wrote, relative to the top, in a fixed order.
pub(crate) fn files() -> Vec<PathBuf> {
    let root = root();
    let mut found = Vec::new();
    let mut directories = vec![root.clone()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(&directory).expect("a directory can be listed") {
            let entry = entry.expect("an entry can be read");
            let name = entry.file_name();
            if GENERATED.iter().any(|generated| name == *generated) {
                continue;
            }
            let path = entry.path();
            if entry.file_type().expect("an entry has a type").is_dir() {
                directories.push(path);
            } else {
                found.push(path.strip_prefix(&root).expect("below the top").to_owned());
            }
        }
    }
    found.sort();
    found
}

/// The text of a file; `None` for what is not text.
pub(crate) fn text(path: &Path) -> Option<String> {
    let bytes = std::fs::read(root().join(path)).expect("a file can be read");
    String::from_utf8(bytes).ok()
}

/// The names of the crates below `crates/`.
pub(crate) fn crate_names() -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(root().join("crates"))
        .expect("crates/ can be listed")
        .map(|entry| entry.expect("an entry can be read").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn nothing_but_the_known_entries_stands_at_the_top() {
    let entries = std::fs::read_dir(root()).expect("the top can be listed");
    let names = entries.map(|entry| entry.expect("an entry can be read").file_name());
    let names: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
    let strange: Vec<_> =
        names.iter().filter(|name| !name.starts_with('.') && !TOP.contains(&name.as_str())).collect();
    assert!(strange.is_empty(), "at the top of the repository: {strange:?}");
}

#[test]
fn no_file_names_a_machine_or_a_mirror() {
    // Put together here, so that this file does not name them either.
    let forbidden = [
        ["/wo", "rk/"].concat(),
        ["/ro", "ot/"].concat(),
        ["/tmp/", "t-"].concat(),
        ["registry.", "npmjs"].concat(),
        ["arti", "factory"].concat(),
        [".cargo/", "registry/src"].concat(),
    ];
    let mut found = Vec::new();
    for path in files() {
        let Some(text) = text(&path) else { continue };
        for (number, line) in text.lines().enumerate() {
            if forbidden.iter().any(|word| line.contains(word)) {
                found.push(format!("{}:{}: {line}", path.display(), number + 1));
            }
        }
    }
    assert!(found.is_empty(), "paths and hosts of one machine:\n{}", found.join("\n"));
}

#[test]
fn nothing_is_left_for_later() {
    let words =
        [["TO", "DO"].concat(), ["FIX", "ME"].concat(), ["XX", "X:"].concat(), ["todo", "!("].concat()];
    let mut found = Vec::new();
    for path in files() {
        if path.extension().is_some_and(|extension| extension == "lock") || path.starts_with(".clippy.toml") {
            continue;
        }
        let Some(text) = text(&path) else { continue };
        for (number, line) in text.lines().enumerate() {
            if words.iter().any(|word| line.contains(word)) {
                found.push(format!("{}:{}: {line}", path.display(), number + 1));
            }
        }
    }
    assert!(found.is_empty(), "notes to ourselves:\n{}", found.join("\n"));
}

#[test]
fn no_test_is_switched_off() {
    let mark = ["#[ig", "nore"].concat();
    let with_mark =
        files().into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    let found: Vec<_> =
        with_mark.filter(|path| text(path).is_some_and(|text| text.contains(&mark))).collect();
    assert!(found.is_empty(), "ignored tests in {found:?}");
}
