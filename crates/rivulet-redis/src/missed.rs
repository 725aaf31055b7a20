//! The partitions of one connection whose feed has to be read from the log first, and when that is tried next.

use std::time::Instant;

use rivulet_core::Partition;

use crate::connector::Backoff;

/// See the module.
pub(crate) struct Missed(Vec<Waiting>);

struct Waiting {
    partition: Partition,
    due: Instant,
    backoff: Backoff,
}

impl Missed {
    /// All of them, at once.
    pub(crate) fn all(partitions: &[Partition]) -> Self {
        let mut missed = Self(Vec::with_capacity(partitions.len()));
        partitions.iter().for_each(|partition| missed.add(*partition));
        missed
    }

    /// One more, at once.
    pub(crate) fn add(&mut self, partition: Partition) {
        if !self.contains(partition) {
            self.0.push(Waiting { partition, due: Instant::now(), backoff: Backoff::new() });
        }
    }

    pub(crate) fn contains(&self, partition: Partition) -> bool {
        self.0.iter().any(|waiting| waiting.partition == partition)
    }

    /// One whose time has come.
    pub(crate) fn due(&self, now: Instant) -> Option<Partition> {
        self.0.iter().find(|waiting| waiting.due <= now).map(|waiting| waiting.partition)
    }

    /// When the next one is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.0.iter().map(|waiting| waiting.due).min()
    }

    /// What it missed is in the feed.
    pub(crate) fn found(&mut self, partition: Partition) {
        self.0.retain(|waiting| waiting.partition != partition);
    }

    /// It could not be read: once more, later.
    pub(crate) fn defer(&mut self, partition: Partition) {
        if let Some(waiting) = self.0.iter_mut().find(|waiting| waiting.partition == partition) {
            waiting.due = Instant::now() + waiting.backoff.next();
        }
    }
}
