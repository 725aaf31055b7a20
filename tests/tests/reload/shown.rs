//! Which test shows that a setting counts without a restart: what the README marks with ↻, and nothing else.

use std::{collections::BTreeSet, path::Path};

use rivulet_tests::repository;

/// The tests of this directory, each with the settings that it changes while a node runs, and whose effect it sees.
const SHOWN: &[(&str, &[&str])] = &[
    (
        "who_may_do_what_changes_and_streams_live_on",
        &[
            "anonymous",
            "cors-origin",
            "publisher-jwt-key",
            "resource",
            "subscriber-jwt-key",
            "trusted-issuer",
        ],
    ),
    ("the_algorithm_of_keys_changes", &["publisher-jwt-alg", "subscriber-jwt-alg"]),
    (
        "keys_come_from_sets_in_files_and_behind_urls",
        &["publisher-jwks-file", "publisher-jwks-url", "subscriber-jwks-file", "subscriber-jwks-url"],
    ),
    ("pages_and_their_cookies_change", &["cookie-name", "publish-origin"]),
    ("the_claim_with_limits_gets_another_name", &["limits-claim"]),
    (
        "limits_change_and_end_nobody",
        &[
            "body-limit",
            "forwarding-header",
            "limit-connections-per-ip",
            "limit-connections-total",
            "limit-publishes-per-subject",
            "trusted-proxy",
        ],
    ),
    (
        "quotas_of_subjects_and_topics_change",
        &["limit-connections-per-subject", "limit-connections-per-topic"],
    ),
    (
        "rates_of_addresses_subjects_and_topics_change",
        &["limit-publishes-per-topic", "limit-subscribes-per-ip", "limit-subscribes-per-subject"],
    ),
    ("a_limit_is_closed_and_opened_while_redis_is_away", &["limit-closed"]),
    ("a_batch_may_be_longer_or_shorter", &["batch-limit"]),
    ("the_memory_of_bodies_grows_and_shrinks_under_those_who_send", &["bodies-in-flight"]),
    ("times_and_the_log_change", &["drain-period", "heartbeat", "lifetime", "log-level"]),
    ("who_takes_nothing_has_another_deadline", &["write-deadline"]),
    ("a_node_that_stops_goes_on_serving_for_as_long_as_was_said_last", &["drain-delay"]),
    ("an_overfull_node_begins_to_let_streams_go", &["shed"]),
];

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What the README's table marks. (That it marks what `--help` does is another test.)
fn marked() -> BTreeSet<String> {
    let readme = repository::text("README.md");
    let rows = readme.lines().filter(|line| line.contains("` ↻ |"));
    let flags = rows.filter_map(|line| line.strip_prefix("| `--")?.split(['`', ' ']).next());
    flags.map(str::to_owned).collect()
}

/// The text of each test of this directory that has this name.
fn bodies(name: &str) -> Vec<String> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reload");
    let files = std::fs::read_dir(here).expect("tests can be listed");
    let sources = files.map(|file| read(&file.expect("tests can be listed").path()));
    let of = |source: String| {
        let (before, rest) = source.split_once(&format!("async fn {name}() {{\n"))?;
        assert!(before.lines().next_back()?.starts_with("#[tokio::test"), "{name} is no test");
        Some(rest.split("\n}\n").next()?.to_owned())
    };
    sources.filter_map(of).collect()
}

#[test]
fn every_setting_that_is_marked_has_a_test_that_changes_it() {
    let marked = marked();
    assert!(marked.len() > 30, "the README marks some: {marked:?}");
    let shown: BTreeSet<String> =
        SHOWN.iter().flat_map(|(_, settings)| *settings).map(|setting| (*setting).to_owned()).collect();
    assert_eq!(marked, shown, "left: the README's table, right: what a test of this directory shows");
    for (test, settings) in SHOWN {
        let bodies = bodies(test);
        assert_eq!(bodies.len(), 1, "there is one test {test}");
        for setting in *settings {
            let named = format!("\"{setting}\"");
            assert!(bodies[0].contains(&named), "{test} does not change {setting}");
        }
    }
}
