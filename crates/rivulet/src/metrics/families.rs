//! All metrics: names, types, labels and meanings, in one table. `docs/metrics.md` is the same for people, with the values
//! of labels; a test compares both with what a running hub shows.
//!
//! Names of counters stand here without `_total`, and that of the one information without `_info`: the encoder appends
//! them. The first three are those of the reference hub, letter by letter, so that existing dashboards go on working.
//! Labels come from small fixed sets.

use prometheus_client::metrics::MetricType;

/// One metric, with all its samples.
#[derive(Clone, Copy, Debug)]
pub(super) struct Family {
    pub(super) kind: MetricType,
    pub(super) name: &'static str,
    pub(super) labels: &'static [&'static str],
    pub(super) help: &'static str,
}

macro_rules! families {
    ($($kind:ident $family:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(pub(super) const $family: Family =
            Family { kind: MetricType::$kind, name: $name, labels: &[$($label),*], help: $help };)*

        #[cfg(test)]
        pub(super) const ALL: &[Family] = &[$($family),*];
    };
}

families! {
    // Mercure's.
    Counter MERCURE_SUBSCRIBERS "mercure_subscribers" [] "Subscribers that this node has served since it started";
    Gauge MERCURE_CONNECTED "mercure_subscribers_connected" [] "Subscribers that are connected to this node";
    Counter MERCURE_UPDATES "mercure_updates" [] "Updates that this node has accepted from publishers";

    // Streams.
    Gauge CONNECTIONS "rivulet_connections" [] "Places taken on this node, those of streams still being opened included";
    Gauge STREAMS "rivulet_streams" ["state", "dialect"] "Streams by state and major version of the protocol";
    Gauge STREAMS_OPEN "rivulet_streams_open" [] "Open streams, and those being opened";
    Gauge STREAMS_RESERVED "rivulet_streams_reserved" [] "Streams that are being opened";
    Gauge STREAMS_REPLAYING "rivulet_streams_replaying" [] "Streams of clients that came back and are catching up with the log";
    Gauge STREAMS_BEHIND "rivulet_streams_behind" [] "Streams that have not yet taken everything dispatched to them";
    Counter STREAMS_OPENED "rivulet_streams_opened" [] "Streams opened";
    Counter STREAMS_CLOSED "rivulet_streams_closed" ["reason"] "Streams ended, by reason";
    Counter SUBSCRIBERS_ADMITTED "rivulet_subscribers_admitted" [] "Subscribers that passed all limits of the hub";
    Counter SUBSCRIBERS_REFUSED "rivulet_subscribers_refused" ["reason"] "Subscribers that this node had no room for, by reason";
    Histogram SUBSCRIBE_DURATION "rivulet_subscribe_duration_seconds" ["dialect"] "From a subscriber's request until its stream has begun";

    // Updates.
    Counter PUBLISHED "rivulet_updates_published" [] "Updates that this node has appended to the log";
    Counter RECEIVED "rivulet_updates_received" [] "Updates that have arrived in this node's feed";
    Counter LOST "rivulet_updates_lost" [] "Times that the feed said that it may lack updates: who depends on them reads the log";
    Counter ENCODED "rivulet_frames_encoded" [] "Updates encoded for subscribers, each once";
    Counter DELIVERIES "rivulet_deliveries" [] "Updates written to subscribers";
    Counter DELIVERED_BYTES "rivulet_delivered_bytes" [] "Bytes written to subscribers";
    Counter REPLAYS "rivulet_replays" [] "Reads of the log begun for subscribers that came back or fell behind";
    Counter GAPS "rivulet_gaps" [] "Times that a stream was told that updates after its cursor are not kept any more";
    Histogram PUBLISH_DURATION "rivulet_publish_duration_seconds" ["outcome"] "From an update's having been read from its publisher until its outcome, each line of a batch for itself";
    Histogram WRITE_LATENCY "rivulet_write_latency_seconds" [] "From an update's position, which is when it was published, until it was written to a subscriber; without what was read from the log";
    Histogram DISPATCH_DURATION "rivulet_dispatch_duration_seconds" [] "From the feed until all subscribers of a worker that were level had been served, for each update and each matcher that selects it";

    // Workers.
    Gauge SOURCES "rivulet_sources" [] "Distinct matchers of subscribers, per worker, added up";
    Gauge FRAME_BYTES "rivulet_frame_bytes" [] "Memory of encoded updates, each once, whoever holds it: inboxes, rings, pages of the log, streams in the middle of it";
    Gauge RING_FRAMES "rivulet_ring_frames" [] "Updates held for streams that are behind, in each ring that holds them";
    Gauge RING_FRAMES_MAX "rivulet_ring_frames_max" [] "Updates in the longest of these rings";
    Gauge RING_BYTES "rivulet_ring_bytes" [] "Bytes of the updates held for streams that are behind, in each ring that holds them";
    Gauge TIMERS "rivulet_timers" [] "Times that streams stand in the timers, those that have ended included until they are due";
    Gauge PINNED_BYTES "rivulet_pinned_bytes" [] "Bytes of the updates that streams have begun to take and not finished, on each worker that has such streams";
    Counter WORKER_BUSY "rivulet_worker_busy_seconds" ["worker"] "Time that a worker has spent on its streams";
    Gauge WORKER_STREAMS "rivulet_worker_streams" ["worker"] "Streams of a worker";

    // The feed, and the hub behind it.
    Gauge FEED_LIVE "rivulet_feed_live" [] "1 while updates arrive from the transport, else 0";
    Gauge FEED_STALE "rivulet_feed_stale_partitions" [] "Partitions of the transport from which no update could arrive now";
    Gauge PARTITION_LIVE "rivulet_feed_partition_live" ["partition"] "1 while updates of the partition arrive from the transport, else 0";
    Histogram TICK_ROUND_TRIP "rivulet_tick_round_trip_seconds" [] "From a tick's sending to its return through the feed, over all partitions";
    Gauge CLOCK_OFFSET "rivulet_clock_offset_seconds" [] "This node's clock minus that of Redis, as the quickest of the last ticks tells";
    Counter BACKFILLS "rivulet_backfills" ["outcome"] "Reads of what the feed of a partition missed: after each connect too, though mostly nothing was missed";
    Counter BACKFILLED "rivulet_backfilled_updates" [] "Updates that the feed had missed and that were read from the log";
    Counter UNREADABLE "rivulet_unreadable" ["cause"] "What stood in Redis or came from there and could not be read, each time it was tried; newer: this node is too old for it, or finds in the layout that it is";
    Gauge HUB_NODES "rivulet_hub_nodes" [] "Nodes of the hub, this one included";
    Gauge HUB_CONNECTIONS "rivulet_hub_connections" [] "Connections of all nodes, as they last said";

    // Redis.
    Histogram REDIS_DURATION "rivulet_redis_command_duration_seconds" ["script"] "How long commands took, failures included, but not what could not even be sent";
    Counter REDIS_ERRORS "rivulet_redis_command_errors" ["script", "error_type"] "Commands that failed; each attempt counts";
    Gauge REDIS_AWAY "rivulet_redis_primaries_away" [] "Primaries that cannot be appended to: what would go there is refused at once";
    Gauge REDIS_IN_FLIGHT "rivulet_redis_in_flight_bytes" [] "Memory of appends that have not been answered yet";

    // Limits, leases, refusals.
    Counter VERDICTS "rivulet_limit_verdicts" ["limit", "verdict"] "What limits of the hub have said; degraded: the transport could not count";
    Counter LIMIT_REFUSALS "rivulet_limit_refusals" ["limit"] "Refusals by a limit of the hub";
    Gauge QUOTA_USED "rivulet_quota_used" ["quota"] "What the hub's connections hold of a quota, as the nodes last said";
    Gauge QUOTA_LIMIT "rivulet_quota_limit" ["quota"] "How much of it there is, 0 without a limit";
    Gauge LEASE_VALID "rivulet_lease_valid" [] "1 while what this node's connections hold of quotas is counted, else 0";
    Counter LEASE_LAPSES "rivulet_lease_lapses" [] "Times that it was not counted any more, or that nobody knew";
    Counter REFUSALS "rivulet_refusals" ["problem"] "Requests and lines of batches refused, by problem";
    Counter TOKEN_REFUSALS "rivulet_token_refusals" ["check"] "Those of them because of a token, by the check that failed";
    Counter JWKS_REFRESHES "rivulet_jwks_refreshes" ["set", "outcome"] "Reads of each key set, those at the start not counted";

    // Connections before their requests.
    Counter ACCEPTED "rivulet_connections_accepted" [] "Connections accepted";
    Counter REFUSED_BUSY "rivulet_connections_refused_busy" [] "Connections refused because too many were in a request or between two";
    Gauge REQUESTS_OPEN "rivulet_requests_open" [] "Connections in a handshake, in a request or between two; streams not counted";
    Gauge BODY_BYTES "rivulet_body_bytes" [] "Memory held by bodies of requests that are being received";
    Histogram HANDSHAKE_DURATION "rivulet_handshake_duration_seconds" [] "From the first byte of a TLS handshake until it was done";
    Counter HANDSHAKES_FAILED "rivulet_handshakes_failed" ["reason"] "TLS handshakes that failed, by reason";
    Counter PROXY_HEADERS_REFUSED "rivulet_proxy_headers_refused" [] "Connections closed because of a PROXY header that is malformed, too long or late";
    Counter PROXIES_UNTRUSTED "rivulet_proxies_untrusted" [] "Connections closed because they should begin with a PROXY header and came from no trusted proxy";
    Counter FORWARDING_IGNORED "rivulet_forwarding_headers_ignored" [] "Requests whose Forwarded or X-Forwarded-For came from a peer that is no trusted proxy";
    Counter FORWARDING_MALFORMED "rivulet_forwarding_headers_malformed" [] "Requests whose --forwarding-header, from a trusted proxy, could not be read to its end";

    // Tracing.
    Counter SPANS_ENDED "rivulet_spans_ended" [] "Spans that were sampled and have ended";
    Counter SPANS_EXPORTED "rivulet_spans_exported" [] "Spans that a collector has taken";
    Counter SPANS_DROPPED "rivulet_spans_dropped" ["reason"] "Spans that no collector has got, by reason";
    Gauge SPAN_QUEUE "rivulet_span_queue_length" [] "Spans that wait for the collector";

    // The configuration.
    Gauge CONFIG_SUCCESSFUL "rivulet_config_last_reload_successful" [] "1 if the configuration was right when it was read last, at the start or again; else 0";
    Gauge CONFIG_SUCCESS_TIME "rivulet_config_last_reload_success_timestamp_seconds" [] "When it was right last, in Unix time";
    Counter CONFIG_RELOADS "rivulet_config_reloads" ["outcome"] "Times that the configuration was read again, by outcome";
    Gauge CONFIG_RESTART "rivulet_config_restart_needed" [] "1 while settings have changed that count at the next start only, else 0";

    // The process.
    Info BUILD "rivulet_build" ["version", "transport"] "The version that runs, and its transport";
    Gauge DRAINING "rivulet_draining" [] "1 from the signal to stop on: no clients should be sent here any more; else 0";
    Gauge HEAP "rivulet_heap_bytes" [] "Memory allocated and not freed";
    Gauge HEAP_PER_CONNECTION "rivulet_heap_bytes_per_connection" [] "The same, divided by the connections, or by one if there is none";
    Gauge MEMORY_MAX "rivulet_memory_max_bytes" [] "What --memory-max allows, 0 without a limit";
    Gauge MEMORY_USED "rivulet_memory_used_bytes" [] "What is measured against it: memory that the system could not take back";
    Gauge MEMORY_TIGHT "rivulet_memory_tight" [] "1 while this node takes nobody new because memory is tight, else 0";
    Gauge TASKS "rivulet_runtime_tasks" [] "Tasks beside the workers: Redis, the pump, the admin listener";
    Gauge START_TIME "process_start_time_seconds" [] "When the process started, in Unix time";
    Gauge RESIDENT "process_resident_memory_bytes" [] "Resident memory";
    Gauge OPEN_FDS "process_open_fds" [] "Open files";
    Gauge MAX_FDS "process_max_fds" [] "How many files may be open";
}
