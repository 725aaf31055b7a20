//! Whether the feed of a partition is alive, as everyone may ask.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// A feed without a tick for so long is broken: two ticks may be late.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(6);

/// Why a feed is stale that nobody has tried to bring up yet.
const STARTING: &str = "it is starting";

/// Live from a tick that went through to the node's feed until the connection breaks, or none did for
/// [`SILENCE_MAX`]: then whatever stands between the connection and the node is stuck, or Redis refuses to tick.
pub(crate) struct Status(Mutex<State>);

enum State {
    Live { ticked: Instant, refused: Option<String> },
    Stale { since: Instant, reason: String },
}

impl Status {
    pub(crate) fn starting() -> Self {
        Self(Mutex::new(State::Stale { since: Instant::now(), reason: STARTING.to_owned() }))
    }

    /// A tick is through: everything before it is in the node's feed. Answers for how long the feed was stale.
    pub(crate) fn live(&self) -> Option<Duration> {
        let mut state = self.0.lock();
        let stale = match &*state {
            State::Stale { since, .. } => Some(since.elapsed()),
            State::Live { .. } => None,
        };
        *state = State::Live { ticked: Instant::now(), refused: None };
        stale
    }

    /// The connection broke. Answers whether that is news: the feed was live until now, or this is why it does not begin.
    pub(crate) fn broke(&self, why: &str) -> bool {
        match &mut *self.0.lock() {
            State::Stale { reason, .. } => {
                let is_news = reason == STARTING;
                why.clone_into(reason);
                is_news
            }
            live @ State::Live { .. } => {
                *live = State::Stale { since: Instant::now(), reason: why.to_owned() };
                true
            }
        }
    }

    /// A tick could not be sent. Answers whether that is news.
    pub(crate) fn refused(&self, why: &str) -> bool {
        match &mut *self.0.lock() {
            State::Live { refused, .. } => refused.replace(why.to_owned()).is_none(),
            State::Stale { reason, .. } => {
                let is_news = reason != why;
                why.clone_into(reason);
                is_news
            }
        }
    }

    /// For how long the feed has been stale, and why; `None` while it is live.
    pub(crate) fn stale(&self) -> Option<(Duration, String)> {
        match &*self.0.lock() {
            State::Live { ticked, .. } if ticked.elapsed() <= SILENCE_MAX => None,
            State::Live { ticked, refused } => {
                let silent = || format!("no tick has gone through the feed for {SILENCE_MAX:?}");
                Some((ticked.elapsed(), refused.clone().unwrap_or_else(silent)))
            }
            State::Stale { since, reason } => Some((since.elapsed(), reason.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feed_without_ticks_is_stale_although_nobody_said_so() {
        let status = Status::starting();
        assert!(status.stale().is_some());
        assert!(status.broke("no permission") && !status.broke("no permission"));
        assert!(status.live().is_some());
        assert_eq!(status.stale(), None);
        let ticked = Instant::now().checked_sub(SILENCE_MAX + Duration::from_secs(1)).unwrap();
        *status.0.lock() = State::Live { ticked, refused: None };
        let (since, _) = status.stale().unwrap();
        assert!(since > SILENCE_MAX);
        assert!(status.refused("out of memory") && !status.refused("out of memory"));
        assert_eq!(status.stale().unwrap().1, "out of memory");
        assert_eq!(status.live(), None);
        assert_eq!(status.stale(), None);
        assert!(status.broke("it ended") && !status.broke("connection refused"));
        assert_eq!(status.stale().unwrap().1, "connection refused");
    }
}
