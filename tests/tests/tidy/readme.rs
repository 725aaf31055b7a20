//! The README's map and its table of settings.

use std::collections::BTreeSet;

use rivulet_tests::hub;

use super::repository::{crate_names, root};

fn readme() -> String {
    std::fs::read_to_string(root().join("README.md")).expect("there is a README.md")
}

#[test]
fn the_map_lists_every_crate_and_directory() {
    let readme = readme();
    let mut wanted: Vec<String> = crate_names();
    for entry in std::fs::read_dir(root()).expect("the top can be listed") {
        let entry = entry.expect("an entry can be read");
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_dir() && !name.starts_with('.') && name != "target" {
            wanted.push(format!("{name}/"));
        }
    }
    let missing: Vec<_> = wanted.iter().filter(|name| !readme.contains(name.as_str())).collect();
    assert!(missing.is_empty(), "the README does not mention {missing:?}");
}

#[test]
fn the_table_of_settings_is_that_of_the_help() {
    let output = hub::command().args(["serve", "--help"]).output().expect("rivulet runs");
    assert!(output.status.success(), "{output:?}");
    let help = flags(&String::from_utf8_lossy(&output.stdout), "--");
    let readme: String =
        readme().lines().filter(|line| line.starts_with("| `--")).collect::<Vec<_>>().join("\n");
    let table = flags(&readme, "| `--");
    assert!(help.len() > 10, "the help lists its flags: {help:?}");
    assert_eq!(help, table, "left: rivulet serve --help, right: the README's table");
}

/// Which settings count without a restart is said by the help, and by a sign in the table.
#[test]
fn the_table_marks_what_is_reloaded_as_the_help_does() {
    let output = hub::command().args(["serve", "--help"]).output().expect("rivulet runs");
    let help = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut flag = String::new();
    let mut said = BTreeSet::new();
    for line in help.lines() {
        flag = flags(line, "--").pop_first().unwrap_or(flag);
        if line.contains("[env: ") && line.contains("[reloaded]") {
            said.insert(flag.clone());
        }
    }
    let readme = readme();
    let marked = readme.lines().filter(|line| line.starts_with("| `--") && line.contains("` ↻ |"));
    let marked = flags(&marked.collect::<Vec<_>>().join("\n"), "| `--");
    assert!(said.len() > 30, "the help marks some: {said:?}");
    assert_eq!(said, marked, "left: rivulet serve --help, right: the README's table");
}

/// The flags that begin a line, or a row of the table.
fn flags(text: &str, start: &str) -> BTreeSet<String> {
    let rows = text.lines().filter_map(|line| {
        let line = line.trim_start();
        let line = line.strip_prefix("-h, ").or(line.strip_prefix("-V, ")).unwrap_or(line);
        line.strip_prefix(start)
    });
    let names =
        rows.map(|row| row.split(|c: char| !c.is_ascii_lowercase() && c != '-').next().unwrap_or_default());
    names.filter(|name| !name.is_empty() && !["help", "version"].contains(name)).map(str::to_owned).collect()
}
