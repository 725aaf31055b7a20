//! Histograms of how long something took: fixed bounds, a counter for each, and of each bucket the last trace that fell
//! into it (an exemplar).
//!
//! Bounds are chosen where somebody would act: beside what users notice, and wide enough that the last one is not where
//! everything lies when something is wrong.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, SystemTime},
};

use parking_lot::Mutex;

use crate::stats::count;

const MICROS: u64 = 1_000;
const MILLIS: u64 = 1_000 * MICROS;
const SECONDS: u64 = 1_000 * MILLIS;

/// Of what an update takes on its whole way, in nanoseconds: from half a millisecond, which a quiet hub needs, to a
/// minute, which Redis may be away.
pub const JOURNEY_BOUNDS: &[u64] = &[
    500 * MICROS,
    MILLIS,
    2 * MILLIS,
    5 * MILLIS,
    10 * MILLIS,
    20 * MILLIS,
    50 * MILLIS,
    100 * MILLIS,
    200 * MILLIS,
    500 * MILLIS,
    SECONDS,
    2 * SECONDS,
    5 * SECONDS,
    10 * SECONDS,
    30 * SECONDS,
    60 * SECONDS,
];

/// Of what a node does by itself, in nanoseconds: from the 20 µs of one subscriber to the second of a hundred thousand.
pub const WORK_BOUNDS: &[u64] = &[
    20 * MICROS,
    50 * MICROS,
    100 * MICROS,
    200 * MICROS,
    500 * MICROS,
    MILLIS,
    2 * MILLIS,
    5 * MILLIS,
    10 * MILLIS,
    20 * MILLIS,
    50 * MILLIS,
    100 * MILLIS,
    200 * MILLIS,
    500 * MILLIS,
    SECONDS,
];

/// Of what waits for Redis or for a client, in nanoseconds: from the quarter of a millisecond that Redis needs to the ten
/// seconds after which everything has failed.
pub const CALL_BOUNDS: &[u64] = &[
    250 * MICROS,
    500 * MICROS,
    MILLIS,
    2 * MILLIS,
    5 * MILLIS,
    10 * MILLIS,
    20 * MILLIS,
    50 * MILLIS,
    100 * MILLIS,
    200 * MILLIS,
    500 * MILLIS,
    SECONDS,
    2 * SECONDS,
    5 * SECONDS,
    10 * SECONDS,
];

/// A trace that fell into a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exemplar {
    /// Of the sampled trace.
    pub trace_id: [u8; 16],
    /// How long it took, in nanoseconds.
    pub nanos: u64,
    /// When that was.
    pub at: SystemTime,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [u64],
    /// One per bound, and one for what is beyond all of them.
    counts: Box<[AtomicU64]>,
    sum_nanos: AtomicU64,
    /// Of each bucket; empty, without an allocation, until there is one.
    exemplars: Mutex<Vec<Option<Exemplar>>>,
}

impl Histogram {
    /// An empty one with bounds in nanoseconds that rise.
    pub fn new(bounds: &'static [u64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, sum_nanos: AtomicU64::new(0), exemplars: Mutex::default() }
    }

    /// Counts one; from any thread.
    pub fn observe(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.counts[self.bucket(nanos)].fetch_add(1, Relaxed);
        self.sum_nanos.fetch_add(nanos, Relaxed);
    }

    /// Counts several; from one thread only, which is the only writer. What lies in one bucket, as the frames of one
    /// write mostly do, is looked up once.
    pub(crate) fn count(&self, all_nanos: impl IntoIterator<Item = u64>) {
        let (mut bucket, mut n, mut sum) = (0, 0, 0);
        // Of the bucket; none yet, so that nothing lies within.
        let (mut from, mut to) = (u64::MAX, 0);
        for nanos in all_nanos {
            if nanos < from || nanos > to {
                count(&self.counts[bucket], n);
                bucket = self.bucket(nanos);
                n = 0;
                from = bucket.checked_sub(1).map_or(0, |below| self.bounds[below] + 1);
                to = self.bounds.get(bucket).copied().unwrap_or(u64::MAX);
            }
            n += 1;
            sum += nanos;
        }
        count(&self.counts[bucket], n);
        count(&self.sum_nanos, sum);
    }

    /// Counts several that took so long on the average; from one thread only.
    pub(crate) fn count_mean(&self, nanos: u64, n: u64) {
        count(&self.counts[self.bucket(nanos)], n);
        count(&self.sum_nanos, nanos * n);
    }

    /// Keeps a trace as that of its bucket. What it took is counted elsewhere.
    pub(crate) fn show(&self, trace_id: [u8; 16], nanos: u64) {
        let mut exemplars = self.exemplars.lock();
        exemplars.resize(self.counts.len(), None);
        exemplars[self.bucket(nanos)] = Some(Exemplar { trace_id, nanos, at: SystemTime::now() });
    }

