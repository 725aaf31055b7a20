//! The span of a backfill: reading from the log what the feed of a partition has missed.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use opentelemetry::KeyValue;
use rivulet_core::Partition;
use rivulet_node::{TransportError, trace::Span};

/// One backfill, and what it has found so far.
pub(crate) struct Backfill {
    pub(crate) span: Span,
    updates: AtomicU64,
    lost: AtomicU64,
}

impl Backfill {
    pub(crate) fn begin(partition: Partition) -> Self {
        let span = Span::root("backfill");
        span.set(|| [KeyValue::new("messaging.destination.partition.id", partition.to_string())]);
        Self { span, updates: AtomicU64::new(0), lost: AtomicU64::new(0) }
    }

    /// An update was found, and is in the feed.
    pub(crate) fn found(&self) {
        self.updates.fetch_add(1, Relaxed);
    }

    /// The feed was told of updates that are not kept any more.
    pub(crate) fn lost(&self) {
        self.lost.fetch_add(1, Relaxed);
    }

    /// Notes what came of it.
    pub(crate) fn end(self, done: &Result<(), TransportError>) {
        if let Err(error) = done {
            self.span.fail("transport-unavailable", error.reason.clone());
        }
    }
}

impl Drop for Backfill {
    fn drop(&mut self) {
        let count = |name, counter: &AtomicU64| {
            KeyValue::new(name, i64::try_from(counter.load(Relaxed)).unwrap_or(i64::MAX))
        };
        self.span.set(|| [count("rivulet.updates", &self.updates), count("rivulet.lost", &self.lost)]);
        self.span.end();
    }
}
