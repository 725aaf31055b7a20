//! One look at everything that counts, and how it is shown: families in the order of their table.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use prometheus_client::{collector::Collector, encoding::DescriptorEncoder};
use rivulet_core::Dialect;
use rivulet_http::{HttpSnapshot, ListenerStats, auth::KeySetReads};
use rivulet_node::{
    CloseReason, FeedStatus, Limit, NodeSnapshot, Peers, Refusal, StreamState, TransportStats, Verdict,
};

use super::{families as f, page::Page, process::ProcessSnapshot};
use crate::{observed::Observed, reload::ReloadStats, telemetry::SpanStats};

/// See the module.
#[derive(Debug)]
pub(super) struct Scrape {
    pub(super) node: NodeSnapshot,
    transport_name: &'static str,
    transport: TransportStats,
    feed: FeedStatus,
    partitions: u16,
    peers: Peers,
    connections_total: Option<u32>,
    http: HttpSnapshot,
    key_sets: BTreeMap<String, KeySetReads>,
    listener: Arc<ListenerStats>,
    spans: Arc<SpanStats>,
    reloads: Arc<ReloadStats>,
    process: ProcessSnapshot,
}

impl Scrape {
    /// Looks at everything.
    pub(super) fn of(observed: &Observed, process: ProcessSnapshot) -> Self {
        let node = &observed.node;
        Self {
            node: node.stats(),
            transport_name: node.transport_name(),
            transport: node.transport_stats(),
            feed: node.feed_status(),
            partitions: node.partitions().count(),
            peers: node.peers(),
            connections_total: observed.live.load().limits.connections_total,
            http: observed.http.snapshot(),
            key_sets: observed.live.load().authorizer.key_set_reads(),
            listener: Arc::clone(&observed.listener),
            spans: Arc::clone(&observed.spans),
            reloads: Arc::clone(&observed.reloads),
            process,
        }
    }
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let page = &mut Page::new(encoder);
        self.streams(page)?;
        self.updates(page)?;
        self.workers(page)?;
        self.feed(page)?;
        self.redis(page)?;
        self.limits(page)?;
        self.refusals(page)?;
        self.listener(page)?;
        self.tracing(page)?;
        self.configuration(page)?;
        page.info(&f::BUILD, [env!("CARGO_PKG_VERSION"), self.transport_name])?;
        page.gauge(&f::DRAINING, u64::from(self.node.draining))?;
        self.process.show(page, self.node.connections)
    }
}

impl Scrape {
    fn streams(&self, page: &mut Page<'_>) -> fmt::Result {
        let node = &self.node;
        page.counter(&f::MERCURE_SUBSCRIBERS, node.opened)?;
        page.gauge(&f::MERCURE_CONNECTED, node.seats)?;
        page.counter(&f::MERCURE_UPDATES, node.published)?;
        page.gauge(&f::CONNECTIONS, node.connections)?;
        let streams = StreamState::ALL.iter().zip(&node.streams).flat_map(|(state, counts)| {
            let counts = Dialect::ALL.iter().zip(counts);
            counts.map(|(dialect, count)| ([state.as_str(), dialect.as_str()], *count))
        });
        page.gauges(&f::STREAMS, streams)?;
        page.gauge(&f::STREAMS_OPEN, node.seats)?;
        page.gauge(&f::STREAMS_RESERVED, node.reserved)?;
        page.gauge(&f::STREAMS_REPLAYING, node.replaying)?;
        page.gauge(&f::STREAMS_BEHIND, node.behind)?;
        page.counter(&f::STREAMS_OPENED, node.opened)?;
        let closed = CloseReason::ALL.iter().map(|reason| [reason.as_str()]).zip(node.closed);
        page.counters(&f::STREAMS_CLOSED, closed)?;
        page.counter(&f::SUBSCRIBERS_ADMITTED, self.http.admitted)?;
        let refused = Refusal::ALL.iter().map(|reason| [reason.as_str()]).zip(node.refused);
        page.counters(&f::SUBSCRIBERS_REFUSED, refused)?;
        let subscribe = self.http.subscribe.iter().map(|(dialect, took)| ([dialect.as_str()], took));
        page.histograms(&f::SUBSCRIBE_DURATION, subscribe)
    }

