//! What one worker holds: its seats and sources, and how they come and go.

use std::sync::Arc;

use arc_swap::ArcSwap;
use hashbrown::HashMap;
use rivulet_core::{
    Cursor, Matcher, Partition, Partitions, Position, Topic,
    fault::{self, Fault},
};
use slab::Slab;
use smallvec::SmallVec;

use crate::{
    CloseReason, StreamTimes,
    batch::Reach,
    census::{Census, StreamState},
    delivery::Loss,
    dispatch::Passes,
    drain::Drain,
    floods::Floods,
    followed::Followed,
    pins::Pins,
    registry::{PatternId, Registry, shrink},
    replay::reach,
    ring::Ring,
    ring_totals::RingTotals,
    seat::{Membership, Seat},
    source::Source,
    stats::{WorkerStats, count},
    wheel::{Tick, Wheel},
    work_clock::WorkClock,
};

/// The seats and sources of one worker. Everything here belongs to one thread.
pub(crate) struct Seats {
    pub(crate) worker: u8,
    pub(crate) times: Arc<ArcSwap<StreamTimes>>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) stats: Arc<WorkerStats>,
    pub(crate) seats: Slab<Seat>,
    pub(crate) sources: Slab<Source>,
    pub(crate) by_topic: HashMap<Topic, u32>,
    pub(crate) by_pattern: HashMap<(PatternId, Partition), u32>,
    /// The sources of `by_pattern`, by what subscribers ask for: one per partition, in order.
    by_matcher: HashMap<Matcher, Box<[u32]>>,
    pub(crate) passes: Passes,
    /// The recorded updates that passes bring.
    pub(crate) followed: Followed,
    pub(crate) wheel: Wheel,
    pub(crate) partitions: Partitions,
    /// Per partition, everything up to here has been delivered to this worker.
    verified: Box<[Position]>,
    /// The least of them.
    pub(crate) verified_base: Position,
    pub(crate) rings: RingTotals,
    pub(crate) behind: usize,
    /// Seats whose socket has not come yet.
    pub(crate) reserved: usize,
    pub(crate) census: Census,
    pub(crate) clock: WorkClock,
    /// When the worker began what it does now.
    pub(crate) work_began: Tick,
    pub(crate) pins: Pins,
    /// The streams that end while the node drains.
    pub(crate) drain: Option<Drain>,
    pub(crate) floods: Floods,
    /// Seats that want the next page of the log, with their serials.
    pub(crate) reads_wanted: Vec<(usize, u32)>,
    pub(crate) serials_drawn: u32,
}

impl Seats {
    pub(crate) fn new(
        worker: u8,
        times: Arc<ArcSwap<StreamTimes>>,
        registry: Arc<Registry>,
        stats: Arc<WorkerStats>,
        clock: WorkClock,
    ) -> Self {
        let partitions = registry.partitions();
        Self {
            worker,
            times,
            registry,
            stats,
            seats: Slab::new(),
            sources: Slab::new(),
            by_topic: HashMap::new(),
            by_pattern: HashMap::new(),
            by_matcher: HashMap::new(),
            passes: Passes::default(),
            followed: Followed::default(),
            wheel: Wheel::new(),
            partitions,
            verified: partitions.iter().map(|_| Position::ZERO).collect(),
            verified_base: Position::ZERO,
            rings: RingTotals::default(),
            behind: 0,
            reserved: 0,
            census: Census::default(),
            clock,
            work_began: 0,
            pins: Pins::default(),
            drain: None,
            floods: Floods::default(),
            reads_wanted: Vec::new(),
            serials_drawn: 0,
        }
    }

    /// Seats a subscriber, with its matchers' sources; it counts as behind until it is level.
    pub(crate) fn add(&mut self, mut seat: Seat, matchers: &[Matcher]) -> usize {
        let key = self.seats.vacant_key();
        let mut memberships = SmallVec::with_capacity(matchers.len());
        for matcher in matchers {
            for source in self.sources_of(matcher) {
                let joined = &mut self.sources[source as usize];
                // A matcher that was given twice is one membership.
                if joined.members.last() != Some(&narrow(key)) {
                    memberships.push(Membership { source, index: joined.join(narrow(key)) });
                }
            }
        }
        memberships.shrink_to_fit();
        seat.reach =
            reach(memberships.iter().map(|m: &Membership| self.sources[m.source as usize].partition));
        seat.memberships = memberships;
        seat.behind = true;
        self.behind += 1;
        self.reserved += 1;
        self.census.enters(StreamState::of(&seat), seat.dialect);
        self.seats.insert(seat);
        key
    }

