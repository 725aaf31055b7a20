//! The log of one partition of the memory transport: what it keeps, for how long, and what it still knows about what it discarded.
//!
//! It knows no clock and no task: the time comes in with each call, so that its rules can be tested without waiting.

use std::{collections::VecDeque, sync::Arc};

use hashbrown::{HashMap, HashSet};
use rivulet_core::{EventId, Partition, Partitions, Position, Topic, Update};
use smallvec::SmallVec;

use super::{Retention, missing::Missing};
use crate::{Appended, Page, PageLimits, Selection};

/// What an update costs beside its data and topics: the shared value, its place in the index and in a topic's log.
const ENTRY_LEN: usize = 256;
/// What an update that a topic's count discarded still costs: its place in the index.
const INDEX_ENTRY_LEN: usize = 64;
/// How many index entries one read looks at before it returns a page with `more`, so that no read holds the log long.
const SCAN_LEN_MAX: usize = 10_000;
/// Maps with fewer slots than this are never shrunk.
const CAPACITY_MIN: usize = 64;

#[derive(Default)]
struct TopicLog {
    entries: VecDeque<Arc<Appended>>,
    /// The position of the youngest update that this log discarded.
    discarded: Position,
}

impl TopicLog {
    fn find(&self, position: Position) -> Option<&Arc<Appended>> {
        let at = self.entries.binary_search_by_key(&position, |entry| entry.position).ok()?;
        self.entries.get(at)
    }

    /// What this log lost stands before this position.
    fn oldest(&self, clock: Position) -> Position {
        self.entries.front().map_or(clock.max(self.discarded.next()), |first| first.position)
    }

    fn holds(&self, position: Position) -> bool {
        self.entries.front().is_some_and(|first| first.position <= position)
    }
}

struct IndexEntry {
    position: Position,
    topics: SmallVec<[Topic; 1]>,
}

/// See the module.
pub(super) struct Log {
    retention: Retention,
    partitions: Partitions,
    partition: Partition,
    birth: Position,
    clock: Position,
    topics: HashMap<Topic, TopicLog>,
    /// Every update that is not older than the retention's age, also those whose topics' counts discarded them: so a
    /// matcher that reads through here knows whether one of its own is missing.
    index: VecDeque<IndexEntry>,
    /// The youngest position that left the index. Topics without a log may have lost updates up to here, not later.
    forgotten: Position,
    ids: HashMap<EventId, SmallVec<[Position; 1]>>,
    bytes: usize,
}

impl Log {
    pub(super) fn new(
        retention: Retention,
        partitions: Partitions,
        partition: Partition,
        now: Position,
    ) -> Self {
        Self {
            retention,
            partitions,
            partition,
            birth: now,
            clock: now,
            topics: HashMap::new(),
            index: VecDeque::new(),
            forgotten: Position::ZERO,
            ids: HashMap::new(),
            bytes: 0,
        }
    }

    /// The last position that was given or verified: every later append stands after it.
    pub(super) fn clock(&self) -> Position {
        self.clock
    }

    /// Moves the clock to `now` and discards what is too old. The clock never goes back.
    pub(super) fn advance(&mut self, now: Position) -> Position {
        self.clock = self.clock.max(now);
        self.discard();
        self.clock
    }

    pub(super) fn append(&mut self, now: Position, update: Update) -> Arc<Appended> {
        self.clock = self.clock.next().max(now);
        let position = self.clock;
        let appended = Arc::new(Appended { partition: self.partition, position, update });
        let update = &appended.update;
        self.bytes += entry_len(update);
        if let Some(id) = &update.id {
            self.ids.entry(id.clone()).or_default().push(position);
        }
        let mut topics: SmallVec<[Topic; 1]> = distinct(&update.topics);
        topics.retain(|topic| self.partitions.of(topic) == self.partition);
        let forgotten = self.forgotten;
        for topic in &topics {
            // A topic that is not here may have been forgotten with all its updates: it is not new for certain.
            let log = self
                .topics
                .entry(topic.clone())
                .or_insert_with(|| TopicLog { discarded: forgotten, ..TopicLog::default() });
            log.entries.push_back(appended.clone());
        }
        self.index.push_back(IndexEntry { position, topics: topics.clone() });
        for topic in &topics {
            self.trim(topic);
        }
        self.discard();
        appended
    }

