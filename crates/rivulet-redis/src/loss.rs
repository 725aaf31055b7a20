//! What a reader of the log finds missing, gathered topic by topic.

use rivulet_core::{Partitions, Position, Topic};
use rivulet_node::{Gap, Page, Void};

use crate::entry::Clock;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Loss {
    topics: Vec<Topic>,
    /// Whether everything that was selected may be concerned.
    all: bool,
    oldest: Position,
    voids: Vec<Void>,
}

impl Loss {
    /// What is lost to who stands at `after` because the log was created later, or has lost something later, or has given
    /// this position to nobody. Of that only a single partition can tell: where there are several, a client's position may
    /// be another one's, which went on while this one stood still.
    pub(crate) fn of_log(after: Position, clock: &Clock, partitions: Partitions) -> Self {
        let mut loss = Self::default();
        if partitions == Partitions::ONE {
            loss.voids = clock.voids.iter().filter(|void| void.before > after).copied().collect();
            if let Some(void) = clock.void_at(after) {
                loss.add_all(void.before);
            }
        }
        if after < clock.birth {
            // An empty Redis has no clock either, and keeps nothing.
            loss.add_all(if clock.birth == Position::MAX { after } else { clock.birth });
        }
        loss
    }

    /// A topic is complete only from `oldest` on.
    pub(crate) fn add(&mut self, topic: &Topic, oldest: Position) {
        if !self.topics.contains(topic) {
            self.topics.push(topic.clone());
        }
        self.oldest = self.oldest.max(oldest);
    }

    /// Everything that was selected is complete only from `oldest` on.
    pub(crate) fn add_all(&mut self, oldest: Position) {
        self.all = true;
        self.oldest = self.oldest.max(oldest);
    }

    /// Says in a page what is missing, if anything is.
    pub(crate) fn tell(self, page: &mut Page) {
        let is_some = self.all || !self.topics.is_empty();
        let topics = (!self.all).then(|| self.topics.into());
        page.gap = is_some.then_some(Gap { topics, oldest: self.oldest });
        page.voids = self.voids;
    }
}
