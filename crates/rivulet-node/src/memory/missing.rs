//! What a read of the log found to be gone.

use rivulet_core::{Position, Topic};

use crate::Gap;

/// More topics than this are not named one by one.
const TOPICS_MAX: usize = 100;

#[derive(Default)]
pub(super) struct Missing {
    /// Whether everything that was selected may have lost updates.
    everything: bool,
    topics: Vec<Topic>,
    oldest: Position,
}

impl Missing {
    /// This topic lost updates, all before `oldest`.
    pub(super) fn topic(&mut self, topic: &Topic, oldest: Position) {
        self.oldest = self.oldest.max(oldest);
        self.everything |= self.topics.len() == TOPICS_MAX;
        if !self.everything && !self.topics.contains(topic) {
            self.topics.push(topic.clone());
        }
    }

    /// Any topic may have lost updates, all before `oldest`.
    pub(super) fn everything(&mut self, oldest: Position) {
        self.oldest = self.oldest.max(oldest);
        self.everything = true;
    }

    pub(super) fn into_gap(self) -> Option<Gap> {
        let topics = (!self.everything).then(|| self.topics.into());
        let gap = Gap { topics, oldest: self.oldest };
        gap.topics.as_ref().is_none_or(|topics| !topics.is_empty()).then_some(gap)
    }
}