    fn updates(&self, page: &mut Page<'_>) -> fmt::Result {
        let node = &self.node;
        page.counter(&f::PUBLISHED, node.published)?;
        page.counter(&f::RECEIVED, node.received)?;
        page.counter(&f::LOST, node.lost)?;
        page.counter(&f::ENCODED, node.encoded)?;
        page.counter(&f::DELIVERIES, node.deliveries)?;
        page.counter(&f::DELIVERED_BYTES, node.bytes_written)?;
        page.counter(&f::REPLAYS, node.replays)?;
        page.counter(&f::GAPS, node.gaps)?;
        let publish = self.http.publish.iter().map(|(outcome, took)| ([outcome.as_str()], took));
        page.histograms(&f::PUBLISH_DURATION, publish)?;
        page.histogram(&f::WRITE_LATENCY, &node.write_latency)?;
        page.histogram(&f::DISPATCH_DURATION, &node.dispatch)
    }

    fn workers(&self, page: &mut Page<'_>) -> fmt::Result {
        page.gauge(&f::SOURCES, self.node.sources)?;
        page.gauge(&f::FRAME_BYTES, self.node.frame_bytes)?;
        page.gauge(&f::RING_FRAMES, self.node.ring_frames)?;
        page.gauge(&f::RING_FRAMES_MAX, self.node.ring_frames_max)?;
        page.gauge(&f::RING_BYTES, self.node.ring_bytes)?;
        page.gauge(&f::TIMERS, self.node.timers)?;
        page.gauge(&f::PINNED_BYTES, self.node.pinned_bytes)?;
        let names: Vec<String> = (0..self.node.workers.len()).map(|number| number.to_string()).collect();
        let workers = || names.iter().zip(&self.node.workers);
        let busy = workers().map(|(name, worker)| ([name.as_str()], worker.busy.as_secs_f64()));
        page.counters(&f::WORKER_BUSY, busy)?;
        page.gauges(&f::WORKER_STREAMS, workers().map(|(name, worker)| ([name.as_str()], worker.streams)))
    }

    fn feed(&self, page: &mut Page<'_>) -> fmt::Result {
        let stale = match &self.feed {
            FeedStatus::Live => &[],
            FeedStatus::Stale(partitions) => partitions.as_slice(),
        };
        page.gauge(&f::FEED_LIVE, u64::from(stale.is_empty()))?;
        page.gauge(&f::FEED_STALE, stale.len())?;
        let live = |number: usize| !stale.iter().any(|stale| stale.partition.index() == number);
        let names: Vec<String> = (0..self.partitions).map(|number| number.to_string()).collect();
        let partitions = names.iter().enumerate();
        let partitions = partitions.map(|(number, name)| ([name.as_str()], u64::from(live(number))));
        page.gauges(&f::PARTITION_LIVE, partitions)?;
        let TransportStats { backfills_done, backfills_failed, .. } = self.transport;
        page.histogram(&f::TICK_ROUND_TRIP, &self.transport.tick_round_trip)?;
        #[expect(clippy::cast_precision_loss, reason = "clocks are not centuries apart")]
        page.gauge(&f::CLOCK_OFFSET, self.transport.clock_offset_micros as f64 / 1e6)?;
        page.counters(&f::BACKFILLS, [(["done"], backfills_done), (["failed"], backfills_failed)])?;
        page.counter(&f::BACKFILLED, self.transport.backfilled_updates)?;
        let TransportStats { unreadable_newer, unreadable_damaged, .. } = self.transport;
        page.counters(&f::UNREADABLE, [(["newer"], unreadable_newer), (["damaged"], unreadable_damaged)])?;
        page.gauge(&f::HUB_NODES, self.peers.nodes)?;
        page.gauge(&f::HUB_CONNECTIONS, self.peers.connections)
    }

    fn redis(&self, page: &mut Page<'_>) -> fmt::Result {
        let commands = &self.transport.commands;
        let took = commands.iter().map(|command| ([command.script], &command.duration));
        page.histograms(&f::REDIS_DURATION, took)?;
        let errors = commands.iter().flat_map(|command| {
            command.errors.iter().map(|(error, count)| ([command.script, *error], *count))
        });
        page.counters(&f::REDIS_ERRORS, errors)?;
        page.gauge(&f::REDIS_AWAY, self.transport.servers_away)?;
        page.gauge(&f::REDIS_IN_FLIGHT, self.transport.in_flight_bytes)
    }

