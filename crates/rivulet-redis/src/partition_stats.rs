//! What is counted of one partition: how long its ticks take there and back, and what was read that its feed had missed.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use rivulet_node::{Histogram, TransportError, TransportStats, histogram::CALL_BOUNDS};

/// See the module.
#[derive(Debug)]
pub(crate) struct PartitionStats {
    /// Where the times of ticks count from.
    epoch: Instant,
    /// When the first tick was sent that has not come back yet, in nanoseconds; 0: all have. They come back in the
    /// order in which they were sent, so the next one to come is this one.
    under_way: AtomicU64,
    pub(crate) round_trip: Histogram,
    backfills_done: AtomicU64,
    backfills_failed: AtomicU64,
    backfilled: AtomicU64,
}

/// A tick that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TickUnderWay(u64);

impl PartitionStats {
    pub(crate) fn new() -> Self {
        Self {
            epoch: Instant::now(),
            under_way: AtomicU64::new(0),
            round_trip: Histogram::new(CALL_BOUNDS),
            backfills_done: AtomicU64::new(0),
            backfills_failed: AtomicU64::new(0),
            backfilled: AtomicU64::new(0),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX).max(1)
    }

    /// A tick is sent now.
    pub(crate) fn tick_sent(&self) -> TickUnderWay {
        let now = self.now();
        // Another one that is under way comes back first.
        let _ = self.under_way.compare_exchange(0, now, Ordering::AcqRel, Ordering::Relaxed);
        TickUnderWay(now)
    }

    /// A tick will not come back.
    pub(crate) fn tick_failed(&self, tick: TickUnderWay) {
        let _ = self.under_way.compare_exchange(tick.0, 0, Ordering::AcqRel, Ordering::Relaxed);
    }

    /// Nothing that is under way will come back.
    pub(crate) fn ticks_lost(&self) {
        self.under_way.store(0, Ordering::Release);
    }

    /// A tick has come back.
    pub(crate) fn tick_heard(&self) {
        let sent = self.under_way.swap(0, Ordering::AcqRel);
        if sent > 0 {
            self.round_trip.observe(Duration::from_nanos(self.now().saturating_sub(sent)));
        }
    }

    /// What the feed missed has been read, or could not be.
    pub(crate) fn backfill_ended(&self, outcome: &Result<(), TransportError>) {
        let counter = if outcome.is_ok() { &self.backfills_done } else { &self.backfills_failed };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// An update that the feed had missed is in it.
    pub(crate) fn backfilled(&self) {
        self.backfilled.fetch_add(1, Ordering::Relaxed);
    }

    /// Adds what has been counted.
    pub(crate) fn add_to(&self, stats: &mut TransportStats) {
        stats.tick_round_trip.add(&self.round_trip);
        stats.backfills_done += self.backfills_done.load(Ordering::Relaxed);
        stats.backfills_failed += self.backfills_failed.load(Ordering::Relaxed);
        stats.backfilled_updates += self.backfilled.load(Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(stats: &PartitionStats) -> u64 {
        stats.round_trip.snapshot().total()
    }

    #[test]
    fn a_tick_is_counted_when_it_has_come_back() {
        let stats = PartitionStats::new();
        stats.tick_heard();
        assert_eq!(heard(&stats), 0, "none was sent");
        stats.tick_sent();
        assert_eq!(heard(&stats), 0);
        stats.tick_heard();
        stats.tick_heard();
        assert_eq!(heard(&stats), 1);
    }

    #[test]
    fn what_failed_or_was_lost_is_not_waited_for() {
        let stats = PartitionStats::new();
        let tick = stats.tick_sent();
        stats.tick_failed(tick);
        stats.tick_heard();
        stats.tick_sent();
        stats.ticks_lost();
        stats.tick_heard();
        assert_eq!(heard(&stats), 0);
    }

    #[test]
    fn of_several_under_way_the_first_comes_back_first() {
        let stats = PartitionStats::new();
        stats.tick_sent();
        let second = loop {
            let tick = stats.tick_sent();
            if tick.0 != stats.under_way.load(Ordering::Relaxed) {
                break tick;
            }
        };
        stats.tick_failed(second);
        stats.tick_heard();
        assert_eq!(heard(&stats), 1, "it was the second that failed");
    }
}
