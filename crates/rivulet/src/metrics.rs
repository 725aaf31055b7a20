//! All names of metrics, and what they mean: one file, read on each scrape from the node's counters.
//!
//! Names of counters stand here without `_total`, which the encoder appends. The first three are those of the
//! reference hub, letter by letter, so that existing dashboards go on working. Labels come from small fixed sets.

use std::{fmt, sync::Arc, time::SystemTime};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge, info::Info},
    registry::Registry,
};
use rivulet_node::{CloseReason, FeedStatus, Node, NodeSnapshot};
use tokio::sync::watch;

use crate::{memory::MemoryState, process};

/// The content type of [`Metrics::render`]: Prometheus asks for it and falls back to it.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Everything that `/metrics` shows.
pub(crate) struct Metrics {
    registry: Registry,
}

impl Metrics {
    /// The metrics of a node, and of the process that it is.
    pub(crate) fn new(node: Arc<Node>, memory: watch::Receiver<MemoryState>) -> Self {
        let mut registry = Registry::default();
        let transport = node.transport_name();
        let labels = vec![("version", env!("CARGO_PKG_VERSION")), ("transport", transport)];
        registry.register("rivulet_build", "The version that runs, and its transport", Info::new(labels));
        registry.register_collector(Box::new(NodeCollector { node, memory, started_at: SystemTime::now() }));
        Self { registry }
    }

    /// The text of `/metrics`.
    pub(crate) fn render(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

struct NodeCollector {
    node: Arc<Node>,
    memory: watch::Receiver<MemoryState>,
    started_at: SystemTime,
}

impl fmt::Debug for NodeCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NodeCollector")
    }
}

impl Collector for NodeCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let snapshot = self.node.stats();
        for (name, help, value) in counters(&snapshot) {
            counter(&mut encoder, name, help, value)?;
        }
        for (name, help, value) in gauges(&snapshot) {
            gauge(&mut encoder, name, help, value)?;
        }
        let stale = match self.node.feed_status() {
            FeedStatus::Live => 0,
            FeedStatus::Stale(partitions) => partitions.len() as u64,
        };
        gauge(
            &mut encoder,
            "rivulet_feed_stale_partitions",
            "Partitions of the transport from which no update could arrive now",
            stale,
        )?;
        gauge(
            &mut encoder,
            "rivulet_feed_live",
            "1 while updates arrive from the transport, else 0",
            u64::from(stale == 0),
        )?;
        streams_closed(&mut encoder, &snapshot)?;
        self.process(&mut encoder)
    }
}

impl NodeCollector {
    fn process(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let memory = *self.memory.borrow();
        let started = self.started_at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let gauges = [
            ("process_start_time_seconds", "When the process started, in Unix time", Some(started.as_secs())),
            ("process_resident_memory_bytes", "Resident memory", process::resident_bytes()),
            ("process_open_fds", "Open files", process::open_files()),
            ("process_max_fds", "How many files may be open", process::file_limit()),
            ("rivulet_heap_bytes", "Memory allocated and not freed", process::heap_bytes()),
            ("rivulet_memory_max_bytes", "What --memory-max allows, 0 without a limit", Some(memory.max)),
            (
                "rivulet_memory_used_bytes",
                "What is measured against it: memory that the system could not take back",
                Some(memory.used),
            ),
            (
                "rivulet_memory_tight",
                "1 while this node takes nobody new because memory is tight, else 0",
                Some(u64::from(memory.tight)),
            ),
        ];
        for (name, help, value) in gauges {
            if let Some(value) = value {
                gauge(encoder, name, help, value)?;
            }
        }
        Ok(())
    }
}

type Row = (&'static str, &'static str, u64);

fn counters(snapshot: &NodeSnapshot) -> [Row; 10] {
    [
        ("mercure_subscribers", "Subscribers that this node has served since it started", snapshot.opened),
        ("mercure_updates", "Updates that this node has accepted from publishers", snapshot.published),
        ("rivulet_streams_opened", "Streams opened", snapshot.opened),
        ("rivulet_updates_published", "Updates that this node has appended to the log", snapshot.published),
        ("rivulet_updates_received", "Updates that have arrived in this node's feed", snapshot.received),
        ("rivulet_frames_encoded", "Updates encoded for subscribers, each once", snapshot.encoded),
        ("rivulet_deliveries", "Updates written to subscribers", snapshot.deliveries),
        ("rivulet_delivered_bytes", "Bytes written to subscribers", snapshot.bytes_written),
        (
            "rivulet_replays",
            "Reads of the log begun for subscribers that came back or fell behind",
            snapshot.replays,
        ),
        (
            "rivulet_gaps",
            "Times that a stream was told that updates after its cursor are not kept any more",
            snapshot.gaps,
        ),
    ]
}

fn gauges(snapshot: &NodeSnapshot) -> [Row; 6] {
    [
        (
            "mercure_subscribers_connected",
            "Subscribers that are connected to this node",
            snapshot.seats as u64,
        ),
        (
            "rivulet_connections",
            "Places taken on this node, those of streams still being opened included",
            snapshot.connections as u64,
        ),
        ("rivulet_streams_open", "Open streams", snapshot.seats as u64),
        (
            "rivulet_streams_behind",
            "Streams that have not yet taken everything dispatched to them",
            snapshot.behind as u64,
        ),
        (
            "rivulet_sources",
            "Distinct matchers of subscribers, per worker, added up",
            snapshot.sources as u64,
        ),
        ("rivulet_ring_bytes", "Memory held for streams that are behind", snapshot.ring_bytes as u64),
    ]
}

fn counter(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: u64,
) -> Result<(), fmt::Error> {
    let metric = ConstCounter::new(value);
    metric.encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)
}

fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> Result<(), fmt::Error> {
    let metric = ConstGauge::new(value);
    metric.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)
}

/// `rivulet_streams_closed_total{reason}`.
fn streams_closed(encoder: &mut DescriptorEncoder<'_>, snapshot: &NodeSnapshot) -> Result<(), fmt::Error> {
    let (name, help) = ("rivulet_streams_closed", "Streams ended, by reason");
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (reason, closed) in CloseReason::ALL.iter().zip(snapshot.closed) {
        ConstCounter::new(closed).encode(family.encode_family(&[("reason", reason.as_str())])?)?;
    }
    Ok(())
}
