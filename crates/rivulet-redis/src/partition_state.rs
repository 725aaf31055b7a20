//! What a node holds of one partition: the channels that it wants, how far its feed is, and whether that is alive. It
//! outlives the connections that serve the partition, of which there is one at a time.

use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    time::Duration,
};

use parking_lot::Mutex;
use rivulet_core::{Partition, Position};

use crate::{
    channels::Channels, clock_offset::ClockOffset, partition_stats::PartitionStats, seen::Seen,
    status::Status,
};

/// So many ticks in a row that were sent well and not heard mean that nothing arrives any more.
const UNHEARD_MAX: u32 = 3;

/// See the module.
pub(crate) struct PartitionState {
    pub(crate) partition: Partition,
    pub(crate) channels: Channels,
    pub(crate) status: Status,
    pub(crate) seen: Seen,
    pub(crate) stats: PartitionStats,
    pub(crate) clock: ClockOffset,
    /// How far the feed is; only the connection that serves the partition moves it.
    pub(crate) place: Mutex<Place>,
    /// The position of the last event in the feed, for everyone.
    sent: AtomicU64,
    unheard: AtomicU32,
    /// The last tick that the server of the link has answered.
    ticked: AtomicU64,
}

/// How far the feed of a partition is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// The position of the last event that is in the feed.
    pub(crate) last: Position,
    /// Up to here the log was read: what is missing before it cannot be found there.
    pub(crate) verified: Position,
    /// The birth of the log, once it is known. When it moves, the log has lost something.
    pub(crate) birth: Option<Position>,
}

impl PartitionState {
    /// The feed starts after `start`, the first tick.
    pub(crate) fn starting_after(partition: Partition, seen: Seen, start: Position) -> Self {
        Self {
            partition,
            channels: Channels::default(),
            status: Status::starting(),
            seen,
            stats: PartitionStats::new(),
            clock: ClockOffset::default(),
            place: Mutex::new(Place { last: start, verified: start, birth: None }),
            sent: AtomicU64::new(start.as_micros()),
            unheard: AtomicU32::new(0),
            ticked: AtomicU64::new(start.as_micros()),
        }
    }

    /// What stands before the last event of the feed has been in it: for who asks now, the feed begins after that.
    pub(crate) fn sent(&self) -> Position {
        Position::from_micros(self.sent.load(Ordering::Acquire))
    }

    /// An event with this position is in the feed.
    pub(crate) fn put(&self, position: Position) {
        self.place.lock().last = position;
        self.sent.store(position.as_micros(), Ordering::Release);
    }

    /// A new connection serves the partition: ticks that the last one did not bring say nothing about it.
    pub(crate) fn begin(&self) {
        self.stats.ticks_lost();
        self.unheard.store(0, Ordering::Release);
    }

    /// A tick was sent, and Redis has announced it.
    pub(crate) fn tick_sent(&self, position: Position) {
        self.unheard.fetch_add(1, Ordering::AcqRel);
        self.ticked.fetch_max(position.as_micros(), Ordering::AcqRel);
    }

    /// How far cursors may have followed the clock of the server that the link is connected to, but for what they have read
    /// since. Announcements do not count: a demoted master passes on those of its successor.
    pub(crate) fn ticked(&self) -> Position {
        Position::from_micros(self.ticked.load(Ordering::Acquire))
    }

    /// A tick has arrived.
    pub(crate) fn tick_heard(&self) {
        self.stats.tick_heard();
        self.unheard.store(0, Ordering::Release);
    }

    /// Whether what Redis announces does not arrive.
    pub(crate) fn is_mute(&self) -> bool {
        self.unheard.load(Ordering::Acquire) > UNHEARD_MAX
    }

    /// For how long the feed has not been alive.
    pub(crate) fn stale_for(&self) -> Option<Duration> {
        self.status.stale().map(|(since, _)| since)
    }
}
