//! The span of an outage of the feed: from the moment that it breaks until it is live again, in all partitions.
//!
//! It is an error if it was not over with the first attempt.

use opentelemetry::KeyValue;
use parking_lot::Mutex;
use rivulet_node::trace::Span;

use crate::error_type::ErrorType;

/// See the module. There is one at a time, however many connections break.
#[derive(Default)]
pub(crate) struct Outage(Mutex<Option<Reconnect>>);

struct Reconnect {
    span: Span,
    /// The last attempt that failed, and how many did.
    failed: Option<(ErrorType, String)>,
    attempts_failed: i64,
}

impl Drop for Reconnect {
    /// An attribute can be set, but not replaced: so it is said once how it went.
    fn drop(&mut self) {
        self.span.set(|| [KeyValue::new("rivulet.attempts_failed", self.attempts_failed)]);
        if let Some((kind, why)) = self.failed.take() {
            self.span.fail(kind.as_str(), why);
        }
    }
}

impl Outage {
    /// The feed of some partitions broke, or has not come up.
    pub(crate) fn begins(&self, why: &str, partitions: usize) {
        let mut outage = self.0.lock();
        let begin = || Reconnect { span: Span::root("reconnect"), failed: None, attempts_failed: 0 };
        outage.get_or_insert_with(begin).span.event("feed lost", || {
            let partitions = i64::try_from(partitions).unwrap_or(i64::MAX);
            [KeyValue::new("reason", why.to_owned()), KeyValue::new("rivulet.partitions", partitions)]
        });
    }

    /// An attempt to bring it up again has failed.
    pub(crate) fn goes_on(&self, kind: ErrorType, why: String) {
        if let Some(outage) = &mut *self.0.lock() {
            outage.failed = Some((kind, why));
            outage.attempts_failed += 1;
        }
    }

    /// All partitions are live.
    pub(crate) fn ends(&self) {
        *self.0.lock() = None;
    }
}
