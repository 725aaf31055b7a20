//! Every alert is complete, has its section in the runbooks, and has been seen firing in the tests of the rules.

use std::collections::BTreeSet;

use rivulet_tests::prometheus::promtool;

use super::shipped::{alerts, member, monitoring, text, yaml};

/// What every section of the runbooks tells, in this order.
const PARTS: [&str; 4] = ["**Means.**", "**Users see**", "**Look**\n\n```sh\n", "**Do.**"];

fn names() -> Vec<String> {
    alerts().iter().map(|alert| member(alert, "alert").to_owned()).collect()
}

/// The sections of the runbooks: heading and text.
fn sections() -> Vec<(String, String)> {
    let runbooks = text("docs/runbooks.md");
    let sections = runbooks.split("\n## ").skip(1);
    let parts = sections.map(|section| section.split_once('\n').expect("a heading is a line"));
    parts.map(|(heading, text)| (heading.to_owned(), text.to_owned())).collect()
}

#[test]
fn every_alert_says_how_bad_it_is_and_what_to_do() {
    for alert in alerts() {
        let name = member(&alert, "alert");
        assert!(alert["for"].is_string(), "{name} says for how long");
        let severity = member(&alert["labels"], "severity");
        assert!(["critical", "warning", "info"].contains(&severity), "{name}: {severity}");
        let annotations = &alert["annotations"];
        for part in ["summary", "description", "runbook"] {
            assert!(member(annotations, part).len() > 10, "{name}: {part}");
        }
        assert!(member(annotations, "description").contains("{{ $"), "{name}: the description has no value");
        let anchor = format!("docs/runbooks.md#{}", name.to_lowercase());
        assert_eq!(member(annotations, "runbook_url"), anchor, "{name}");
    }
}

#[test]
fn every_alert_has_its_section_and_every_section_its_alert() {
    let (mut alerts, sections) = (names(), sections());
    let mut headings: Vec<_> = sections.iter().map(|(heading, _)| heading.clone()).collect();
    assert!(alerts.len() > 20, "{alerts:?}");
    alerts.sort();
    headings.sort();
    assert_eq!(alerts, headings, "left: the rules, right: docs/runbooks.md");
    for (heading, text) in sections {
        let places: Vec<_> = PARTS.iter().map(|part| text.find(part)).collect();
        assert!(places.iter().all(Option::is_some), "{heading}: {PARTS:?} stand at {places:?}");
        assert!(places.is_sorted(), "{heading}: {PARTS:?} stand at {places:?}");
    }
}

#[test]
fn every_link_between_sections_leads_somewhere() {
    let runbooks = text("docs/runbooks.md");
    let anchors: BTreeSet<String> = sections().iter().map(|(heading, _)| heading.to_lowercase()).collect();
    let links = runbooks.split("](#").skip(1).map(|rest| rest.split(')').next().expect("a first part"));
    let links: Vec<_> = links.collect();
    assert!(links.len() > 10, "{links:?}");
    let dead: Vec<_> = links.iter().filter(|link| !anchors.contains(**link)).collect();
    assert!(dead.is_empty(), "{dead:?}");
}

#[test]
fn promtool_accepts_the_rules_and_the_configuration() {
    let directory = monitoring();
    promtool(&directory, &["check", "rules", "rules.yaml"]).unwrap_or_else(|said| panic!("{said}"));
    promtool(&directory, &["check", "config", "prometheus.yml"]).unwrap_or_else(|said| panic!("{said}"));
}

#[test]
fn the_tests_of_the_rules_pass() {
    let said = promtool(&monitoring(), &["test", "rules", "rules.test.yaml"]);
    said.unwrap_or_else(|said| panic!("{said}"));
}

#[test]
fn the_tests_of_the_rules_show_every_alert_firing_alone() {
    let file = yaml("k8s/monitoring/rules.test.yaml");
    let tests = file["tests"].as_array().expect("there are tests");
    let mut missing = Vec::new();
    for name in names() {
        let shows = tests.iter().filter(|test| member(test, "name") == name).any(|test| {
            let checks = test["promql_expr_test"].as_array().into_iter().flatten();
            let fired = checks.map(|check| check["exp_samples"].clone());
            fired.into_iter().any(|samples| {
                let samples = samples.as_array().cloned().unwrap_or_default();
                samples.len() == 1 && member(&samples[0], "labels") == format!("{{alertname=\"{name}\"}}")
            })
        });
        if !shows {
            missing.push(name);
        }
    }
    assert!(missing.is_empty(), "no test shows {missing:?} firing");
}

#[test]
fn a_hub_just_below_every_threshold_has_a_series_for_every_alert() {
    let file = yaml("k8s/monitoring/rules.test.yaml");
    let good = &file["tests"][0];
    assert!(member(good, "name").starts_with("nothing fires"), "{good}");
    let series = good["input_series"].as_array().expect("there are series");
    let known: Vec<&str> = series
        .iter()
        .map(|series| member(series, "series").split('{').next().expect("a first part"))
        .collect();
    let records = super::shipped::records();
    for alert in alerts() {
        for selector in super::promql::selectors(member(&alert, "expr")) {
            // The node of the series has a Redis behind it: nothing says otherwise.
            let name = selector.name;
            let is_there = known.contains(&name.as_str()) || records.contains(&name);
            assert!(is_there || name == "rivulet_build_info", "{}: no series {name}", alert["alert"]);
        }
    }
}
