//! Which channels of a partition the node wants, and which of them are confirmed: 48 bytes per topic beside its name.
//!
//! ```text
//!  retain ──▶ wanted ── SUBSCRIBE confirmed, clock read ──▶ confirmed ── released, 3 s¹ ──▶ gone (UNSUBSCRIBE)
//! ```
//!
//! ¹ Or at once, the oldest first, where too many linger.
//!
//! An interest that was confirmed once stays so when the connection breaks: what its channel misses is read from the
//! log before the feed goes on. For this every entry is subscribed on the connection in use or stands in `wanted`,
//! whether somebody holds it or not: an entry that is neither would answer as confirmed to its next holder, and get
//! nothing.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use hashbrown::HashMap;
use parking_lot::Mutex;
use rivulet_core::{Position, Topic};
use rivulet_node::Interest;
use tokio::sync::{Notify, oneshot};

use crate::announcement::AnnouncedUpdate;

/// How long a channel outlives its last holder: a client that reloads its page costs Redis nothing.
const LINGER: Duration = Duration::from_secs(3);
/// How many channels of a partition linger: beyond that the oldest goes at once. The library keeps the names of all channels
/// of a connection in a table that never shrinks, and a storm of short visits would fill it with what nobody holds. A
/// table of 8,192 places can double above 3,584 names: of those, half may linger where a connection serves one partition, and
/// half are for channels that are held. When more lose their holders at once, as when a proxy goes, those are subscribed anew
/// for who comes back.
const LINGERING_MAX: usize = 1_792;
/// Maps with fewer slots than this are never shrunk.
const CAPACITY_MIN: usize = 64;

/// See the module.
#[derive(Default)]
pub(crate) struct Channels(Mutex<State>);

#[derive(Default)]
struct State {
    entries: HashMap<Interest, Entry>,
    /// In the order in which they came, so that a stream of new topics cannot keep those from before a break waiting.
    wanted: VecDeque<Interest>,
    lingering: VecDeque<(Instant, Interest)>,
    /// Who waits for an interest to be confirmed: an entry only while someone does.
    waiting: HashMap<Interest, Vec<oneshot::Sender<Position>>>,
    /// Wakes the subscriber of the connection that serves the partition.
    work: Arc<Notify>,
}

#[derive(Default)]
struct Entry {
    /// All updates up to here that touch the interest have been in the feed, or were appended before it was confirmed.
    position: Position,
    holders: u32,
    confirmed: bool,
    /// Whether it stands in `lingering`, where it needs to stand only once.
    lingers: bool,
}

/// What `confirmed` has to do.
pub(crate) enum Confirmation {
    Since(Position),
    Wait(oneshot::Receiver<Position>),
    NotRetained,
}

impl Channels {
    pub(crate) fn retain(&self, interest: &Interest) {
        let state = &mut *self.0.lock();
        let entry = state.entries.entry(interest.clone()).or_insert_with(|| {
            state.wanted.push_back(interest.clone());
            state.work.notify_one();
            Entry::default()
        });
        entry.holders += 1;
    }

    pub(crate) fn release(&self, interest: &Interest) {
        let state = &mut *self.0.lock();
        let Some(entry) = state.entries.get_mut(interest) else { return };
        entry.holders = entry.holders.saturating_sub(1);
        if entry.holders == 0 && !entry.lingers {
            entry.lingers = true;
            state.lingering.push_back((Instant::now() + LINGER, interest.clone()));
            state.work.notify_one();
        }
    }

    pub(crate) fn confirmation(&self, interest: &Interest) -> Confirmation {
        let state = &mut *self.0.lock();
        match state.entries.get(interest) {
            None => Confirmation::NotRetained,
            Some(entry) if entry.confirmed => Confirmation::Since(entry.position),
            Some(_) => {
                let (sender, receiver) = oneshot::channel();
                let waiting = state.waiting.entry(interest.clone()).or_default();
                waiting.retain(|sender| !sender.is_closed());
                waiting.push(sender);
                Confirmation::Wait(receiver)
            }
        }
    }

    /// A new connection is about to be made, whose subscriber `work` wakes: everything that is held is wanted on it.
    /// While Redis is away this is also what forgets the interests, and those who waited for them, that nobody has any
    /// more.
    pub(crate) fn begin(&self, work: &Arc<Notify>) {
        let state = &mut *self.0.lock();
        state.work = Arc::clone(work);
        state.entries.retain(|_, entry| entry.holders > 0);
        state.lingering.clear();
        state.entries.values_mut().for_each(|entry| entry.lingers = false);
        state.wanted = state.entries.keys().cloned().collect();
        let entries = &state.entries;
        state.waiting.retain(|interest, waiting| {
            waiting.retain(|sender| !sender.is_closed());
            entries.contains_key(interest) && !waiting.is_empty()
        });
        shrink(&mut state.entries);
        shrink(&mut state.waiting);
    }

