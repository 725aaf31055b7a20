//! What a node is told when it starts, and the limits that nobody needs to change, each with its reason.

use std::{ops::RangeInclusive, time::Duration};

use crate::PageLimits;

/// Workers are named by a bit in a 64-bit set, so that routing an update costs one lookup per topic.
pub const WORKERS_MAX: usize = 64;
/// Subscribers that are served before new input is taken: at ~5 µs a write, a slice lasts a third of a millisecond,
/// and what arrived meanwhile joins the pending frames of all who were not served yet.
pub(crate) const SLICE_LEN: usize = 64;
/// Events that may wait between the pump and one worker; beyond, the pump waits, and the feed behind it.
pub(crate) const INBOX_LEN_MAX: usize = 512;
/// Events that a worker takes at once, between two slices.
pub(crate) const INTAKE_LEN_MAX: usize = 256;
/// Frames that one ring keeps for subscribers that are behind. Older ones are read from the log.
pub(crate) const RING_LEN_MAX: usize = 1024;
/// Bytes that one ring keeps for subscribers that are behind (a single larger frame is kept alone).
pub(crate) const RING_BYTES_MAX: usize = 1 << 20;
/// Bytes in all rings of a worker: 64 slow readers of 64 topics must not hold more than one of them may.
pub(crate) const RINGS_BYTES_MAX: usize = 64 << 20;
/// Bytes that one `writev` takes: more only fills the kernel's buffer for a reader that may be gone.
pub(crate) const WRITE_BYTES_MAX: usize = 16 << 10;
/// Frames that one `writev` takes.
pub(crate) const WRITE_FRAMES_MAX: usize = 64;
/// Writes in a row to one subscriber before others get their turn.
pub(crate) const WRITES_IN_A_ROW_MAX: usize = 4;
/// What a replay reads at once; a subscriber that replays holds one such page at most, while it takes it, and shares it
/// with all who read the same. (The update that reaches the limit of bytes is the last one; a larger one stands alone.)
pub(crate) const PAGE_LIMITS: PageLimits = PageLimits { len: 64, bytes: 64 << 10 };
/// For how long a page of the log, or where an id stands, serves others: clients that a break has sent away come back within a second or two.
pub(crate) const PAGES_AGE_MAX: Duration = Duration::from_secs(2);
/// Bytes of the pages that are kept for others.
pub(crate) const PAGES_BYTES_MAX: usize = 32 << 20;
/// How many pages are kept for others: empty ones are nearly free, but not quite.
pub(crate) const PAGES_LEN_MAX: usize = 4096;
/// How many publishers' ids, with where they stand, are kept for others: at most two megabytes, since anybody may
/// ask for ids of a kilobyte.
pub(crate) const LOCATIONS_LEN_MAX: usize = 1024;
/// How far the clocks of two partitions may stand apart, in microseconds: by what their servers' differ, by what an idle
/// one lags until its next tick, and by the half minute that a log's clock jumps when another server takes it over, with
/// four seconds more for each further takeover that follows at once. A stream that continues after a publisher's id starts
/// so much earlier in the other partitions: better twice than lost.
pub(crate) const CLOCK_SKEW_MAX_MICROS: u64 = 45_000_000;
/// How far before the log's clock a position may be that another node may have shown, in microseconds: a clock jumps like
/// that when another server takes a log over, and this node may not have heard of that yet.
pub(crate) const UNHEARD_MAX_MICROS: u64 = 60_000_000;
/// Bytes of frames that the seats of one worker may have begun and not finished, each frame once: what readers that take
/// nothing keep in memory, beyond the rings, until their write deadline. Sixteen of the largest updates that are usual,
/// so that only a crowd of stalled readers with large updates of their own ever meets it.
pub(crate) const PINNED_BYTES_MAX: usize = 16 << 20;
/// When it is met, streams are ended until so much is left: the seats are not to be searched again for each frame.
pub(crate) const PINNED_BYTES_LOW: usize = PINNED_BYTES_MAX / 4 * 3;
/// A rest up to this length is copied if it keeps a frame of eight times this alive: a copy is cheaper than the write
/// that left it.
pub(crate) const REST_COPIED_LEN_MAX: usize = 2 << 10;
/// Bytes of the deliveries in the inboxes of all workers, each once: 512 of the largest updates would be half a gigabyte.
/// Beyond, the pump waits, and the feed behind it.
pub(crate) const INBOXES_BYTES_MAX: u32 = 64 << 20;
/// What a delivery costs in an inbox beside its frame.
pub(crate) const DELIVERY_BYTES: u32 = 256;
/// How long a stream that is let go may take for what it was given already: it comes back with its cursor, so nothing is
/// lost, and one that cannot take a few kilobytes in this time would not in ten times as much.
pub(crate) const PARTING_WAIT: Duration = Duration::from_secs(2);
/// When a client that was let go is told to come back, drawn evenly, in milliseconds. Not at once: other nodes get the
/// streams of a node as the even slope in which they end, and those of one slice shall not arrive together. Not later:
/// its updates wait so long.
pub(crate) const RETRY_MS: RangeInclusive<u32> = 1_000..=10_000;
/// How much longer than its period a drain may take: the last streams take their rest.
pub(crate) const DRAIN_GRACE: Duration = Duration::from_secs(3);
/// How often a node looks whether it holds more than others.
pub(crate) const SHED_INTERVAL: Duration = Duration::from_secs(1);
/// For so many looks in a row the transport must have been there: by then, with a usual lease, it has told of the others anew.
pub(crate) const SHED_HEARD_MIN: u64 = 10;
/// A node sheds while it holds so many connections more than the mean, and this share of it more: the mean is some
/// seconds old, and a difference that nobody notices is not worth a reconnect.
pub(crate) const SHED_MARGIN_MIN: f64 = 10.0;
pub(crate) const SHED_MARGIN_SHARE: f64 = 0.1;
/// Kicks that may wait for their turn: an operator sends one at a time.
pub(crate) const KICKS_LEN_MAX: usize = 64;
/// Seats that a worker looks at in one go when it is asked about them: a fraction of a millisecond.
pub(crate) const SCAN_LEN: usize = 2048;
/// Seats that a worker describes, or ends for a kick, in one go: some microseconds each.
pub(crate) const SCAN_FOUND_MAX: usize = 256;
/// Longest wait for a worker's answer.
pub(crate) const ASK_WAIT: Duration = Duration::from_secs(2);
/// Inspections under way at the same time.
pub(crate) const INSPECTIONS_MAX: usize = 2;
/// A node that was full is ready again once so many per cent of its places are taken: at the limit itself each stream
/// that ends would make it ready, and the next one not.
pub(crate) const READY_AGAIN_PERCENT: usize = 90;
/// Longest wait for one of the node's reads of the log.
pub(crate) const READ_WAIT_MAX: Duration = Duration::from_secs(10);
/// The pause before a stream's read of the log is tried again, at first and at the most.
pub(crate) const READ_PAUSE: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(5)];