    /// The first bucket that reaches so far.
    fn bucket(&self, nanos: u64) -> usize {
        self.bounds.partition_point(|bound| *bound < nanos)
    }

    /// What has been counted.
    pub fn snapshot(&self) -> HistogramSnapshot {
        let mut snapshot = HistogramSnapshot::empty(self.bounds);
        snapshot.add(self);
        snapshot
    }
}

/// What one histogram has counted, or several with the same bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistogramSnapshot {
    /// The upper bounds of the buckets, in nanoseconds.
    pub bounds: &'static [u64],
    /// How many fell into each bucket and into none before it; the last is of what is beyond all bounds.
    pub counts: Vec<u64>,
    /// How long all of them took together, in nanoseconds.
    pub sum_nanos: u64,
    /// Of each bucket the last trace, if one was sampled.
    pub exemplars: Vec<Option<Exemplar>>,
}

impl HistogramSnapshot {
    /// Of nothing.
    pub fn empty(bounds: &'static [u64]) -> Self {
        let len = bounds.len() + 1;
        Self { bounds, counts: vec![0; len], sum_nanos: 0, exemplars: vec![None; len] }
    }

    /// How many there were.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Adds what another one with the same bounds has counted.
    pub fn add(&mut self, other: &Histogram) {
        debug_assert_eq!(self.bounds, other.bounds, "only what has the same buckets can be added up");
        for (sum, counter) in self.counts.iter_mut().zip(&other.counts) {
            *sum += counter.load(Relaxed);
        }
        self.sum_nanos = self.sum_nanos.saturating_add(other.sum_nanos.load(Relaxed));
        for (ours, theirs) in self.exemplars.iter_mut().zip(other.exemplars.lock().iter()) {
            if theirs.map(|exemplar| exemplar.at) > ours.map(|exemplar| exemplar.at) {
                *ours = *theirs;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(snapshot: &HistogramSnapshot) -> Vec<(u64, u64)> {
        let bounds = snapshot.bounds.iter().copied().chain([u64::MAX]);
        bounds.zip(snapshot.counts.iter().copied()).filter(|(_, count)| *count > 0).collect()
    }

    #[test]
    fn what_took_as_long_as_a_bound_falls_under_it() {
        let check = |nanos: u64, bound: u64| {
            let histogram = Histogram::new(WORK_BOUNDS);
            histogram.count([nanos]);
            histogram.observe(Duration::from_nanos(nanos));
            histogram.count_mean(nanos, 3);
            assert_eq!(filled(&histogram.snapshot()), [(bound, 5)], "{nanos}");
            assert_eq!(histogram.snapshot().sum_nanos, 5 * nanos);
        };
        check(0, 20 * MICROS);
        check(20 * MICROS, 20 * MICROS);
        check(20 * MICROS + 1, 50 * MICROS);
        check(SECONDS, SECONDS);
        check(SECONDS + 1, u64::MAX);
    }

    #[test]
    fn several_are_counted_as_one_after_another() {
        let all = [3, 5_000, 30_000, 30_001, 4, 2 * SECONDS, 3 * SECONDS, 50_000, 50_001, 20_000];
        let (together, alone) = (Histogram::new(WORK_BOUNDS), Histogram::new(WORK_BOUNDS));
        together.count(all);
        all.iter().for_each(|nanos| alone.count([*nanos]));
        together.count([]);
        assert_eq!(together.snapshot(), alone.snapshot());
        assert_eq!(together.snapshot().total(), 10);
        assert_eq!(together.snapshot().sum_nanos, all.iter().sum::<u64>());
    }

    #[test]
    fn a_bucket_shows_its_last_trace_also_of_several_histograms() {
        let (one, other) = (Histogram::new(CALL_BOUNDS), Histogram::new(CALL_BOUNDS));
        one.show([1; 16], MILLIS);
        one.show([2; 16], 3 * SECONDS);
        other.show([3; 16], 4 * SECONDS);
        let mut both = one.snapshot();
        both.add(&other);
        let shown: Vec<_> =
            both.exemplars.iter().flatten().map(|shown| (shown.trace_id[0], shown.nanos)).collect();
        assert_eq!(shown, [(1, MILLIS), (3, 4 * SECONDS)]);
        assert_eq!(both.total(), 0, "a trace is shown, not counted");
    }

    #[test]
    fn bounds_rise() {
        for bounds in [JOURNEY_BOUNDS, WORK_BOUNDS, CALL_BOUNDS] {
            assert!(bounds.is_sorted_by(|one, next| one < next), "{bounds:?}");
        }
    }
}