    /// Discards what is above the count of a topic.
    fn trim(&mut self, topic: &Topic) {
        while let Some(log) = self.topics.get_mut(topic)
            && log.entries.len() > self.retention.count.max(1)
            && let Some(entry) = log.entries.pop_front()
        {
            log.discarded = entry.position;
            self.forget_unless_kept(&entry);
        }
    }

    /// Discards what is older than the age or above the bytes. The oldest entry of the index is the oldest of each of
    /// its topics too, so quiet topics expire here without timers of their own.
    fn discard(&mut self) {
        let age = u64::try_from(self.retention.age.as_micros()).unwrap_or(u64::MAX);
        let horizon = Position::from_micros(self.clock.as_micros().saturating_sub(age));
        while let Some(first) = self.index.front()
            && (first.position < horizon || self.bytes > self.retention.bytes)
            && let Some(IndexEntry { position, topics }) = self.index.pop_front()
        {
            self.forgotten = position;
            self.bytes = self.bytes.saturating_sub(INDEX_ENTRY_LEN);
            for topic in &topics {
                self.discard_first(topic, position);
            }
        }
        shrink(&mut self.topics);
        shrink(&mut self.ids);
        if self.index.len() < self.index.capacity() / 4 && self.index.capacity() > CAPACITY_MIN {
            self.index.shrink_to(self.index.len() * 2);
        }
    }

    fn discard_first(&mut self, topic: &Topic, position: Position) {
        let Some(log) = self.topics.get_mut(topic) else { return };
        if log.holds(position)
            && let Some(entry) = log.entries.pop_front()
        {
            log.discarded = position;
            if log.entries.is_empty() {
                self.topics.remove(topic);
            } else if log.entries.len() < log.entries.capacity() / 4 {
                log.entries.shrink_to(log.entries.len() * 2);
            }
            self.forget_unless_kept(&entry);
        }
    }

    /// Gives back an update's bytes and id once the last of its topics discarded it.
    fn forget_unless_kept(&mut self, entry: &Appended) {
        let update = &entry.update;
        if update.topics.iter().any(|t| self.topics.get(t).is_some_and(|log| log.holds(entry.position))) {
            return;
        }
        self.bytes = self.bytes.saturating_sub(entry_len(update) - INDEX_ENTRY_LEN);
        if let Some(id) = &update.id
            && let Some(positions) = self.ids.get_mut(id)
        {
            positions.retain(|position| *position != entry.position);
            if positions.is_empty() {
                self.ids.remove(id);
            }
        }
    }

    pub(super) fn locate(&self, id: &EventId) -> Option<Position> {
        self.ids.get(id)?.first().copied()
    }

    pub(super) fn read(&self, selection: &Selection, after: Position, limits: PageLimits) -> Page {
        match selection {
            Selection::Topics(topics) => self.read_topics(topics, after, limits),
            Selection::Matching(matchers) => {
                self.scan(after, limits, |topic| matchers.iter().any(|matcher| matcher.matches(topic)))
            }
        }
    }

