//! What a transport tells about itself, for metrics.

use crate::{HistogramSnapshot, VerdictCounts, histogram::CALL_BOUNDS};

/// What a transport has counted since it started, and what it holds now. One that has nothing behind it, as the memory
/// transport, leaves zeros where there is nothing to tell.
#[derive(Clone, Debug)]
pub struct TransportStats {
    /// How much this node's clock is before the log's, in microseconds: see [`crate::Transport::clock_offset_micros`].
    pub clock_offset_micros: i64,
    /// How long ticks took from this node through the transport and back, over all partitions.
    pub tick_round_trip: HistogramSnapshot,
    /// Reads of what the feed missed in one partition that were done: after each connect too, though mostly nothing
    /// was missed.
    pub backfills_done: u64,
    /// Those that failed; each is tried again.
    pub backfills_failed: u64,
    /// Updates that came into the feed so.
    pub backfilled_updates: u64,
    /// What a newer node wrote and this one could not read, each time that it tried.
    pub unreadable_newer: u64,
    /// What could not be read and no version writes.
    pub unreadable_damaged: u64,
    /// What was asked of the servers, each kind once.
    pub commands: Vec<CommandSnapshot>,
    /// Servers that cannot be appended to now: what would go there is refused at once.
    pub servers_away: usize,
    /// Bytes of appends that have not been answered yet.
    pub in_flight_bytes: usize,
    /// What limits have said.
    pub verdicts: VerdictCounts,
    /// Whether what this node's connections hold of the hub's limits is counted.
    pub is_counted: bool,
    /// How often it was not, or nobody knew.
    pub counting_lapses: u64,
}

/// One kind of command.
#[derive(Clone, Debug)]
pub struct CommandSnapshot {
    /// The script's name, or `pipeline` for plain commands that read.
    pub script: &'static str,
    /// How long it took, failures included, but not what could not even be sent.
    pub duration: HistogramSnapshot,
    /// Failures, by a name of what was wrong; all names, zeros included.
    pub errors: Vec<(&'static str, u64)>,
}

impl Default for TransportStats {
    fn default() -> Self {
        Self {
            clock_offset_micros: 0,
            tick_round_trip: HistogramSnapshot::empty(CALL_BOUNDS),
            backfills_done: 0,
            backfills_failed: 0,
            backfilled_updates: 0,
            unreadable_newer: 0,
            unreadable_damaged: 0,
            commands: Vec::new(),
            servers_away: 0,
            in_flight_bytes: 0,
            verdicts: VerdictCounts::default(),
            is_counted: true,
            counting_lapses: 0,
        }
    }
}
