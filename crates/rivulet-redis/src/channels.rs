//! Which channels of a partition the node wants, and which of them are confirmed: 48 bytes per topic beside its name.
//!
//! ```text
//!  retain ──▶ wanted ── SUBSCRIBE confirmed, clock read ──▶ confirmed ── released, 3 s ──▶ gone (UNSUBSCRIBE)
//! ```
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
/// How many channels of a partition outlive their last holders: beyond that the oldest goes at once. The library keeps
/// the names of all channels of a connection in a table that never shrinks, so that a storm of short visits must not
/// subscribe ten times what is held.
const LINGERING_MAX: usize = 2_048;
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

    /// When the next interest may be forgotten.
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
mod tests {
    use super::*;

    fn topic(name: &str) -> Interest {
        Interest::Topic(Topic::parse(name).unwrap())
    }

    fn position(micros: u64) -> Position {
        Position::from_micros(micros)
    }

    #[test]
    fn an_interest_is_subscribed_once_and_unsubscribed_after_its_last_holder() {
        let channels = Channels::default();
        let a = topic("a");
        channels.retain(&a);
        channels.retain(&a);
        assert_eq!(channels.take_wanted(10), std::slice::from_ref(&a));
        assert!(channels.take_wanted(10).is_empty());
        channels.release(&a);
        let later = Instant::now() + LINGER * 2;
        assert!(channels.take_unwanted(later, 10).is_empty());
        channels.release(&a);
        assert!(channels.take_unwanted(Instant::now(), 10).is_empty());
        assert_eq!(channels.take_unwanted(later, 10), [a]);
        assert!(channels.lingers_until().is_none());
    }

    #[test]
    fn an_interest_that_is_held_again_stays() {
        let channels = Channels::default();
        let a = topic("a");
        channels.retain(&a);
        channels.take_wanted(10);
        channels.release(&a);
        channels.retain(&a);
        assert!(channels.take_unwanted(Instant::now() + LINGER * 2, 10).is_empty());
    }

    #[test]
    fn of_too_many_that_linger_the_oldest_go_at_once() {
        let channels = Channels::default();
        let interests: Vec<_> = (0..LINGERING_MAX + 3).map(|n| topic(&n.to_string())).collect();
        interests.iter().for_each(|interest| channels.retain(interest));
        channels.take_wanted(usize::MAX);
        interests.iter().for_each(|interest| channels.release(interest));
        // Held again, it stays, and lingers no more.
        channels.retain(&interests[1]);
        assert_eq!(channels.take_unwanted(Instant::now(), 10), [interests[0].clone(), interests[2].clone()]);
        assert!(channels.take_unwanted(Instant::now(), 10).is_empty());
        let left = channels.take_unwanted(Instant::now() + LINGER * 2, usize::MAX);
        assert_eq!(left, interests[3..]);
    }

    #[test]
    fn who_waits_is_told_the_position() {
        let channels = Channels::default();
        let a = topic("a");
        assert!(matches!(channels.confirmation(&a), Confirmation::NotRetained));
        channels.retain(&a);
        let Confirmation::Wait(mut waiting) = channels.confirmation(&a) else {
            panic!("confirmed too early")
        };
        channels.confirm(std::slice::from_ref(&a), position(7));
        assert_eq!(waiting.try_recv(), Ok(position(7)));
        assert!(channels.0.lock().waiting.is_empty());
        channels.begin(&Arc::default());
        assert!(matches!(channels.confirmation(&a), Confirmation::Since(since) if since == position(7)));
        assert_eq!(channels.take_wanted(10), [a]);
    }

    #[test]
    fn a_break_forgets_what_nobody_holds_and_who_gave_up() {
        let channels = Channels::default();
        let (a, b) = (topic("a"), topic("b"));
        for interest in [&a, &b] {
            channels.retain(interest);
            // Nobody waits any more.
            assert!(matches!(channels.confirmation(interest), Confirmation::Wait(_)));
        }
        channels.release(&b);
        channels.begin(&Arc::default());
        assert_eq!(channels.wanted_len(), 1);
        assert_eq!(channels.0.lock().entries.len(), 1);
        assert!(channels.0.lock().waiting.is_empty());
    }

    #[test]
    fn what_was_wanted_first_is_taken_first() {
        let channels = Channels::default();
        let interests = ["a", "b", "c"].map(topic);
        interests.iter().for_each(|interest| channels.retain(interest));
        assert_eq!(channels.take_wanted(2), interests[..2]);
        assert_eq!(channels.take_wanted(2), interests[2..]);
    }

    #[test]
    fn what_is_let_go_during_a_break_and_held_again_is_subscribed_again() {
        let channels = Channels::default();
        let a = topic("a");
        channels.retain(&a);
        assert_eq!(channels.take_wanted(10), std::slice::from_ref(&a));
        channels.confirm(std::slice::from_ref(&a), position(7));
        channels.begin(&Arc::default());
        channels.release(&a);
        let mut taken = channels.take_wanted(10);
        channels.retain(&a);
        taken.extend(channels.take_wanted(10));
        assert!(taken.contains(&a), "it answers as confirmed, so its channel has to be subscribed");
    }

    #[test]
    fn the_chain_shows_what_did_not_arrive() {
        let channels = Channels::default();
        let a = topic("a");
        channels.retain(&a);
        channels.confirm(&[a], position(10));
        let topics = [Topic::parse("b").unwrap(), Topic::parse("a").unwrap()];
        let check = |previous: u64, verified: u64, expected: bool| {
            let update = AnnouncedUpdate {
                position: position(50),
                previous: position(40),
                previous_of_topics: smallvec::smallvec![position(30), position(previous)],
                envelope: bytes::Bytes::new(),
            };
            let missing = channels.missing(&update, &topics, position(verified));
            assert_eq!(missing, expected.then(|| position(previous)), "{previous} {verified}");
        };
        check(0, 5, false);
        check(10, 5, false);
        check(11, 5, true);
        check(11, 11, false);
        channels.delivered(position(20), &topics);
        check(20, 5, false);
        check(21, 5, true);
    }

    #[test]
    fn the_maps_shrink_again() {
        let channels = Channels::default();
        let interests: Vec<_> = (0..10_000).map(|n| topic(&n.to_string())).collect();
        interests.iter().for_each(|interest| channels.retain(interest));
        assert_eq!(channels.take_wanted(usize::MAX).len(), 10_000);
        interests.iter().for_each(|interest| channels.release(interest));
        assert_eq!(channels.take_unwanted(Instant::now() + LINGER * 2, usize::MAX).len(), 10_000);
        let state = channels.0.lock();
        assert!(state.entries.capacity() <= CAPACITY_MIN && state.lingering.capacity() <= CAPACITY_MIN);
        assert_eq!(state.wanted.capacity(), 0);
    }

    #[test]
    fn a_topic_costs_less_than_two_hundred_bytes() {
        assert!(size_of::<(Interest, Entry)>() <= 48, "{}", size_of::<(Interest, Entry)>());
    }
}
