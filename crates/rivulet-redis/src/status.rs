//! Whether the feed is alive, as everyone may ask.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rivulet_node::FeedStatus;

/// A feed without a tick for so long is broken: two ticks may be late.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(6);

/// Live from a tick that went through to the node's feed until the connection breaks, or none did for
/// [`SILENCE_MAX`]: then whatever stands between the connection and the node is stuck, though Redis may be well.
pub(crate) struct Status(Mutex<State>);

enum State {
    Live { ticked: Instant },
    Stale { since: Instant, reason: String },
}

impl Status {
    pub(crate) fn starting() -> Self {
        Self(Mutex::new(State::Stale { since: Instant::now(), reason: "it is starting".to_owned() }))
    }

    /// A tick is through: everything before it is in the node's feed.
    pub(crate) fn live(&self) {
        let mut state = self.0.lock();
        if let State::Stale { since, .. } = &*state {
            tracing::info!(stale_ms = since.elapsed().as_millis(), "the feed from Redis is live");
        }
        *state = State::Live { ticked: Instant::now() };
    }

    pub(crate) fn stale(&self, reason: &str) {
        match &mut *self.0.lock() {
            State::Stale { reason: last, .. } => reason.clone_into(last),
            live @ State::Live { .. } => {
                tracing::warn!(reason, "the feed from Redis broke; what is missed will be read from the log");
                *live = State::Stale { since: Instant::now(), reason: reason.to_owned() };
            }
        }
    }

    pub(crate) fn get(&self) -> FeedStatus {
        match &*self.0.lock() {
            State::Live { ticked } if ticked.elapsed() <= SILENCE_MAX => FeedStatus::Live,
            State::Live { ticked } => FeedStatus::Stale {
                since: ticked.elapsed(),
                reason: format!("no tick has gone through the feed for {SILENCE_MAX:?}"),
            },
            State::Stale { since, reason } => {
                FeedStatus::Stale { since: since.elapsed(), reason: reason.clone() }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feed_without_ticks_is_stale_although_nobody_said_so() {
        let status = Status::starting();
        assert_ne!(status.get(), FeedStatus::Live);
        status.live();
        assert_eq!(status.get(), FeedStatus::Live);
        let ticked = Instant::now().checked_sub(SILENCE_MAX + Duration::from_secs(1)).unwrap();
        *status.0.lock() = State::Live { ticked };
        let FeedStatus::Stale { since, .. } = status.get() else { panic!("live") };
        assert!(since > SILENCE_MAX);
        status.live();
        assert_eq!(status.get(), FeedStatus::Live);
    }
}
