//! Every expression that is shipped asks for metrics, labels and values that a running hub has.

use std::collections::BTreeSet;

use regex::Regex;
use rivulet_tests::{Backend, Hub, tokens};
use serde_json::Value;

use super::{
    exposition::{Sample, samples},
    promql::{Selector, selectors},
    shipped::{member, records, rules, text},
};

/// An expression, and where it stands.
pub(crate) struct Shipped {
    pub(crate) place: String,
    pub(crate) expression: String,
}

/// The expressions of rules, dashboard and runbooks.
pub(crate) fn expressions() -> Vec<Shipped> {
    let of_rule = |rule: &Value| {
        let name = rule["alert"].as_str().or(rule["record"].as_str()).expect("a rule has a name");
        Shipped { place: name.to_owned(), expression: member(rule, "expr").to_owned() }
    };
    let asked = Regex::new("(?m)^ask '(.*)'$").expect("a pattern");
    let runbooks = text("docs/runbooks.md");
    let of_runbooks = asked
        .captures_iter(&runbooks)
        .map(|found| Shipped { place: "docs/runbooks.md".to_owned(), expression: found[1].to_owned() });
    let mut all: Vec<Shipped> = rules().iter().map(of_rule).chain(of_runbooks).collect();
    all.extend(of_dashboard());
    assert!(all.len() > 150, "{} expressions were found", all.len());
    all
}

/// The expressions of the dashboard, with its variables as they stand there.
fn of_dashboard() -> Vec<Shipped> {
    let dashboard = dashboard();
    let mut found = Vec::new();
    for panel in array(&dashboard["panels"]) {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let place = format!("panel {}", panel["title"]);
            found.push(Shipped { place, expression: member(target, "expr").to_owned() });
        }
    }
    for variable in array(&dashboard["templating"]["list"]).iter().filter(|list| list["name"] != "datasource")
    {
        let query = member(&variable["query"], "query");
        let inner = query.strip_prefix("label_values(").and_then(|rest| rest.rsplit_once(", "));
        let expression = inner.unwrap_or_else(|| panic!("no label_values: {query}")).0.to_owned();
        found.push(Shipped { place: format!("variable {}", variable["name"]), expression });
    }
    for annotation in array(&dashboard["annotations"]["list"]) {
        let expression = member(annotation, "expr").to_owned();
        found.push(Shipped { place: format!("annotation {}", annotation["name"]), expression });
    }
    found
}

fn dashboard() -> Value {
    serde_json::from_str(&text("k8s/monitoring/dashboard.json")).expect("the dashboard is JSON")
}

fn array(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap_or_else(|| panic!("no array: {value}"))
}

/// What nodes of both transports show when they have been used a little.
async fn scrapes() -> Vec<Sample> {
    let mut found = Vec::new();
    let set = tokens::key_set_file();
    let issuer = format!("{}=jwks:@{}", tokens::ISSUER, set.path().display());
    for backend in [Backend::Redis, Backend::Memory] {
        let flags = ["--limit-connections-total", "1000", "--trusted-issuer", &issuer];
        let hub = backend.hub_with(&flags).await;
        use_a_little(&hub).await;
        found.extend(samples(hub.metrics().text()));
    }
    found
}

async fn use_a_little(hub: &Hub) {
    let mut subscriber = hub.subscribe("topic=a").await;
    hub.publish(&[("topic", "a"), ("data", "1")]).await;
    assert_eq!(subscriber.event().await.data(), "1");
}

/// What is wrong with a selector, if anything.
fn complaint(selector: &Selector, scraped: &[Sample]) -> Option<String> {
    let named: Vec<&Sample> = scraped.iter().filter(|sample| sample.name == selector.name).collect();
    if named.is_empty() {
        return Some(format!("no metric {}", selector.name));
    }
    for (label, operator, value) in &selector.matchers {
        // Prometheus gives these to every target, and Grafana replaces its variables.
        if ["job", "instance"].contains(&label.as_str()) || value.starts_with('$') {
            continue;
        }
        let pattern =
            Regex::new(&format!("^(?:{value})$")).unwrap_or_else(|error| panic!("{value}: {error}"));
        let values: BTreeSet<&str> = named.iter().filter_map(|sample| sample.label(label)).collect();
        let fits =
            |given: &str| if operator.ends_with('~') { pattern.is_match(given) } else { given == value };
        // Each alternative must be there: a misspelt one would never match, and nobody would notice.
        let alternatives: Vec<&str> = value.split('|').filter(|word| !word.contains(".*")).collect();
        let absent: Vec<_> = alternatives.iter().filter(|word| !values.contains(**word)).collect();
        if !values.iter().any(|given| fits(given)) || !absent.is_empty() {
            return Some(format!("{}: {label}{operator}{value} is not among {values:?}", selector.name));
        }
    }
    None
}

