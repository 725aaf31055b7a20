//! Whether the feed is alive, as everyone may ask.

use std::time::Instant;

use parking_lot::Mutex;
use rivulet_node::FeedStatus;

/// Live from a tick that came through until the connection breaks.
pub(crate) struct Status(Mutex<Option<Stale>>);

struct Stale {
    since: Instant,
    reason: String,
}

impl Status {
    pub(crate) fn starting() -> Self {
        Self(Mutex::new(Some(Stale { since: Instant::now(), reason: "it is starting".to_owned() })))
    }

    pub(crate) fn live(&self) {
        if let Some(stale) = self.0.lock().take() {
            tracing::info!(stale_ms = stale.since.elapsed().as_millis(), "the feed from Redis is live");
        }
    }

    pub(crate) fn stale(&self, reason: &str) {
        match &mut *self.0.lock() {
            Some(stale) => reason.clone_into(&mut stale.reason),
            live => {
                tracing::warn!(reason, "the feed from Redis broke; what is missed will be read from the log");
                *live = Some(Stale { since: Instant::now(), reason: reason.to_owned() });
            }
        }
    }

    pub(crate) fn get(&self) -> FeedStatus {
        match &*self.0.lock() {
            None => FeedStatus::Live,
            Some(Stale { since, reason }) => {
                FeedStatus::Stale { since: since.elapsed(), reason: reason.clone() }
            }
        }
    }
}
