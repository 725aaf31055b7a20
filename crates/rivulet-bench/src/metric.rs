//! The figures of a run, by name.

use serde::Serialize;

use crate::{load::Outcome, usage::Spent};

/// One figure. Names end in their unit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Metric {
    pub(crate) name: &'static str,
    pub(crate) value: f64,
}

/// The figures of one phase of a run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Phase {
    pub(crate) phase: &'static str,
    pub(crate) metrics: Vec<Metric>,
    /// What has to be said beside figures: what could not be measured here and why, and what went wrong first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) notes: Vec<String>,
}

impl Phase {
    /// A phase about which nothing else has to be said.
    pub(crate) fn new(phase: &'static str, metrics: Vec<Metric>) -> Self {
        Self { phase, metrics, notes: Vec::new() }
    }
}

/// Makes a figure.
pub(crate) fn metric(name: &'static str, value: f64) -> Metric {
    Metric { name, value }
}

/// The figures of a load.
pub(crate) fn of_load(outcome: &Outcome, spent: &Spent) -> Vec<Metric> {
    let tally = &outcome.tally;
    let deliveries = count(tally.deliveries);
    let (latency, wall_s) = (&tally.latency, spent.wall.as_secs_f64());
    let ms = |duration: std::time::Duration| duration.as_secs_f64() * 1e3;
    let mut metrics = vec![
        metric("deliveries", deliveries),
        metric("lost", count(outcome.lost)),
        metric("duplicates", count(outcome.duplicates)),
        metric("closed_streams", count(tally.closed)),
        metric("latency_p50_ms", ms(latency.quantile(0.5))),
        metric("latency_p99_ms", ms(latency.quantile(0.99))),
        metric("latency_max_ms", ms(latency.max())),
    ];
    if let Some(last) = &outcome.last {
        metrics.push(metric("last_subscriber_p50_ms", ms(last.quantile(0.5))));
        metrics.push(metric("last_subscriber_p99_ms", ms(last.quantile(0.99))));
    }
    metrics.extend([
        metric("server_cpu_s_per_million", ratio(spent.server.as_secs_f64() * 1e6, deliveries)),
        metric("deliveries_per_s", ratio(deliveries, outcome.wall.as_secs_f64())),
        metric("messages_per_read", ratio(deliveries, count(tally.reads))),
        metric("server_busy_share", ratio(spent.server.as_secs_f64(), wall_s)),
        metric("client_busy_share", ratio(spent.client.as_secs_f64(), wall_s)),
    ]);
    if let Some(redis) = spent.redis {
        metrics.push(metric(
            "redis_cpu_us_per_update",
            ratio(redis.as_secs_f64() * 1e6, f64::from(outcome.updates)),
        ));
    }
    metrics
}

/// A quotient that is 0 where nothing was counted, so that JSON can hold it.
pub(crate) fn ratio(part: f64, whole: f64) -> f64 {
    if whole == 0.0 { 0.0 } else { part / whole }
}

/// Counts here stay far below 2^53, up to which they are exact.
#[allow(clippy::cast_precision_loss)]
pub(crate) fn count(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_to_nothing_is_a_number() {
        assert!((ratio(6.0, 3.0) - 2.0).abs() < f64::EPSILON);
        assert!(ratio(6.0, 0.0).is_finite());
    }
}