#[tokio::test]
async fn no_expression_asks_for_what_no_hub_has() {
    let scraped = scrapes().await;
    let records = records();
    let of_prometheus =
        |name: &str| ["up", "ALERTS"].contains(&name) || records.iter().any(|own| own == name);
    let mut complaints = Vec::new();
    for Shipped { place, expression } in expressions() {
        let found = selectors(&expression);
        assert!(!found.is_empty(), "{place}: no selector in {expression}");
        for selector in found.iter().filter(|selector| !of_prometheus(&selector.name)) {
            complaints.extend(complaint(selector, &scraped).map(|complaint| format!("{place}: {complaint}")));
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[tokio::test]
async fn no_expression_groups_by_a_label_that_no_hub_has() {
    let scraped = scrapes().await;
    let labels = scraped.iter().flat_map(|sample| sample.labels.iter().map(|(label, _)| label.as_str()));
    let mut known: BTreeSet<&str> = labels.collect();
    known.extend(["job", "instance", "alertname"]);
    let lists =
        Regex::new(r"\b(?:by|on|without|ignoring|group_left|group_right)\s*\(([^)]*)\)").expect("a pattern");
    let legends = Regex::new(r"\{\{\s*(?:\$labels\.)?(\w+)").expect("a pattern");
    let mut used: Vec<(String, String)> = Vec::new();
    for Shipped { place, expression } in expressions() {
        let names = lists
            .captures_iter(&expression)
            .flat_map(|list| list[1].split(',').map(|name| name.trim().to_owned()).collect::<Vec<_>>());
        used.extend(names.filter(|name| !name.is_empty()).map(|name| (place.clone(), name)));
    }
    for file in ["k8s/monitoring/rules.yaml", "k8s/monitoring/dashboard.json"] {
        let text = text(file);
        used.extend(legends.captures_iter(&text).map(|found| (file.to_owned(), found[1].to_owned())));
    }
    assert!(used.len() > 100, "{used:?}");
    let strange: Vec<_> = used.iter().filter(|(_, name)| !known.contains(name.as_str())).collect();
    assert!(strange.is_empty(), "{strange:?}");
}

#[test]
fn every_panel_has_its_place_and_takes_the_source_that_was_chosen() {
    let dashboard = dashboard();
    assert!(dashboard["schemaVersion"].as_u64() >= Some(38), "the schema of Grafana 10");
    let panels = array(&dashboard["panels"]);
    let mut places: Vec<[u64; 4]> = Vec::new();
    let mut ids = BTreeSet::new();
    for panel in panels {
        let title = &panel["title"];
        assert!(ids.insert(panel["id"].as_u64().expect("an id")), "{title}: the id is taken");
        let [x, y, w, h] =
            ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().expect("a length"));
        assert!(x + w <= 24, "{title} leaves the grid");
        let meets = |other: &[u64; 4]| {
            x < other[0] + other[2] && other[0] < x + w && y < other[1] + other[3] && other[1] < y + h
        };
        assert!(!places.iter().any(meets), "{title} covers another panel");
        places.push([x, y, w, h]);
        if panel["type"] != "row" {
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
            assert!(!array(&panel["targets"]).is_empty(), "{title}");
        }
    }
    let rows: Vec<&str> =
        panels.iter().filter(|panel| panel["type"] == "row").map(|row| member(row, "title")).collect();
    assert_eq!(
        rows,
        ["Now", "Traffic", "Latency", "Feed and Redis", "Limits", "Memory and process", "Tracing"]
    );
    let exemplars = panels.iter().filter(|panel| panel["targets"][0]["exemplar"] == true).count();
    assert!(exemplars > 0, "no panel shows exemplars");
}
