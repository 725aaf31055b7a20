//! The page: every family of the table once, with its type and meaning, named as Prometheus wants it.

use std::collections::BTreeSet;

use prometheus_client::metrics::MetricType;
use rivulet_core::Partitions;
use rivulet_http::{
    HttpConfig, LiveConfig,
    auth::{AuthConfig, Authorizer},
};
use rivulet_node::{MemoryTransport, Node, NodeConfig, Retention};

use super::{families::ALL, *};
use crate::{logs::Logs, memory::MemorySampler};

fn render(partitions: u16) -> String {
    let partitions = Partitions::new(partitions).unwrap();
    let (transport, feed) = MemoryTransport::partitioned(Retention::default(), partitions);
    let (logs, _log) = Logs::nowhere("info");
    let observed = Observed {
        node: Node::start(transport, feed, NodeConfig::default()),
        memory: MemorySampler::start(None).state(),
        http: Arc::default(),
        listener: Arc::default(),
        live: LiveConfig::new(HttpConfig::new(Arc::new(Authorizer::new(AuthConfig::default()).unwrap()))),
        reloads: Arc::default(),
        spans: Arc::default(),
        logs,
        runtime: tokio::runtime::Handle::current(),
    };
    Metrics::new(observed).render().unwrap()
}

#[tokio::test]
async fn every_family_is_shown_once_as_the_table_says() {
    let text = render(2);
    let lines = |start: &str| -> BTreeSet<String> {
        text.lines().filter_map(|line| line.strip_prefix(start)).map(str::to_owned).collect()
    };
    let types = ALL.iter().map(|family| format!("{} {}", family.name, family.kind.as_str()));
    assert_eq!(lines("# TYPE "), types.collect());
    let meanings = ALL.iter().map(|family| format!("{} {}", family.name, family.help));
    assert_eq!(lines("# HELP "), meanings.collect());
    let descriptors = text.lines().filter(|line| line.starts_with("# TYPE ")).count();
    assert_eq!(descriptors, ALL.len(), "each once");
    assert!(text.ends_with("# EOF\n"), "{text}");
}

#[test]
fn names_are_those_that_prometheus_wants() {
    let names: BTreeSet<&str> = ALL.iter().map(|family| family.name).collect();
    assert_eq!(names.len(), ALL.len(), "one name, one thing");
    for family in ALL {
        let name = family.name;
        let is_word = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
        assert!(name.bytes().all(is_word) && !name.ends_with("_total"), "{name}");
        let is_histogram = matches!(family.kind, MetricType::Histogram);
        assert!(!is_histogram || name.ends_with("_seconds"), "{name} has its unit");
        assert!(!family.help.ends_with('.') && family.help.len() > 6, "{name}: {}", family.help);
        assert!(!family.help.contains(['|', '\\', '\n']), "{name}: the table holds it as it is");
    }
}

#[tokio::test]
async fn workers_and_partitions_have_their_numbers() {
    let text = render(3);
    for line in [
        "rivulet_feed_partition_live{partition=\"0\"} 1",
        "rivulet_feed_partition_live{partition=\"2\"} 1",
        "rivulet_streams{state=\"live\",dialect=\"1\"} 0",
        "rivulet_write_latency_seconds_bucket{le=\"0.0005\"} 0",
        "rivulet_write_latency_seconds_bucket{le=\"+Inf\"} 0",
        "rivulet_write_latency_seconds_count 0",
        "rivulet_dispatch_duration_seconds_bucket{le=\"0.00002\"} 0",
        "rivulet_subscribe_duration_seconds_bucket{le=\"10.0\",dialect=\"0\"} 0",
        "rivulet_limit_verdicts_total{limit=\"connections_total\",verdict=\"degraded\"} 0",
        "rivulet_quota_limit{quota=\"connections\"} 0",
        "rivulet_lease_valid 1",
        "rivulet_clock_offset_seconds 0.0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line:?} is not in\n{text}");
    }
    assert!(!text.contains("partition=\"3\""), "{text}");
}
