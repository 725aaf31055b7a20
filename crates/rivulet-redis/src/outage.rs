//! The span of an outage of the feed: from the moment that it breaks until it is live again, in all partitions.

use opentelemetry::KeyValue;
use parking_lot::Mutex;
use rivulet_node::trace::Span;

/// See the module. There is one at a time, however many connections break.
#[derive(Default)]
pub(crate) struct Outage(Mutex<Option<Span>>);

impl Outage {
    /// The feed of some partitions broke, or has not come up.
    pub(crate) fn begins(&self, why: &str, partitions: usize) {
        let mut outage = self.0.lock();
        let span = outage.get_or_insert_with(|| Span::root("reconnect"));
        span.event("feed lost", || {
            let partitions = i64::try_from(partitions).unwrap_or(i64::MAX);
            [KeyValue::new("reason", why.to_owned()), KeyValue::new("rivulet.partitions", partitions)]
        });
    }

    /// All partitions are live.
    pub(crate) fn ends(&self) {
        *self.0.lock() = None;
    }
}
