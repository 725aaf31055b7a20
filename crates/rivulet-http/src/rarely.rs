//! Says the same thing rarely: a Redis that is away refuses thousands of requests a second, and one line tells it.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How long it is quiet after it was said.
const QUIET: Duration = Duration::from_secs(10);

/// When something was said last, and how often it was not since.
pub(crate) struct Rarely(Mutex<(Option<Instant>, u64)>);

impl Rarely {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new((None, 0)))
    }

    /// If it may be said now: how often it was not since the last time.
    pub(crate) fn say(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock();
        let (said, kept_back) = &mut *state;
        if said.is_some_and(|said| now.saturating_duration_since(said) < QUIET) {
            *kept_back += 1;
            return None;
        }
        *said = Some(now);
        Some(std::mem::take(kept_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_again_at_once_is_counted_and_told_later() {
        let (rarely, now) = (Rarely::new(), Instant::now());
        assert_eq!(rarely.say(now), Some(0));
        assert_eq!((rarely.say(now), rarely.say(now + QUIET / 2)), (None, None));
        assert_eq!(rarely.say(now + QUIET), Some(2));
        assert_eq!(rarely.say(now + 2 * QUIET), Some(0));
    }
}
