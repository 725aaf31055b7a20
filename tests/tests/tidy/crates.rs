//! The arrows between crates: a crate exists only to forbid a dependency.

use std::collections::BTreeSet;

use toml::{Table, Value};

use super::repository::{crate_names, root};

/// Our crates, which of ours each may use, and what from outside none of its normal dependencies may be.
const ARROWS: [(&str, &[&str], &[&str]); 6] = [
    (
        "rivulet-core",
        &[],
        &["tokio", "serde", "serde_json", "actix-web", "actix-rt", "redis", "tracing", "rand", "uuid"],
    ),
    (
        "rivulet-node",
        &["rivulet-core"],
        &[
            "actix-web",
            "actix-http",
            "actix-server",
            "reqwest",
            "redis",
            "deadpool-redis",
            "jsonwebtoken",
            "serde",
        ],
    ),
    (
        "rivulet-redis",
        &["rivulet-core", "rivulet-node"],
        &["actix-web", "actix-http", "actix-server", "reqwest", "jsonwebtoken"],
    ),
    ("rivulet-http", &["rivulet-core", "rivulet-node"], &["redis", "deadpool-redis"]),
    (
        "rivulet",
        &["rivulet-core", "rivulet-node", "rivulet-redis", "rivulet-http"],
        &["redis", "deadpool-redis"],
    ),
    ("rivulet-bench", &["rivulet-core"], &["actix-web", "redis", "deadpool-redis"]),
];

fn manifest(name: &str) -> Table {
    let path = root().join("crates").join(name).join("Cargo.toml");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.parse().unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The names in a table of dependencies, also in those of single targets.
fn dependencies(manifest: &Table, table: &str) -> BTreeSet<String> {
    let mut names: BTreeSet<String> =
        manifest.get(table).and_then(Value::as_table).map(names_of).unwrap_or_default();
    for target in manifest.get("target").and_then(Value::as_table).into_iter().flatten() {
        names.extend(target.1.get(table).and_then(Value::as_table).map(names_of).unwrap_or_default());
    }
    names
}

/// A dependency's package, which may be renamed.
fn names_of(table: &Table) -> BTreeSet<String> {
    let name = |(key, value): (&String, &Value)| {
        value.get("package").and_then(Value::as_str).unwrap_or(key).to_owned()
    };
    table.iter().map(name).collect()
}

#[test]
fn every_crate_has_its_row() {
    let mut known: Vec<String> = ARROWS.iter().map(|(name, _, _)| (*name).to_owned()).collect();
    known.sort();
    assert_eq!(crate_names(), known);
}

#[test]
fn arrows_point_one_way() {
    for (name, ours, forbidden) in ARROWS {
        let manifest = manifest(name);
        let used = dependencies(&manifest, "dependencies");
        let strange: Vec<_> = used
            .iter()
            .filter(|used| used.starts_with("rivulet") && !ours.contains(&used.as_str()))
            .collect();
        assert!(strange.is_empty(), "{name} must not know {strange:?}");
        let foreign: Vec<_> = used.iter().filter(|used| forbidden.contains(&used.as_str())).collect();
        assert!(foreign.is_empty(), "{name} must not know {foreign:?}");
        let built = dependencies(&manifest, "build-dependencies");
        assert!(built.is_empty(), "{name} builds with {built:?}");
    }
}

#[test]
fn every_crate_obeys_the_lints_of_the_workspace() {
    for (name, _, _) in ARROWS {
        let manifest = manifest(name);
        let inherits = manifest["lints"].get("workspace").and_then(Value::as_bool);
        assert_eq!(inherits, Some(true), "{name}: [lints] workspace = true");
        // The one feature there is compiles defects in, by which the cluster checker and the alerts are checked.
        let features = manifest.get("features").and_then(Value::as_table).map(|table| table.keys());
        let own: Vec<_> = features.into_iter().flatten().filter(|name| *name != "faults").collect();
        assert!(own.is_empty(), "{name}: no feature flags for the product's own features: {own:?}");
    }
    let root = std::fs::read_to_string(root().join("Cargo.toml")).expect("the workspace has a manifest");
    let root: Table = root.parse().expect("the manifest is TOML");
    let lints = &root["workspace"]["lints"];
    assert_eq!(lints["rust"]["unsafe_code"].as_str(), Some("forbid"));
    for lint in ["unwrap_used", "too_many_lines", "dbg_macro", "todo", "print_stdout"] {
        assert_eq!(lints["clippy"][lint].as_str(), Some("warn"), "{lint}: `-D warnings` makes it an error");
    }
}
