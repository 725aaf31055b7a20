//! Which workers want which updates: the routing table between the pump and the workers.
//!
//! The lock is what makes a start exact: the pump notes the position of each update under it, so a matcher that is
//! enrolled when `routed` was 7 gets every update of that partition after 7, and none before.

use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::Mutex;
use rivulet_core::{Matcher, Partition, Partitions, Position, Topic};
use smallvec::SmallVec;

use crate::{Appended, Interest, Transport};

/// A set of workers, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct WorkerSet(u64);

impl WorkerSet {
    pub(crate) const EMPTY: WorkerSet = WorkerSet(0);

    /// The first `n` workers.
    pub(crate) fn first(n: usize) -> Self {
        Self(u64::MAX.checked_shr(64 - u32::try_from(n.min(64)).expect("at most 64")).unwrap_or(0))
    }

    fn insert(&mut self, worker: u8) {
        self.0 |= 1 << worker;
    }

    fn remove(&mut self, worker: u8) {
        self.0 &= !(1 << worker);
    }

    fn unite(&mut self, other: WorkerSet) {
        self.0 |= other.0;
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = u8> {
        (0..64).filter(move |worker| self.0 & (1 << worker) != 0)
    }
}

impl FromIterator<u8> for WorkerSet {
    fn from_iter<I: IntoIterator<Item = u8>>(workers: I) -> Self {
        let mut set = Self::EMPTY;
        workers.into_iter().for_each(|worker| set.insert(worker));
        set
    }
}

/// Names a matcher that is not a single topic, on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PatternId(u32);

/// See the module's documentation.
pub(crate) struct Registry {
    transport: Arc<dyn Transport>,
    partitions: Partitions,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    topics: HashMap<Topic, WorkerSet>,
    patterns: HashMap<Matcher, (PatternId, WorkerSet)>,
    pattern_ids_drawn: u32,
    /// Per partition, the last position that was routed.
    routed: Box<[Position]>,
}

/// What a worker learns when it enrolls a matcher.
pub(crate) struct Enrolled {
    /// Where its sources stand: the partition, and the last update there that was routed without the matcher.
    pub(crate) starts: SmallVec<[(Partition, Position); 1]>,
    /// The name of the matcher in deliveries; none for a topic.
    pub(crate) pattern: Option<PatternId>,
}

impl Registry {
    pub(crate) fn new(transport: Arc<dyn Transport>) -> Self {
        let partitions = transport.partitions();
        let routed = partitions.iter().map(|_| Position::ZERO).collect();
        Self { transport, partitions, table: Mutex::new(Table { routed, ..Table::default() }) }
    }

    pub(crate) fn partitions(&self) -> Partitions {
        self.partitions
    }

    /// Lets a worker have what a matcher selects, from the answered positions on: a topic stands in one partition,
    /// what other matchers select may stand in any.
    pub(crate) fn enroll(&self, matcher: &Matcher, worker: u8) -> Enrolled {
        self.transport.retain(&interest(matcher));
        let mut table = self.table.lock();
        if let Matcher::Exact(topic) = matcher {
            table.topics.entry(topic.clone()).or_default().insert(worker);
            let partition = self.partitions.of(topic);
            let routed = table.routed[partition.index()];
            return Enrolled { starts: SmallVec::from_buf([(partition, routed)]), pattern: None };
        }
        let starts = self.partitions.iter().zip(table.routed.iter().copied()).collect();
        if let Some((id, workers)) = table.patterns.get_mut(matcher) {
            workers.insert(worker);
            return Enrolled { starts, pattern: Some(*id) };
        }
        table.pattern_ids_drawn = table.pattern_ids_drawn.wrapping_add(1);
        let id = PatternId(table.pattern_ids_drawn);
        let mut workers = WorkerSet::EMPTY;
        workers.insert(worker);
        table.patterns.insert(matcher.clone(), (id, workers));
        Enrolled { starts, pattern: Some(id) }
    }

    /// Takes back one [`Registry::enroll`].
    pub(crate) fn withdraw(&self, matcher: &Matcher, worker: u8) {
        {
            let mut table = self.table.lock();
            if let Matcher::Exact(topic) = matcher {
                if let Some(workers) = table.topics.get_mut(topic) {
                    workers.remove(worker);
                    if *workers == WorkerSet::EMPTY {
                        table.topics.remove(topic);
                        shrink(&mut table.topics);
                    }
                }
            } else if let Some((_, workers)) = table.patterns.get_mut(matcher) {
                workers.remove(worker);
                if *workers == WorkerSet::EMPTY {
                    table.patterns.remove(matcher);
                }
            }
        }
        self.transport.release(&interest(matcher));
    }

    /// What is enrolled from now on starts after a loss: nothing before its end can be expected from the feed.
    pub(crate) fn lose(&self, partition: Partition, through: Position) {
        let mut table = self.table.lock();
        let routed = &mut table.routed[partition.index()];
        *routed = through.max(*routed);
    }

    /// The workers that want an update, and the patterns by which they do.
    pub(crate) fn route(&self, appended: &Appended) -> (WorkerSet, SmallVec<[PatternId; 2]>) {
        let topics = &appended.update.topics;
        let mut workers = WorkerSet::EMPTY;
        let mut patterns = SmallVec::new();
        let mut table = self.table.lock();
        table.routed[appended.partition.index()] = appended.position;
        for topic in topics {
            if let Some(set) = table.topics.get(topic) {
                workers.unite(*set);
            }
        }
        for (matcher, (id, set)) in &table.patterns {
            if matcher.matches_any(topics) {
                workers.unite(*set);
                patterns.push(*id);
            }
        }
        (workers, patterns)
    }
}

/// What a matcher needs from the transport.
pub(crate) fn interest(matcher: &Matcher) -> Interest {
    match matcher {
        Matcher::Exact(topic) => Interest::Topic(topic.clone()),
        _ => Interest::All,
    }
}

/// Gives memory back once most of a map is empty, so that a wave of topics leaves nothing behind.
pub(crate) fn shrink<K: Eq + std::hash::Hash, V>(map: &mut HashMap<K, V>) {
    if map.capacity() > 64 && map.len() * 4 < map.capacity() {
        map.shrink_to(map.len() * 2);
    }
}
