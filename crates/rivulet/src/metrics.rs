//! All names of metrics, and what they mean: one file, read on each scrape from the node's counters.
//!
//! Names of counters stand here without `_total`, which the encoder appends. The first three are those of the
//! reference hub, letter by letter, so that existing dashboards go on working. Labels come from small fixed sets.

use std::{fmt, sync::atomic::Ordering::Relaxed, time::SystemTime};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge, info::Info},
    registry::Registry,
};
use rivulet_http::{HttpSnapshot, ListenerStats};
use rivulet_node::{CloseReason, FeedStatus, NodeSnapshot, Peers, Refusal};

use crate::{observed::Observed, process};

/// The content type of [`Metrics::render`]: Prometheus asks for it and falls back to it.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Everything that `/metrics` shows.
pub(crate) struct Metrics {
    registry: Registry,
}

impl Metrics {
    /// The metrics of a node, and of the process that it is.
    pub(crate) fn new(observed: Observed) -> Self {
        let mut registry = Registry::default();
        let transport = observed.node.transport_name();
        let labels = vec![("version", env!("CARGO_PKG_VERSION")), ("transport", transport)];
        registry.register("rivulet_build", "The version that runs, and its transport", Info::new(labels));
        registry.register_collector(Box::new(HubCollector { observed, started_at: SystemTime::now() }));
        Self { registry }
    }

    /// The text of `/metrics`.
    pub(crate) fn render(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

struct HubCollector {
    observed: Observed,
    started_at: SystemTime,
}

impl fmt::Debug for HubCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HubCollector")
    }
}

impl Collector for HubCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let snapshot = self.observed.node.stats();
        for (name, help, value) in counters(&snapshot) {
            counter(&mut encoder, name, help, value)?;
        }
        for (name, help, value) in gauges(&snapshot) {
            gauge(&mut encoder, name, help, value)?;
        }
        let stale = match self.observed.node.feed_status() {
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
        streams_ended_and_refused(&mut encoder, &snapshot)?;
        self.peers(&mut encoder)?;
        http(&mut encoder, &self.observed.http.snapshot())?;
        listener(&mut encoder, &self.observed.listener)?;
        self.process(&mut encoder)
    }
}

impl HubCollector {
    /// The hub as this node last heard of it.
    fn peers(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Peers { nodes, connections, .. } = self.observed.node.peers();
        gauge(encoder, "rivulet_hub_nodes", "Nodes of the hub, this one included", nodes.into())?;
        gauge(encoder, "rivulet_hub_connections", "Connections of all nodes, as they last said", connections)
    }

    fn process(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let memory = *self.observed.memory.borrow();
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

fn gauges(snapshot: &NodeSnapshot) -> [Row; 10] {
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
        (
            "rivulet_pinned_bytes",
            "Memory of updates that streams have begun to take and not finished",
            snapshot.pinned_bytes as u64,
        ),
        ("rivulet_streams_reserved", "Streams that are being opened", snapshot.reserved as u64),
        (
            "rivulet_streams_replaying",
            "Streams of clients that came back and are catching up with the log",
            snapshot.replaying as u64,
        ),
        (
            "rivulet_draining",
            "1 from the signal to stop on: no clients should be sent here any more; else 0",
            u64::from(snapshot.draining),
        ),
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

/// A counter for each value of one label.
fn family<'a>(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help): (&str, &str),
    label: &str,
    counts: impl IntoIterator<Item = (&'a str, u64)>,
) -> Result<(), fmt::Error> {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (value, count) in counts {
        ConstCounter::new(count).encode(family.encode_family(&[(label, value)])?)?;
    }
    Ok(())
}

fn streams_ended_and_refused(
    encoder: &mut DescriptorEncoder<'_>,
    snapshot: &NodeSnapshot,
) -> Result<(), fmt::Error> {
    let closed = CloseReason::ALL.iter().map(|reason| reason.as_str()).zip(snapshot.closed);
    family(encoder, ("rivulet_streams_closed", "Streams ended, by reason"), "reason", closed)?;
    let refused = Refusal::ALL.iter().map(|reason| reason.as_str()).zip(snapshot.refused);
    let about = ("rivulet_subscribers_refused", "Subscribers that this node had no room for, by reason");
    family(encoder, about, "reason", refused)
}

/// What happened to requests.
fn http(encoder: &mut DescriptorEncoder<'_>, snapshot: &HttpSnapshot) -> Result<(), fmt::Error> {
    let refused = snapshot.refused.iter().copied();
    family(
        encoder,
        ("rivulet_refusals", "Requests and lines of batches refused, by problem"),
        "problem",
        refused,
    )?;
    let limited = snapshot.limited.iter().map(|(limit, count)| (limit.as_str(), *count));
    family(encoder, ("rivulet_limit_refusals", "Refusals by a limit of the hub"), "limit", limited)?;
    for (name, help, value) in [
        ("rivulet_subscribers_admitted", "Subscribers that passed all limits of the hub", snapshot.admitted),
        (
            "rivulet_forwarding_headers_ignored",
            "Requests whose Forwarded or X-Forwarded-For came from a peer that is no trusted proxy",
            snapshot.forwarding_headers_ignored,
        ),
        (
            "rivulet_forwarding_headers_malformed",
            "Requests whose --forwarding-header, from a trusted proxy, could not be read to its end",
            snapshot.forwarding_headers_malformed,
        ),
    ] {
        counter(encoder, name, help, value)?;
    }
    let help = "Memory held by bodies of requests that are being received";
    gauge(encoder, "rivulet_body_bytes", help, snapshot.body_bytes as u64)
}

/// What happened to connections before HTTP.
fn listener(encoder: &mut DescriptorEncoder<'_>, stats: &ListenerStats) -> Result<(), fmt::Error> {
    for (name, help, value) in [
        ("rivulet_connections_accepted", "Connections accepted", &stats.accepted),
        (
            "rivulet_connections_refused_busy",
            "Connections refused because too many were in a request or between two",
            &stats.refused_busy,
        ),
        (
            "rivulet_proxy_headers_refused",
            "Connections closed because of a PROXY header that is malformed, too long or late",
            &stats.proxy_headers_refused,
        ),
        (
            "rivulet_proxies_untrusted",
            "Connections closed because they should begin with a PROXY header and came from no trusted proxy",
            &stats.proxies_untrusted,
        ),
    ] {
        counter(encoder, name, help, value.load(Relaxed))?;
    }
    let failed = [
        ("timeout", &stats.handshakes_timed_out),
        ("crowded_out", &stats.handshakes_crowded_out),
        ("error", &stats.handshakes_failed),
    ];
    let failed = failed.map(|(reason, count)| (reason, count.load(Relaxed)));
    family(
        encoder,
        ("rivulet_handshakes_failed", "TLS handshakes that failed, by reason"),
        "reason",
        failed,
    )?;
    let help = "Connections in a handshake, in a request or between two; streams not counted";
    gauge(encoder, "rivulet_requests_open", help, stats.open.load(Relaxed))
}
