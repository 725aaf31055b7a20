//! `/metrics` of a real hub: what the table in `docs/metrics.md` says, in a form that Prometheus likes, and moving when
//! something happens.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write as _,
    process::{Command, Stdio},
};

use rivulet_tests::{
    Backend, Hub, PATIENCE, Request, eventually, metrics::Metrics, repository, tokens, wire::form,
};

/// A family as the table or the page tells it. Names are those of queries: counters end in `_total`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Family {
    kind: String,
    labels: BTreeMap<String, BTreeSet<String>>,
    meaning: String,
}

type Families = BTreeMap<String, Family>;

fn table() -> Families {
    let text = repository::text("docs/metrics.md");
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [name, kind, labels, unit, meaning] = cells[..] else { panic!("five cells: {row}") };
        let name = name.trim_matches('`');
        assert_eq!(unit, unit_of(name), "{name}");
        let family =
            Family { kind: kind.to_owned(), labels: labels_in(labels), meaning: meaning.replace('`', "") };
        (name.to_owned(), family)
    })
    .collect()
}

/// The labels of a row: `` `name`: value, value; `other`: value ``.
fn labels_in(cell: &str) -> BTreeMap<String, BTreeSet<String>> {
    let label = |text: &str| {
        let (name, values) = text.split_once(':').unwrap_or_else(|| panic!("{text:?} has no values"));
        let values = values.split(',').map(|value| value.trim().to_owned()).collect();
        (name.trim().trim_matches('`').to_owned(), values)
    };
    cell.split(';').map(str::trim).filter(|text| !text.is_empty()).map(label).collect()
}

fn unit_of(name: &str) -> &'static str {
    let base = name.strip_suffix("_total").unwrap_or(name);
    match base {
        "rivulet_heap_bytes_per_connection" => "bytes",
        _ if base.ends_with("_seconds") => "seconds",
        _ if base.ends_with("_bytes") => "bytes",
        _ => "",
    }
}

/// The families of a page.
fn shown(text: &str) -> Families {
    let mut families = Families::new();
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    for line in text.lines() {
        if let Some(line) = line.strip_prefix("# TYPE ") {
            let (name, kind) = line.split_once(' ').expect("a name and a type");
            let suffix = match kind {
                "counter" => "_total",
                "info" => "_info",
                _ => "",
            };
            let queried = format!("{name}{suffix}");
            families.entry(queried.clone()).or_default().kind = kind.to_owned();
            names.insert(name.to_owned(), queried);
        }
    }
    for line in text.lines() {
        if let Some(line) = line.strip_prefix("# HELP ") {
            let (name, meaning) = line.split_once(' ').expect("a name and a meaning");
            families.get_mut(&names[name]).expect("it has a type").meaning = meaning.replace('`', "");
        }
    }
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, _) = line.split_once(" # ").unwrap_or((line, ""));
        let (series, value) = series.rsplit_once(' ').expect("a series and a value");
        value.parse::<f64>().unwrap_or_else(|_| panic!("{line}"));
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
        let base = base.filter(|base| families.get(*base).is_some_and(|family| family.kind == "histogram"));
        let family = families.get_mut(base.unwrap_or(name)).unwrap_or_else(|| panic!("{name} has no type"));
        for label in labels.trim_end_matches('}').split("\",").filter(|label| !label.is_empty()) {
            let (label, value) = label.split_once("=\"").expect("a label and a value");
            if label != "le" {
                let value = value.trim_end_matches('"').to_owned();
                family.labels.entry(label.to_owned()).or_default().insert(value);
            }
        }
    }
    families
}

/// Where the table has a word for values: there are as many as there are workers, partitions, versions.
fn with_words(mut families: Families) -> Families {
    for (name, family) in &mut families {
        for (label, values) in &mut family.labels {
            match label.as_str() {
                "worker" | "partition" => {
                    assert!(values.iter().all(|value| value.parse::<u8>().is_ok()), "{name}: {values:?}");
                    *values = BTreeSet::from(["number".to_owned()]);
                }
                "version" => *values = BTreeSet::from(["version".to_owned()]),
                // The other one has a page of its own.
                "transport" => _ = values.insert("memory".to_owned()),
                // This hub has keys of its own for the roles of dialect 0.x.
                "set" => {
                    assert_eq!(*values, BTreeSet::from(["issuer_0".to_owned()]), "{name}");
                    let names = ["publisher", "subscriber", "issuer_number"];
                    *values = BTreeSet::from(names.map(str::to_owned));
                }
                _ => {}
            }
        }
    }
    families
}

