//! Following recorded updates through a worker: when a pass has ended, it is counted whom each of them has reached.
//!
//! All others cost nothing here: what is followed stands beside the rings, not in them.

use std::sync::Arc;

use hashbrown::HashMap;

use crate::{
    delivery::{Delivery, Letter},
    gather::is_its_copy,
    message_span::{Fate, MessageTrace},
    seat::{Phase, Seat},
    seats::Seats,
};

/// How many updates of one pass are counted. The count is a look at each member for each of them, at the end of the pass:
/// with so many it takes less time than the writes of the pass did.
const COUNTED_MAX: usize = 8;

/// What is followed, by the source whose pass brings it.
pub(crate) type Followed = HashMap<u32, Vec<Follow>>;

/// A recorded update that a pass brings.
#[derive(Debug)]
pub(crate) struct Follow {
    delivery: Arc<Delivery>,
    trace: Arc<MessageTrace>,
    /// Who was seated later is not owed it.
    serials_drawn: u32,
}

impl Seats {
    /// Follows what a letter has brought to the rings, if it is recorded.
    pub(crate) fn follow(&mut self, letter: &Letter) {
        let Some(trace) = letter.trace() else { return };
        let delivery = letter.delivery();
        let of_topics = delivery.topics_here().filter_map(|topic| self.by_topic.get(topic));
        let of_patterns =
            delivery.patterns.iter().filter_map(|id| self.by_pattern.get(&(*id, delivery.partition)));
        for key in of_topics.chain(of_patterns) {
            // Without a pass there is nothing to wait for: the ring had it before.
            if !self.sources[*key as usize].queued {
                continue;
            }
            let followed = self.followed.entry(*key).or_default();
            // An update may name a topic twice.
            if followed.last().is_some_and(|last| Arc::ptr_eq(&last.delivery, delivery)) {
                continue;
            }
            if followed.len() < COUNTED_MAX {
                let (delivery, trace) = (delivery.clone(), trace.clone());
                followed.push(Follow { delivery, trace, serials_drawn: self.serials_drawn });
            } else {
                trace.leaves_uncounted();
            }
        }
    }

    /// The pass of a source has ended: all its members have been offered what was followed.
    pub(crate) fn count_followed(&mut self, key: u32) {
        let Some(followed) = self.followed.remove(&key) else { return };
        let Some(source) = self.sources.get(key as usize) else { return };
        for member in &source.members {
            let seat = &self.seats[*member as usize];
            for follow in followed.iter().filter(|follow| self.counts_here(seat, key, follow)) {
                follow.trace.count(fate(seat, &follow.delivery));
            }
        }
        if self.followed.is_empty() {
            self.followed = HashMap::new();
        }
    }

    /// Whether a seat is owed the update, and by this source first: it may have several that hold it.
    fn counts_here(&self, seat: &Seat, key: u32, follow: &Follow) -> bool {
        let seated_later = seat.serial.wrapping_sub(follow.serials_drawn).cast_signed() > 0;
        if seated_later || matches!(seat.phase, Phase::Reserved) {
            return false;
        }
        let delivery = &follow.delivery;
        let holds_it = |source: u32| {
            let source = &self.sources[source as usize];
            source.partition == delivery.partition
                && match source.pattern {
                    Some(pattern) => delivery.patterns.contains(&pattern),
                    None => delivery.topics_here().any(|topic| source.matcher.matches(topic)),
                }
        };
        let first =
            seat.memberships.iter().map(|membership| membership.source).find(|source| holds_it(*source));
        first == Some(key) && is_its_copy(seat, &self.sources, delivery)
    }
}

fn fate(seat: &Seat, delivery: &Delivery) -> Fate {
    if !seat.may_receive(delivery) {
        Fate::Skipped
    } else if seat.cursor.position(delivery.partition) >= delivery.position() {
        Fate::Reached
    } else {
        Fate::Lagging
    }
}
