//! What became of spans, for the metrics: exported, or dropped and why.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts since the start. `ended` is the sum of all others, as soon as nothing is on its way any more.
#[derive(Debug, Default)]
pub(crate) struct SpanStats {
    /// Spans that were sampled and have ended.
    pub(crate) ended: AtomicU64,
    /// Spans that a collector has taken.
    pub(crate) exported: AtomicU64,
    /// Spans that found the queue full: the collector takes less than there is, or nothing.
    pub(crate) dropped_queue_full: AtomicU64,
    /// Spans that were sent, and that no collector has taken: it was away, refused them, or did not answer in time.
    pub(crate) dropped_export_failed: AtomicU64,
    /// Spans that wait, or that are being sent: a gauge, at most `OTEL_BSP_MAX_QUEUE_SIZE`.
    pub(crate) queue_length: AtomicU64,
}

impl SpanStats {
    /// Takes a place in the queue for a span that has ended; without a place it is dropped, and counted as that.
    pub(super) fn admit(&self, queue_len_max: u64) -> bool {
        self.ended.fetch_add(1, Ordering::Relaxed);
        if self.queue_length.fetch_add(1, Ordering::Relaxed) < queue_len_max {
            return true;
        }
        self.queue_length.fetch_sub(1, Ordering::Relaxed);
        self.dropped_queue_full.fetch_add(1, Ordering::Relaxed);
        false
    }

    /// Gives places back.
    pub(super) fn settle(&self, spans: u64, outcome: Outcome) {
        let count = match outcome {
            Outcome::Exported => &self.exported,
            Outcome::Failed => &self.dropped_export_failed,
        };
        count.fetch_add(spans, Ordering::Relaxed);
        self.queue_length.fetch_sub(spans, Ordering::Relaxed);
    }
}

/// How sending spans went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// A collector has taken them.
    Exported,
    /// They are lost.
    Failed,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_ended_is_exported_or_dropped_or_waits() {
        let stats = SpanStats::default();
        let admitted = (0..5).filter(|_| stats.admit(3)).count();
        assert_eq!(admitted, 3);
        stats.settle(2, Outcome::Exported);
        assert!(stats.admit(3), "there is room again");
        stats.settle(1, Outcome::Failed);
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        assert_eq!(read(&stats.ended), 6);
        assert_eq!((read(&stats.exported), read(&stats.dropped_export_failed)), (2, 1));
        assert_eq!((read(&stats.dropped_queue_full), read(&stats.queue_length)), (2, 1));
    }
}