#[tokio::test]
async fn the_table_says_what_a_hub_shows_and_nothing_else() {
    let set = tokens::key_set_file();
    let issuer = format!("{}=jwks:@{}", tokens::ISSUER, set.path().display());
    let hub = Backend::Redis.hub_with(&["--trusted-issuer", &issuer]).await;
    let (table, shown) = (table(), with_words(shown(hub.metrics().text())));
    let names = |families: &Families| families.keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(names(&table), names(&shown), "left: docs/metrics.md, right: /metrics");
    for (name, family) in &shown {
        assert_eq!(&table[name], family, "{name}; left: docs/metrics.md, right: /metrics");
    }
    assert!(shown.len() > 70, "{}", shown.len());
}

#[tokio::test]
async fn a_page_of_64_partitions_is_small() {
    let hub = Backend::Redis.hub_with(&["--redis-partitions", "64"]).await;
    let metrics = hub.metrics();
    let text = metrics.text();
    assert_eq!(metrics.sum("rivulet_feed_partition_live", ""), Some(64.0), "{text}");
    assert!(text.len() < 200_000, "{}", text.len());
}

/// As Prometheus wrote it before OpenMetrics, which is what `promtool check metrics` reads.
fn classic(text: &str) -> String {
    let mut classic = String::new();
    let mut kinds: BTreeMap<&str, &str> = BTreeMap::new();
    for line in text.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|line| line.split_once(' ')) {
            kinds.insert(name, kind);
        }
    }
    for line in text.lines().filter(|line| *line != "# EOF") {
        let mut words = line.splitn(4, ' ');
        let words = [words.next(), words.next(), words.next(), words.next()];
        let line = match words {
            [Some("#"), Some(what), Some(name), Some(rest)] => {
                let (suffix, rest) = match (kinds[name], rest) {
                    ("counter", rest) => ("_total", rest),
                    ("info", "info") => ("_info", "gauge"),
                    ("info", rest) => ("_info", rest),
                    (_, rest) => ("", rest),
                };
                format!("# {what} {name}{suffix} {rest}")
            }
            _ => line.split_once(" # ").map_or(line, |(sample, _)| sample).to_owned(),
        };
        classic.push_str(&line);
        classic.push('\n');
    }
    classic
}

#[tokio::test]
async fn promtool_finds_nothing_wrong() {
    let hub = Backend::Redis.hub().await;
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is installed: Debian's package prometheus");
    let text = classic(hub.metrics().text());
    promtool.stdin.take().expect("it is piped").write_all(text.as_bytes()).expect("promtool reads");
    let output = promtool.wait_with_output().expect("promtool ends");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && said.is_empty(), "{}: {said}", output.status);
}

/// Waits until metrics have these values.
async fn expect(hub: &Hub, expected: &[(&str, &str, f64)]) {
    eventually(format!("{expected:?}"), PATIENCE, || async {
        let metrics = Metrics::scrape(hub.admin())?;
        for (name, labels, value) in expected {
            let found = metrics.sum(name, labels);
            if found != Some(*value) {
                return Err(format!("{name}{{{labels}}} is {found:?}, not {value}"));
            }
        }
        Ok(())
    })
    .await;
}

