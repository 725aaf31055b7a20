//! What one worker holds: its seats and sources, and how they come and go.

use std::sync::Arc;

use hashbrown::HashMap;
use rivulet_core::{Matcher, Position, Topic};
use slab::Slab;
use smallvec::SmallVec;

use crate::{
    CloseReason,
    config::NodeConfig,
    dispatch::Passes,
    registry::{PatternId, Registry, shrink},
    seat::{Membership, Phase, Seat},
    source::Source,
    stats::{WorkerStats, count},
    wheel::Wheel,
};

/// The seats and sources of one worker. Everything here belongs to one thread.
pub(crate) struct Seats {
    pub(crate) worker: u8,
    pub(crate) config: NodeConfig,
    pub(crate) registry: Arc<Registry>,
    pub(crate) stats: Arc<WorkerStats>,
    pub(crate) seats: Slab<Seat>,
    pub(crate) sources: Slab<Source>,
    pub(crate) by_topic: HashMap<Topic, u32>,
    pub(crate) by_pattern: HashMap<PatternId, u32>,
    /// The sources of `by_pattern`, by what subscribers ask for.
    by_matcher: HashMap<Matcher, u32>,
    pub(crate) passes: Passes,
    pub(crate) wheel: Wheel,
    /// Everything up to here has been delivered to this worker.
    pub(crate) verified: Position,
    pub(crate) ring_bytes: usize,
    pub(crate) behind: usize,
    /// Seats that want the next page of the log, with their serials.
    pub(crate) reads_wanted: Vec<(usize, u32)>,
    pub(crate) serials_drawn: u32,
}

impl Seats {
    pub(crate) fn new(
        worker: u8,
        config: NodeConfig,
        registry: Arc<Registry>,
        stats: Arc<WorkerStats>,
    ) -> Self {
        Self {
            worker,
            config,
            registry,
            stats,
            seats: Slab::new(),
            sources: Slab::new(),
            by_topic: HashMap::new(),
            by_pattern: HashMap::new(),
            by_matcher: HashMap::new(),
            passes: Passes::default(),
            wheel: Wheel::new(),
            verified: Position::ZERO,
            ring_bytes: 0,
            behind: 0,
            reads_wanted: Vec::new(),
            serials_drawn: 0,
        }
    }

    /// Seats a subscriber, with its matchers' sources; it counts as behind until it is level.
    pub(crate) fn add(&mut self, mut seat: Seat, matchers: &[Matcher]) -> usize {
        let key = self.seats.vacant_key();
        let mut memberships = SmallVec::with_capacity(matchers.len());
        for matcher in matchers {
            let source = self.source(matcher);
            let joined = &mut self.sources[source as usize];
            // A matcher that was given twice is one membership.
            if joined.members.last() != Some(&narrow(key)) {
                memberships.push(Membership { source, index: joined.join(narrow(key)) });
            }
        }
        memberships.shrink_to_fit();
        seat.memberships = memberships;
        seat.behind = true;
        self.behind += 1;
        self.seats.insert(seat);
        key
    }

    /// The source of a matcher, made if it is new here.
    fn source(&mut self, matcher: &Matcher) -> u32 {
        let known = match matcher {
            Matcher::Exact(topic) => self.by_topic.get(topic),
            _ => self.by_matcher.get(matcher),
        };
        if let Some(source) = known {
            return *source;
        }
        let enrolled = self.registry.enroll(matcher, self.worker);
        let key = narrow(self.sources.insert(Source::new(matcher.clone(), &enrolled)));
        if let Matcher::Exact(topic) = matcher {
            self.by_topic.insert(topic.clone(), key);
        } else {
            self.by_matcher.insert(matcher.clone(), key);
        }
        if let Some(pattern) = enrolled.pattern {
            self.by_pattern.insert(pattern, key);
        }
        key
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
                    self.ring_bytes -= source.ring.bytes();
                    source.ring.clear();
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
        seat.close(reason);
        if !matches!(seat.phase, Phase::Reserved) {
            count(&self.stats.closed[reason as usize], 1);
            tracing::debug!(subscriber.id = %seat.id, close.reason = reason.as_str(), position = %seat.cursor, "stream ended");
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
        self.ring_bytes -= source.ring.bytes();
        if source.congested {
            self.passes.congested -= 1;
        }
        if let Matcher::Exact(topic) = &source.matcher {
            self.by_topic.remove(topic);
            shrink(&mut self.by_topic);
        } else {
            self.by_matcher.remove(&source.matcher);
        }
        if let Some(pattern) = source.pattern {
            self.by_pattern.remove(&pattern);
        }
        self.registry.withdraw(&source.matcher, self.worker);
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