    /// How many interests wait to be subscribed.
    pub(crate) fn wanted_len(&self) -> usize {
        self.0.lock().wanted.len()
    }

    /// Takes the next interests to be subscribed, from the first `len_max` that wait. What nobody holds by now is taken
    /// too: it is unsubscribed when it has lingered.
    pub(crate) fn take_wanted(&self, len_max: usize) -> Vec<Interest> {
        let state = &mut *self.0.lock();
        let len = len_max.min(state.wanted.len());
        let entries = &state.entries;
        let taken = state.wanted.drain(..len).filter(|interest| entries.contains_key(interest)).collect();
        if state.wanted.is_empty() {
            state.wanted = VecDeque::new();
        }
        taken
    }

    /// Puts interests back that could be subscribed but not confirmed.
    pub(crate) fn want_again(&self, interests: Vec<Interest>) {
        let state = &mut *self.0.lock();
        let entries = &state.entries;
        state.wanted.extend(interests.into_iter().filter(|interest| entries.contains_key(interest)));
    }

    /// Forgets the interests that nobody has held for a while, and the oldest of too many that linger; answers them so that
    /// they are unsubscribed.
    pub(crate) fn take_unwanted(&self, now: Instant, len_max: usize) -> Vec<Interest> {
        let state = &mut *self.0.lock();
        let mut taken = Vec::new();
        while taken.len() < len_max
            && let too_many = state.lingering.len() > LINGERING_MAX
            && state.lingering.front().is_some_and(|(until, _)| too_many || *until <= now)
            && let Some((_, interest)) = state.lingering.pop_front()
        {
            let Some(entry) = state.entries.get_mut(&interest) else { continue };
            entry.lingers = false;
            if entry.holders == 0 {
                state.entries.remove(&interest);
                state.waiting.remove(&interest);
                taken.push(interest);
            }
        }
        shrink(&mut state.entries);
        shrink(&mut state.waiting);
        if state.lingering.capacity() > CAPACITY_MIN && state.lingering.len() < state.lingering.capacity() / 4
        {
            state.lingering.shrink_to(state.lingering.len() * 2);
        }
        taken
    }

    /// When the next interest may be forgotten, if not too many linger.
    pub(crate) fn lingers_until(&self) -> Option<Instant> {
        self.0.lock().lingering.front().map(|(until, _)| *until)
    }

    /// Marks interests as confirmed: their channels are subscribed, and the clock stood at `since` after that.
    pub(crate) fn confirm(&self, interests: &[Interest], since: Position) {
        let state = &mut *self.0.lock();
        for interest in interests {
            if let Some(entry) = state.entries.get_mut(interest) {
                if !entry.confirmed {
                    entry.confirmed = true;
                    entry.position = entry.position.max(since);
                }
                for waiting in state.waiting.remove(interest).unwrap_or_default() {
                    // Who waited may have given up.
                    let _ = waiting.send(entry.position);
                }
            }
        }
    }

    /// Whether an update has to be in the feed.
    pub(crate) fn wants(&self, topics: &[Topic]) -> bool {
        let entries = &self.0.lock().entries;
        entries.contains_key(&Interest::All)
            || topics.iter().any(|topic| entries.contains_key(&Interest::Topic(topic.clone())))
    }

    /// The position of an update that did not arrive, if this one shows that: it is chained to a position that a confirmed
    /// interest has not seen, after `verified`, up to which nothing can be missing.
    pub(crate) fn missing(
        &self,
        update: &AnnouncedUpdate,
        topics: &[Topic],
        verified: Position,
    ) -> Option<Position> {
        let entries = &self.0.lock().entries;
        let misses = |interest: &Interest, previous: Position| {
            previous > verified
                && entries.get(interest).is_some_and(|entry| entry.confirmed && previous > entry.position)
        };
        let of_topics = topics.iter().zip(&update.previous_of_topics);
        let of_topics =
            of_topics.filter(|(topic, previous)| misses(&Interest::Topic((*topic).clone()), **previous));
        let of_all = misses(&Interest::All, update.previous).then_some(update.previous);
        of_topics.map(|(_, previous)| *previous).chain(of_all).min()
    }

    /// An update is in the feed now.
    pub(crate) fn delivered(&self, position: Position, topics: &[Topic]) {
        let entries = &mut self.0.lock().entries;
        if let Some(entry) = entries.get_mut(&Interest::All) {
            entry.position = entry.position.max(position);
        }
        for topic in topics {
            if let Some(entry) = entries.get_mut(&Interest::Topic(topic.clone())) {
                entry.position = entry.position.max(position);
            }
        }
    }
}

fn shrink<V>(map: &mut HashMap<Interest, V>) {
    if map.capacity() > CAPACITY_MIN && map.len() < map.capacity() / 4 {
        map.shrink_to(map.len() * 2);
    }
}

#[cfg(test)]
mod tests;