    fn limits(&self, page: &mut Page<'_>) -> fmt::Result {
        let verdicts = Limit::ALL.iter().zip(&self.transport.verdicts).flat_map(|(limit, counts)| {
            let counts = Verdict::ALL.iter().zip(counts);
            counts.map(|(verdict, count)| ([limit.as_str(), verdict.as_str()], *count))
        });
        page.counters(&f::VERDICTS, verdicts)?;
        let refused = self.http.limited.iter().map(|(limit, count)| ([limit.as_str()], *count));
        page.counters(&f::LIMIT_REFUSALS, refused)?;
        page.gauges(&f::QUOTA_USED, [(["connections"], self.peers.connections)])?;
        page.gauges(&f::QUOTA_LIMIT, [(["connections"], self.connections_total.unwrap_or(0))])?;
        page.gauge(&f::LEASE_VALID, u64::from(self.transport.is_counted))?;
        page.counter(&f::LEASE_LAPSES, self.transport.counting_lapses)
    }

    fn refusals(&self, page: &mut Page<'_>) -> fmt::Result {
        page.counters(&f::REFUSALS, self.http.refused.iter().map(|(problem, count)| ([*problem], *count)))?;
        let tokens = self.http.token_refusals.iter().map(|(check, count)| ([check.slug()], *count));
        page.counters(&f::TOKEN_REFUSALS, tokens)?;
        let reads = self.key_sets.iter().flat_map(|(set, KeySetReads { done, failed })| {
            [([set.as_str(), "done"], *done), ([set.as_str(), "failed"], *failed)]
        });
        page.counters(&f::JWKS_REFRESHES, reads)
    }

    /// What happened to connections before HTTP, and to their requests.
    fn listener(&self, page: &mut Page<'_>) -> fmt::Result {
        let stats = &self.listener;
        page.counter(&f::ACCEPTED, stats.accepted.load(Relaxed))?;
        page.counter(&f::REFUSED_BUSY, stats.refused_busy.load(Relaxed))?;
        page.gauge(&f::REQUESTS_OPEN, stats.open.load(Relaxed))?;
        page.gauge(&f::BODY_BYTES, self.http.body_bytes)?;
        page.histogram(&f::HANDSHAKE_DURATION, &stats.handshake.snapshot())?;
        let failed = [
            (["timeout"], &stats.handshakes_timed_out),
            (["crowded_out"], &stats.handshakes_crowded_out),
            (["error"], &stats.handshakes_failed),
        ];
        page.counters(&f::HANDSHAKES_FAILED, failed.map(|(reason, count)| (reason, count.load(Relaxed))))?;
        page.counter(&f::PROXY_HEADERS_REFUSED, stats.proxy_headers_refused.load(Relaxed))?;
        page.counter(&f::PROXIES_UNTRUSTED, stats.proxies_untrusted.load(Relaxed))?;
        page.counter(&f::FORWARDING_IGNORED, self.http.forwarding_headers_ignored)?;
        page.counter(&f::FORWARDING_MALFORMED, self.http.forwarding_headers_malformed)
    }

    fn configuration(&self, page: &mut Page<'_>) -> fmt::Result {
        let reloads = &self.reloads;
        page.gauge(&f::CONFIG_SUCCESSFUL, u64::from(reloads.last_successful.load(Relaxed)))?;
        page.gauge(&f::CONFIG_SUCCESS_TIME, reloads.last_success.load(Relaxed))?;
        let outcomes = [
            (["applied"], &reloads.applied),
            (["unchanged"], &reloads.unchanged),
            (["refused"], &reloads.refused),
        ];
        page.counters(&f::CONFIG_RELOADS, outcomes.map(|(outcome, count)| (outcome, count.load(Relaxed))))?;
        page.gauge(&f::CONFIG_RESTART, u64::from(reloads.restart_needed.load(Relaxed)))
    }

    fn tracing(&self, page: &mut Page<'_>) -> fmt::Result {
        let spans = &self.spans;
        page.counter(&f::SPANS_ENDED, spans.ended.load(Relaxed))?;
        page.counter(&f::SPANS_EXPORTED, spans.exported.load(Relaxed))?;
        let dropped =
            [(["queue_full"], &spans.dropped_queue_full), (["export_failed"], &spans.dropped_export_failed)];
        page.counters(&f::SPANS_DROPPED, dropped.map(|(reason, count)| (reason, count.load(Relaxed))))?;
        page.gauge(&f::SPAN_QUEUE, spans.queue_length.load(Relaxed))
    }
}