/// How a node behaves.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// A connection that carried nothing for this long gets a heartbeat. `None`: never.
    pub heartbeat: Option<Duration>,
    /// Every connection is ended at a random 80–100 % of this, so that clients spread over nodes again. `None`: never.
    pub lifetime: Option<Duration>,
    /// A connection that takes nothing for this long, while something is to be written, is ended as stalled.
    pub write_deadline: Duration,
    /// Connections on this node; one more is refused.
    pub connections_max: usize,
    /// Reads of the log that this node has under way at the same time for replays.
    pub replay_reads_max: usize,
    /// Subscribers that may replay at the same time after they came with a last id; one more is refused. (Those that were
    /// too slow for live updates replay too, and are not counted.)
    pub replays_max: usize,
    /// How much memory the process may take, in bytes, as far as somebody watches it: see
    /// [`crate::Node::set_memory_tight`]. For refusals only.
    pub memory_max: Option<u64>,
    /// What share of its connections a node may end per minute, from 0 to 1, while it holds more than others do, so that
    /// they spread over the nodes again. `None`: never.
    pub shed: Option<f64>,
    /// How the spans of an update on the nodes of its subscribers hang together with the one that created it.
    pub trace_updates: TraceUpdates,
    /// Whether frames tell clients which trace an update belongs to.
    pub expose_trace: bool,
}

/// What of [`NodeConfig`] may change while the node runs; its fields say what each is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StreamTimes {
    /// See [`NodeConfig::heartbeat`].
    pub heartbeat: Option<Duration>,
    /// See [`NodeConfig::lifetime`].
    pub lifetime: Option<Duration>,
    /// See [`NodeConfig::write_deadline`].
    pub write_deadline: Duration,
    /// See [`NodeConfig::shed`].
    pub shed: Option<f64>,
}

impl NodeConfig {
    /// What the node starts with.
    pub(crate) fn times(&self) -> StreamTimes {
        let Self { heartbeat, lifetime, write_deadline, shed, .. } = *self;
        StreamTimes { heartbeat, lifetime, write_deadline, shed }
    }
}

/// To which trace what a node does for its subscribers of a recorded update belongs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TraceUpdates {
    /// To that of the publication: one trace holds everything.
    #[default]
    Child,
    /// To one of its own, linked to the publication. It is recorded if that is.
    Link,
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            heartbeat: Some(Duration::from_secs(15)),
            lifetime: Some(Duration::from_secs(600)),
            write_deadline: Duration::from_secs(20),
            connections_max: 100_000,
            replay_reads_max: 64,
            replays_max: 10_000,
            memory_max: None,
            shed: None,
            trace_updates: TraceUpdates::default(),
            expose_trace: false,
        }
    }
}