    /// The sources of a matcher, made if it is new here: a topic has one, others have one per partition.
    fn sources_of(&mut self, matcher: &Matcher) -> SmallVec<[u32; 1]> {
        if let Matcher::Exact(topic) = matcher
            && let Some(source) = self.by_topic.get(topic)
        {
            return SmallVec::from_buf([*source]);
        }
        if let Some(sources) = self.by_matcher.get(matcher) {
            return sources.iter().copied().collect();
        }
        let enrolled = self.registry.enroll(matcher, self.worker);
        let mut keys = SmallVec::with_capacity(enrolled.starts.len());
        for start in enrolled.starts {
            let key = narrow(self.sources.insert(Source::new(matcher.clone(), enrolled.pattern, start)));
            keys.push(key);
            if let Some(pattern) = enrolled.pattern {
                self.by_pattern.insert((pattern, start.0), key);
            }
        }
        if let Matcher::Exact(topic) = matcher {
            self.by_topic.insert(topic.clone(), keys[0]);
        } else {
            self.by_matcher.insert(matcher.clone(), keys.as_slice().into());
        }
        keys
    }

    /// Notes that everything of a partition up to `position` has been delivered.
    pub(crate) fn verify(&mut self, partition: Partition, position: Position) {
        let verified = &mut self.verified[partition.index()];
        *verified = position.max(*verified);
        self.verified_base = self.verified.iter().copied().min().unwrap_or_default();
    }

    /// Per partition, up to where everything has been delivered to this worker.
    pub(crate) fn verified(&self) -> &[Position] {
        &self.verified
    }

    /// Where a seat stands that has everything its rings ever had: what is delivered from now on is what it lacks.
    pub(crate) fn level_cursor(&self, key: usize) -> Cursor {
        let seat = &self.seats[key];
        let sources = || seat.memberships.iter().map(|m| &self.sources[m.source as usize]);
        if let Reach::One(partition) = seat.reach {
            let last = sources().map(|source| source.ring.last()).max().unwrap_or_default();
            return Cursor::at(last.max(self.verified[partition.index()]));
        }
        let mut levels: Box<[Option<Position>]> = self.partitions.iter().map(|_| None).collect();
        for source in sources() {
            let verified = self.verified[source.partition.index()];
            let level = levels[source.partition.index()].get_or_insert(verified);
            *level = source.ring.last().max(*level);
        }
        let mut cursor = Cursor::at(levels.iter().flatten().copied().min().unwrap_or_default());
        for (partition, level) in self.partitions.iter().zip(levels) {
            cursor.advance(partition, level.unwrap_or_default());
        }
        cursor
    }

    /// Up to where a seat has to read the log of a partition before its rings go on.
    pub(crate) fn floor(&self, key: usize, partition: Partition) -> Position {
        let sources = self.seats[key].memberships.iter().map(|m| &self.sources[m.source as usize]);
        let here = sources.filter(|source| source.partition == partition);
        here.map(|source| source.ring.floor()).max().unwrap_or_default()
    }

    /// Moves the cursor of a seat that has everything up to what has been verified, and answers its id.
    pub(crate) fn freshen(&mut self, key: usize) -> String {
        let seat = &mut self.seats[key];
        seat.cursor.raise(match seat.reach {
            Reach::One(partition) => self.verified[partition.index()],
            Reach::Several => self.verified_base,
        });
        seat.cursor.id(self.partitions)
    }

    /// The feed lacks updates: sources that may be concerned forget what they had up to there. A pass shows it to
    /// their members, and each reads in the log what it really lost.
    pub(crate) fn lose(&mut self, loss: &Loss) {
        let of_topics: Vec<u32> = match &loss.topics {
            Some(topics) => topics.iter().filter_map(|topic| self.by_topic.get(topic).copied()).collect(),
            None => self.by_topic.values().copied().collect(),
        };
        let of_patterns = self.by_matcher.values().map(|keys| keys[loss.partition.index()]);
        for key in of_patterns.chain(of_topics).collect::<Vec<_>>() {
            let source = &mut self.sources[key as usize];
            if source.partition == loss.partition && source.ring.floor() < loss.through {
                self.rings.change(&mut source.ring, |ring| ring.lose(loss.through));
                self.start_round(key, 0);
            }
        }
    }