async fn what_happens_is_counted(backend: Backend) {
    let hub = backend.hub_with(&["--limit-connections-total", "3"]).await;
    let mut old = hub.subscribe("topic=a").await;
    let mut new = hub.subscribe("match=a").await;
    let live = "state=\"live\"";
    expect(
        &hub,
        &[
            ("rivulet_streams", &format!("{live},dialect=\"0\""), 1.0),
            ("rivulet_streams", &format!("{live},dialect=\"1\""), 1.0),
            ("rivulet_subscribe_duration_seconds_count", "dialect=\"0\"", 1.0),
            ("rivulet_subscribe_duration_seconds_count", "dialect=\"1\"", 1.0),
            ("rivulet_worker_streams", "", 2.0),
            ("rivulet_quota_used", "quota=\"connections\"", 2.0),
            ("rivulet_quota_limit", "quota=\"connections\"", 3.0),
            ("rivulet_limit_verdicts_total", "limit=\"connections_total\",verdict=\"admitted\"", 2.0),
            ("rivulet_lease_valid", "", 1.0),
        ],
    )
    .await;
    let first = hub.publish(&[("topic", "a"), ("data", "1")]).await;
    hub.publish(&[("topic", "a"), ("data", "2")]).await;
    for stream in [&mut old, &mut new] {
        assert_eq!(stream.data(2).await, ["1", "2"]);
    }
    let mut back = hub.subscribe(&form(&[("topic", "a"), ("lastEventID", &first)])).await;
    assert_eq!(back.data(1).await, ["2"]);
    hub.send(&Request::subscribe("topic=a")).await.expect_problem(429, "quota-exceeded");
    let bad = Request::publish(&[("topic", "a")]).bearer("garbage");
    hub.send(&bad).await.expect_problem(401, "token-malformed");
    let bad = Request::publish(&[("data", "1")]).bearer(&tokens::publisher(&["*"]));
    hub.send(&bad).await.expect_problem(400, "topic-missing");
    expect(
        &hub,
        &[
            ("rivulet_publish_duration_seconds_count", "outcome=\"published\"", 2.0),
            ("rivulet_publish_duration_seconds_count", "outcome=\"refused\"", 1.0),
            ("rivulet_write_latency_seconds_count", "", 4.0),
            ("rivulet_deliveries_total", "", 5.0),
            ("rivulet_replays_total", "", 1.0),
            ("rivulet_limit_verdicts_total", "limit=\"connections_total\",verdict=\"refused\"", 1.0),
            ("rivulet_token_refusals_total", "check=\"token-malformed\"", 1.0),
            ("rivulet_refusals_total", "problem=\"topic-missing\"", 1.0),
        ],
    )
    .await;
    let metrics = hub.metrics();
    for name in [
        "rivulet_dispatch_duration_seconds_sum",
        "rivulet_worker_busy_seconds_total",
        "rivulet_heap_bytes_per_connection",
        "rivulet_runtime_tasks",
    ] {
        assert!(metrics.sum(name, "").is_some_and(|value| value > 0.0), "{name}: {}", metrics.text());
    }
    let age = metrics.sum("rivulet_write_latency_seconds_sum", "").expect("there were writes");
    assert!((0.0..40.0).contains(&age), "four writes took {age} s");
}

#[tokio::test]
async fn what_happens_is_counted_on_memory() {
    what_happens_is_counted(Backend::Memory).await;
}

#[tokio::test]
async fn what_happens_is_counted_on_redis() {
    what_happens_is_counted(Backend::Redis).await;
}

#[tokio::test]
async fn who_lost_something_and_who_takes_nothing_are_counted() {
    let hub = Backend::Memory.hub_with(&["--write-deadline", "1s"]).await;
    hub.publish(&[("topic", "a"), ("data", "1")]).await;
    let mut lost = hub.subscribe(&form(&[("topic", "b"), ("lastEventID", "urn:x:never-published")])).await;
    assert_eq!(lost.event().await.kind.as_deref(), Some("rivulet-gap"));
    expect(&hub, &[("rivulet_gaps_total", "", 1.0), ("rivulet_streams_behind", "", 0.0)]).await;
    let _stuck = hub.subscribe("topic=a").await;
    let data = "x".repeat(256 << 10);
    eventually("it is ended as stalled", 2 * PATIENCE, || async {
        hub.publish(&[("topic", "a"), ("data", &data)]).await;
        let stalled = hub.metrics().sum("rivulet_streams_closed_total", "reason=\"stalled\"");
        if stalled == Some(1.0) { Ok(()) } else { Err(format!("{stalled:?}")) }
    })
    .await;
    let (behind, live) = (("rivulet_streams_behind", "", 0.0), ("rivulet_streams", "state=\"live\"", 1.0));
    expect(&hub, &[behind, live]).await;
}

#[tokio::test]
async fn what_redis_does_is_told_by_script() {
    let hub = Backend::Redis.hub().await;
    hub.publish(&[("topic", "a"), ("data", "1")]).await;
    hub.redis().command(&["CONFIG", "SET", "maxmemory", "1"]).expect("redis-server obeys");
    let refused = Request::publish(&[("topic", "a")]).bearer(&tokens::publisher(&["*"]));
    hub.send(&refused).await.expect_problem(503, "transport-unavailable");
    hub.redis().command(&["CONFIG", "SET", "maxmemory", "0"]).expect("redis-server obeys");
    expect(
        &hub,
        &[
            ("rivulet_redis_command_duration_seconds_count", "script=\"append\"", 2.0),
            ("rivulet_redis_command_errors_total", "script=\"append\",error_type=\"out_of_memory\"", 1.0),
            ("rivulet_publish_duration_seconds_count", "outcome=\"failed\"", 1.0),
            ("rivulet_redis_primaries_away", "", 0.0),
            ("rivulet_redis_in_flight_bytes", "", 0.0),
        ],
    )
    .await;
    eventually("a tick is back", PATIENCE, || async {
        let ticks = Metrics::scrape(hub.admin())?.sum("rivulet_tick_round_trip_seconds_count", "");
        if ticks > Some(0.0) { Ok(()) } else { Err(format!("{ticks:?}")) }
    })
    .await;
}