    fn read_topics(&self, topics: &[Topic], after: Position, limits: PageLimits) -> Page {
        let mut entries = Vec::new();
        let mut missing = self.missing_from_before(after);
        let here = topics.iter().filter(|topic| self.partitions.of(topic) == self.partition);
        for topic in here.collect::<HashSet<_>>() {
            let Some(log) = self.topics.get(topic) else {
                if self.forgotten > after {
                    missing.topic(topic, self.clock.max(self.forgotten.next()));
                }
                continue;
            };
            if log.discarded > after {
                missing.topic(topic, log.oldest(self.clock));
            }
            let start = log.entries.partition_point(|entry| entry.position <= after);
            entries.extend(log.entries.range(start..).take(limits.len.max(1) + 1).cloned());
        }
        entries.sort_unstable_by_key(|entry| entry.position);
        entries.dedup_by_key(|entry| entry.position);
        let mut page = self.page_to_the_end(after);
        let mut bytes = 0;
        for entry in entries {
            if is_full(&page, bytes, limits) {
                page.more = true;
                page.through = page.entries.last().map_or(after, |last| last.position);
                break;
            }
            bytes += entry.update.data.len();
            page.entries.push(entry);
        }
        page.gap = missing.into_gap();
        page
    }

    /// Reads through the index: the first updates after a position of which `selects` takes a topic.
    pub(super) fn scan(&self, after: Position, limits: PageLimits, selects: impl Fn(&Topic) -> bool) -> Page {
        let start = self.index.partition_point(|entry| entry.position <= after);
        let mut page = self.page_to_the_end(after);
        let mut missing = self.missing_from_before(after);
        if self.forgotten > after {
            let first = self.index.front().map(|first| first.position);
            missing.everything(first.unwrap_or_else(|| self.clock.max(self.forgotten.next())));
        }
        let (mut through, mut bytes) = (after, 0);
        for (scanned, entry) in self.index.range(start..).enumerate() {
            if is_full(&page, bytes, limits) || scanned == SCAN_LEN_MAX {
                (page.through, page.more) = (through, true);
                break;
            }
            through = entry.position;
            let mut selected = entry.topics.iter().filter(|topic| selects(topic)).peekable();
            if selected.peek().is_none() {
                continue;
            }
            match self.find(entry) {
                Some(appended) => {
                    bytes += appended.update.data.len();
                    page.entries.push(appended);
                }
                None => selected.for_each(|topic| missing.topic(topic, self.oldest(topic))),
            }
        }
        page.gap = missing.into_gap();
        page
    }

    /// A page without entries that reaches to the end.
    fn page_to_the_end(&self, after: Position) -> Page {
        Page { clock: self.clock, ..Page::at(self.clock.max(after)) }
    }

    /// What was before the log's birth is not known: anything may be missing.
    fn missing_from_before(&self, after: Position) -> Missing {
        let mut missing = Missing::default();
        if after < self.birth {
            missing.everything(self.birth);
        }
        missing
    }

    fn oldest(&self, topic: &Topic) -> Position {
        self.topics.get(topic).map_or(self.clock, |log| log.oldest(self.clock))
    }

    fn find(&self, entry: &IndexEntry) -> Option<Arc<Appended>> {
        entry.topics.iter().find_map(|topic| self.topics.get(topic)?.find(entry.position).cloned())
    }

    /// What is held, for tests: topics, index entries, ids, bytes.
    #[cfg(test)]
    fn sizes(&self) -> [usize; 4] {
        [self.topics.len(), self.index.len(), self.ids.len(), self.bytes]
    }
}

fn is_full(page: &Page, bytes: usize, limits: PageLimits) -> bool {
    !page.entries.is_empty() && (page.entries.len() >= limits.len || bytes >= limits.bytes)
}

fn distinct(topics: &[Topic]) -> SmallVec<[Topic; 1]> {
    let mut distinct: SmallVec<[Topic; 1]> = SmallVec::new();
    for topic in topics {
        if !distinct.contains(topic) {
            distinct.push(topic.clone());
        }
    }
    distinct
}

fn entry_len(update: &Update) -> usize {
    let topics: usize = update.topics.iter().map(|topic| topic.as_str().len()).sum();
    ENTRY_LEN + INDEX_ENTRY_LEN + topics + update.data.len()
}

fn shrink<K: std::hash::Hash + Eq, V>(map: &mut HashMap<K, V>) {
    if map.len() < map.capacity() / 4 && map.capacity() > CAPACITY_MIN {
        map.shrink_to(map.len() * 2);
    }
}

#[cfg(test)]
mod tests;