    /// The seat with this key, unless it has been ended and the key given to another.
    pub(crate) fn get(&mut self, key: usize, serial: u32) -> Option<&mut Seat> {
        self.seats.get_mut(key).filter(|seat| seat.serial == serial)
    }

    /// Notes whether a seat has still something to take.
    pub(crate) fn set_behind(&mut self, key: usize, is: Behind) {
        let seat = &mut self.seats[key];
        let behind = is == Behind::Yes;
        if seat.behind == behind {
            return;
        }
        seat.behind = behind;
        if behind {
            self.behind += 1;
            for membership in &seat.memberships {
                self.sources[membership.source as usize].behind += 1;
            }
        } else {
            self.behind -= 1;
            for membership in &seat.memberships {
                let source = &mut self.sources[membership.source as usize];
                source.behind -= 1;
                if source.is_settled() {
                    self.rings.change(&mut source.ring, Ring::clear);
                }
            }
        }
    }

    /// Ends a seat: the only way in which one goes. Gives back its memberships, its sources if nobody else has them,
    /// its place, its socket.
    pub(crate) fn end(&mut self, key: usize, reason: CloseReason) {
        if !self.seats.contains(key) {
            return;
        }
        self.set_behind(key, Behind::No);
        let mut seat = self.seats.remove(key);
        for membership in std::mem::take(&mut seat.memberships) {
            self.leave(membership);
        }
        if let Some(pin) = seat.pin {
            self.pins.release(pin);
        }
        self.census.leaves(StreamState::of(&seat), seat.dialect);
        let was_open = seat.socket.is_some();
        seat.close(reason);
        if was_open {
            count(&self.stats.closed[reason as usize], 1);
            let closing = seat.trace.take().map(|trace| trace.close(reason));
            let _within = closing.as_ref().map(|closing| closing.context().attach());
            tracing::debug!(subscriber.id = %seat.id, close.reason = reason.as_str(), cursor = %seat.cursor.id(self.partitions), "stream ended");
        } else {
            self.reserved -= 1;
        }
        if fault::is(Fault::ForgetSeat) {
            seat.forget();
        }
        if self.seats.is_empty() {
            self.seats.shrink_to_fit();
        }
    }

    fn leave(&mut self, membership: Membership) {
        let key = membership.source as usize;
        let source = &mut self.sources[key];
        if let Some(moved) = source.leave(membership.index) {
            let theirs = &mut self.seats[moved as usize].memberships;
            if let Some(theirs) = theirs.iter_mut().find(|theirs| theirs.source == membership.source) {
                theirs.index = membership.index;
            }
        }
        if self.sources[key].members.is_empty() {
            self.remove_source(key);
        }
    }

    fn remove_source(&mut self, key: usize) {
        let source = self.sources.remove(key);
        if !self.followed.is_empty() {
            self.followed.remove(&narrow(key));
        }
        self.rings.remove(&source.ring);
        if source.congested {
            self.passes.congested -= 1;
        }
        // All sources of a matcher have the same members and go together: the first takes the matcher along.
        let withdrawn = if let Matcher::Exact(topic) = &source.matcher {
            let known = self.by_topic.remove(topic).is_some();
            shrink(&mut self.by_topic);
            known
        } else {
            self.by_matcher.remove(&source.matcher).is_some()
        };
        if let Some(pattern) = source.pattern {
            self.by_pattern.remove(&(pattern, source.partition));
        }
        if withdrawn {
            self.registry.withdraw(&source.matcher, self.worker);
        }
        if self.sources.is_empty() {
            self.sources.shrink_to_fit();
        }
    }
}

impl Drop for Seats {
    /// The worker's thread ends: what is still here is given back.
    fn drop(&mut self) {
        let keys: Vec<usize> = self.seats.iter().map(|(key, _)| key).collect();
        for key in keys {
            self.end(key, CloseReason::NodeShutdown);
        }
    }
}

/// Whether a seat has something still to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behind {
    Yes,
    No,
}

/// Keys and indexes are kept in 32 bits: a worker has far fewer seats than file descriptors there are.
pub(crate) fn narrow(n: usize) -> u32 {
    u32::try_from(n).expect("a worker holds fewer than 2^32 seats: each is a file descriptor")
}
