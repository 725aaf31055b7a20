//! How long updates take on a worker: from their publication to each write, and from the feed until all who are level
//! have been served; and how long the worker works.

use rivulet_core::Position;

use crate::{
    batch::Batch,
    delivery::Delivery,
    seats::Seats,
    stats::{WorkerStats, count},
    wheel::Tick,
    work_clock::age,
};

/// Notes how old those frames of a batch are that a write has begun.
pub(crate) fn note_ages(stats: &WorkerStats, batch: &Batch<'_>, begun: u64, log_now: Position) {
    let begun = usize::try_from(begun).unwrap_or(usize::MAX);
    let mut traced = None;
    let ages = batch.deliveries().iter().take(begun).map(|delivery| {
        let age = age(log_now, delivery.position());
        traced = delivery.trace_id.map(|trace_id| (trace_id, age)).or(traced);
        age
    });
    stats.write_latency.count(ages);
    if let Some((trace_id, age)) = traced {
        stats.write_latency.show(trace_id, age);
    }
}

/// What has been pushed to a source since its last pass ended.
#[derive(Debug, Default)]
pub(crate) struct Round {
    pushed: u32,
    /// When they were taken from the feed, added up; it may wrap.
    taken: u64,
    /// Of the last of them that is traced.
    trace_id: Option<Box<[u8; 16]>>,
}

impl Round {
    /// One more.
    pub(crate) fn add(&mut self, delivery: &Delivery) {
        self.pushed += 1;
        self.taken = self.taken.wrapping_add(delivery.taken);
        if let Some(trace_id) = delivery.trace_id {
            self.trace_id = Some(Box::new(trace_id));
        }
    }

    /// All who were level have been served: notes for each update what the round took on the average.
    fn end(&mut self, now: u64, stats: &WorkerStats) {
        let Round { pushed, taken, trace_id } = std::mem::take(self);
        let pushed = u64::from(pushed);
        let Some(mean) = now.wrapping_mul(pushed).wrapping_sub(taken).checked_div(pushed) else { return };
        stats.dispatch.count_mean(mean, pushed);
        if let Some(trace_id) = trace_id {
            stats.dispatch.show(*trace_id, mean);
        }
    }
}

impl Seats {
    /// The worker begins to work, at a time that is so much before the log's.
    pub(crate) fn begin_work(&mut self, now: Tick, clock_offset_micros: i64) {
        self.work_began = now;
        self.clock.set(clock_offset_micros);
    }

    /// The worker has nothing to do for the moment.
    pub(crate) fn end_work(&mut self) {
        self.clock.look();
        count(&self.stats.busy_nanos, self.clock.since_set());
    }

    /// A pass has ended.
    pub(crate) fn end_timing(&mut self, key: u32) {
        self.clock.look();
        self.sources[key as usize].round.end(self.clock.now(), &self.stats);
    }
}

#[cfg(test)]
mod tests {
    use rivulet_core::{Partition, Partitions, Topic, TraceContext, Update};

    use super::*;
    use crate::{Appended, delivery::Encoding};

    fn delivery(taken: u64, trace: Option<TraceContext>) -> std::sync::Arc<Delivery> {
        let update = Update {
            topics: [Topic::parse("a").unwrap()].into_iter().collect(),
            data: "1".into(),
            private: false,
            id: None,
            event_type: None,
            retry_ms: None,
            trace: trace.map(Box::new),
        };
        let appended = Appended { partition: Partition::default(), position: Position::ZERO, update };
        Delivery::taken(&Encoding::plain(Partitions::ONE), &appended, Default::default(), taken)
    }

    #[test]
    fn a_round_counts_each_update_and_shows_the_one_that_is_traced() {
        let stats = WorkerStats::default();
        let mut round = Round::default();
        round.end(1_000, &stats);
        assert_eq!(stats.dispatch.snapshot().total(), 0);
        let sampled = TraceContext::new([7; 16], [1; 8], 1, "").unwrap();
        let unsampled = TraceContext::new([8; 16], [1; 8], 0, "").unwrap();
        round.add(&delivery(1_000, None));
        round.add(&delivery(2_000, Some(sampled)));
        round.add(&delivery(3_000, Some(unsampled)));
        round.end(32_000, &stats);
        let found = stats.dispatch.snapshot();
        assert_eq!((found.total(), found.sum_nanos), (3, 90_000));
        let shown: Vec<_> =
            found.exemplars.iter().flatten().map(|shown| (shown.trace_id, shown.nanos)).collect();
        assert_eq!(shown, [([7; 16], 30_000)]);
        round.end(50_000, &stats);
        assert_eq!(stats.dispatch.snapshot().total(), 3, "each round counts once");
    }
}
