//! When each of many connections has to do its next step: a heap, in which outdated entries stay until their time.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    time::{Duration, Instant},
};

/// Entries name their owner and a number that its key never has again.
#[derive(Default)]
pub(crate) struct Deadlines(BinaryHeap<Reverse<(Instant, Owner)>>);

/// Whose deadline it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Owner {
    /// Its key, which others will have after it.
    pub(crate) key: usize,
    /// Its number, which nobody else has.
    pub(crate) number: u64,
}

impl Deadlines {
    pub(crate) fn add(&mut self, at: Instant, owner: Owner) {
        self.0.push(Reverse((at, owner)));
    }

    /// Takes one that is due. Whether its owner is still there is for the caller to see.
    pub(crate) fn due(&mut self, now: Instant) -> Option<Owner> {
        let Reverse((at, owner)) = *self.0.peek()?;
        if at > now {
            return None;
        }
        self.0.pop();
        Some(owner)
    }

    /// How long to wait for the next one, at most `wait_max`.
    pub(crate) fn wait(&self, now: Instant, wait_max: Duration) -> Duration {
        self.0.peek().map_or(wait_max, |Reverse((at, _))| at.saturating_duration_since(now).min(wait_max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_come_in_the_order_of_their_times() {
        let (mut deadlines, now) = (Deadlines::default(), Instant::now());
        let second = Duration::from_secs(1);
        for (number, seconds) in [(1, 3), (2, 1), (3, 2)] {
            deadlines.add(now + second * seconds, Owner { key: 0, number });
        }
        assert_eq!(deadlines.due(now), None);
        assert_eq!(deadlines.wait(now, second * 9), second);
        let taken: Vec<u64> =
            std::iter::from_fn(|| deadlines.due(now + second * 2)).map(|it| it.number).collect();
        assert_eq!(taken, [2, 3]);
    }
}
