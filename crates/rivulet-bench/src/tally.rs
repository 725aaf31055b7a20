//! What the client saw while a load ran: deliveries, reads, latencies.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Latencies are kept in microseconds, from one to two minutes, to three digits.
const LATENCY_US_MAX: u64 = 120_000_000;

/// Counted since the last reset.
pub(crate) struct Tally {
    /// Updates received, over all subscribers.
    pub(crate) deliveries: u64,
    /// Reads that brought at least one update to its end.
    pub(crate) reads: u64,
    /// Subscribers' streams that the server ended.
    pub(crate) closed: u64,
    /// Publish requests that were answered with 200.
    pub(crate) answers: u64,
    /// From handing the update to the publisher's socket until a subscriber's read returned it.
    pub(crate) latency: Latency,
}

/// A distribution of durations.
#[derive(Clone)]
pub(crate) struct Latency(Histogram<u64>);

impl Tally {
    pub(crate) fn new() -> Self {
        Self { deliveries: 0, reads: 0, closed: 0, answers: 0, latency: Latency::new() }
    }
}

impl Latency {
    pub(crate) fn new() -> Self {
        Self(
            Histogram::new_with_bounds(1, LATENCY_US_MAX, 3)
                .expect("the bounds are in order and three digits allowed"),
        )
    }

    /// Adds a duration given in nanoseconds.
    pub(crate) fn record_ns(&mut self, ns: u64) {
        self.0.saturating_record((ns / 1_000).max(1));
    }

    /// Adds all of another.
    pub(crate) fn add(&mut self, other: &Latency) {
        self.0.add(&other.0).expect("all have the same bounds");
    }

    /// The duration below which a share of all lies, `share` from 0 to 1.
    pub(crate) fn quantile(&self, share: f64) -> Duration {
        Duration::from_micros(self.0.value_at_quantile(share))
    }

    /// The longest.
    pub(crate) fn max(&self) -> Duration {
        Duration::from_micros(self.0.max())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_what_was_recorded() {
        let mut latency = Latency::new();
        for ms in 1..=100_u64 {
            latency.record_ns(ms * 1_000_000);
        }
        let near = |duration: Duration, ms: f64| (duration.as_secs_f64() * 1e3 - ms).abs() < ms * 0.01;
        assert!(near(latency.quantile(0.5), 50.0), "{:?}", latency.quantile(0.5));
        assert!(near(latency.quantile(0.99), 99.0), "{:?}", latency.quantile(0.99));
        assert!(near(latency.max(), 100.0), "{:?}", latency.max());
    }
}
