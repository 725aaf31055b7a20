//! Reading the log: of topics, through the index, and by a publisher's id. Writing it is `append.lua`'s.
//!
//! Whether something is missing is told by the chain: each entry holds the position before it. If the first kept entry
//! after a position says that the one before it is not later than that position, nothing was lost.

use std::{collections::HashSet, sync::Arc, time::Duration};

use bytes::Bytes;
use deadpool_redis::Pool;
use redis::{Pipeline, Value};
use rivulet_core::{EventId, Position, Topic, envelope};
use rivulet_node::{Appended, Page, Selection, TransportError};

use crate::{
    announcement::parse_position,
    entry::{Clock, Entry, unexpected},
    keys::Keys,
};

/// How many index entries are read at once.
pub(crate) const INDEX_LEN: usize = 1000;
/// How many index entries one read looks at before it returns a page with `more`.
const SCAN_LEN_MAX: usize = 20 * INDEX_LEN;
/// How many payloads are fetched at once while the log is read through the index.
const FETCH_LEN_MAX: usize = 64;
/// The least that is read of each of many topics at once.
const TOPIC_LEN_MIN: usize = 8;

/// See the module.
pub(crate) struct Log {
    pub(crate) pool: Pool,
    pub(crate) keys: Keys,
    pub(crate) age: Duration,
    pub(crate) deadline: Duration,
}

/// A piece of the index.
pub(crate) struct IndexPage {
    pub(crate) entries: Vec<IndexEntry>,
    pub(crate) clock: Clock,
    /// Whether these are not all entries yet.
    pub(crate) more: bool,
    pub(crate) complete: bool,
}

/// An update without its payload.
pub(crate) struct IndexEntry {
    pub(crate) position: Position,
    pub(crate) topics: Vec<Topic>,
}

impl Log {
    /// Runs a pipeline within the deadline.
    async fn query(&self, pipeline: &Pipeline) -> Result<Vec<Value>, TransportError> {
        let mut connection = self.pool.get().await.map_err(|error| TransportError::new(error.to_string()))?;
        let query = pipeline.query_async(&mut connection);
        match tokio::time::timeout(self.deadline, query).await {
            Ok(answer) => answer.map_err(|error| TransportError::new(error.to_string())),
            Err(_) => {
                // What this connection answers late must not meet the next one who takes it.
                drop(deadpool_redis::Connection::take(connection));
                Err(TransportError::new(format!("no answer within {:?}", self.deadline)))
            }
        }
    }

    /// The earliest position that can be complete when nothing older than `before` is known.
    fn horizon(&self, before: Position) -> Position {
        let age = u64::try_from(self.age.as_micros()).unwrap_or(u64::MAX);
        Position::from_micros(before.as_micros().saturating_sub(age))
    }

    pub(crate) async fn read(
        &self,
        selection: &Selection,
        after: Position,
        len_max: usize,
    ) -> Result<Page, TransportError> {
        match selection {
            Selection::Topics(topics) => self.read_topics(topics, after, len_max.max(1)).await,
            Selection::Matching(matchers) => {
                let selects = |topics: &[Topic]| matchers.iter().any(|matcher| matcher.matches_any(topics));
                self.read_index(after, len_max.max(1), selects).await
            }
        }
    }

    /// One snapshot of several topics, merged. Of each topic only a part is read: the page ends where the first of
    /// them might have more.
    async fn read_topics(
        &self,
        topics: &[Topic],
        after: Position,
        len_max: usize,
    ) -> Result<Page, TransportError> {
        let topics: HashSet<&Topic> = topics.iter().collect();
        let count = (2 * len_max).div_ceil(topics.len().max(1)).max(TOPIC_LEN_MIN).min(len_max + 1);
        let mut pipeline = redis::pipe();
        pipeline.atomic().get(&self.keys.clock).get(&self.keys.birth);
        for topic in topics {
            let start = format!("({after}-0");
            pipeline.cmd("XRANGE").arg(self.keys.stream(topic)).arg(start).arg("+").arg("COUNT").arg(count);
            pipeline.get(self.keys.last(topic));
        }
        let mut answers = self.query(&pipeline).await?.into_iter();
        let mut next = || answers.next().ok_or_else(|| unexpected("the answer to a read"));
        let clock = Clock::parse(&next()?, &next()?)?;
        let mut page = Page {
            entries: Vec::new(),
            through: clock.now.max(after),
            more: false,
            complete: clock.knows(after),
        };
        let mut merged: Vec<Entry> = Vec::new();
        while let Ok(stream) = next() {
            let entries = Entry::parse_all(stream)?;
            let last = next()?;
            page.complete &= self.is_complete(&entries, &last, after, clock);
            if entries.len() == count
                && let Some(end) = entries.last()
                && end.position < page.through
            {
                (page.through, page.more) = (end.position, true);
            }
            merged.extend(entries);
        }
        merged.sort_by_key(|entry| entry.position);
        merged.dedup_by_key(|entry| entry.position);
        merged.retain(|entry| entry.position <= page.through);
        if merged.len() > len_max {
            merged.truncate(len_max);
            page.more = true;
            page.through = merged.last().map_or(page.through, |entry| entry.position);
        }
        let len = merged.len();
        page.entries = merged.into_iter().filter_map(decode).collect();
        page.complete &= page.entries.len() == len;
        Ok(page)
    }

    /// Whether a topic lost nothing after a position, by its first kept entries and by its last position.
    fn is_complete(&self, entries: &[Entry], last: &Value, after: Position, clock: Clock) -> bool {
        match (entries.first(), last) {
            (Some(first), _) if first.previous > Position::ZERO => first.previous <= after,
            (Some(first), _) => after >= self.horizon(first.position),
            (None, Value::BulkString(last)) => parse_position(last).is_some_and(|last| last <= after),
            (None, _) => after >= self.horizon(clock.now),
        }
    }

    /// The next entries of the index after a position.
    pub(crate) async fn index(&self, after: Position) -> Result<IndexPage, TransportError> {
        let mut pipeline = redis::pipe();
        pipeline.atomic().get(&self.keys.clock).get(&self.keys.birth);
        let start = format!("({after}-0");
        pipeline.cmd("XRANGE").arg(&self.keys.index).arg(start).arg("+").arg("COUNT").arg(INDEX_LEN);
        let [clock, birth, entries] = <[Value; 3]>::try_from(self.query(&pipeline).await?)
            .map_err(|_| unexpected("the answer to a read"))?;
        let clock = Clock::parse(&clock, &birth)?;
        let entries = Entry::parse_all(entries)?;
        let chained = match entries.first() {
            Some(first) if first.previous > Position::ZERO => first.previous <= after,
            Some(first) => after >= self.horizon(first.position),
            None => clock.last_update <= after,
        };
        Ok(IndexPage {
            more: entries.len() == INDEX_LEN,
            complete: chained && clock.knows(after),
            clock,
            entries: entries.iter().map(IndexEntry::parse).collect(),
        })
    }

    async fn read_index(
        &self,
        after: Position,
        len_max: usize,
        selects: impl Fn(&[Topic]) -> bool,
    ) -> Result<Page, TransportError> {
        let mut page = Page { entries: Vec::new(), through: after, more: true, complete: true };
        let mut scanned = 0;
        while page.more && page.entries.len() < len_max && scanned < SCAN_LEN_MAX {
            let mut index = self.index(page.through).await?;
            scanned += index.entries.len();
            page.complete &= index.complete;
            let end = index.entries.last().map(|entry| entry.position);
            index.entries.retain(|entry| selects(&entry.topics));
            let room = len_max - page.entries.len();
            if index.entries.len() > room {
                index.entries.truncate(room);
                page.through = index.entries.last().map_or(page.through, |entry| entry.position);
            } else {
                page.more = index.more;
                let end = if index.more { end } else { Some(index.clock.now) };
                page.through = end.map_or(page.through, |end| end.max(page.through));
            }
            for entries in index.entries.chunks(FETCH_LEN_MAX) {
                let fetched = self.fetch(entries).await?;
                page.complete &= fetched.len() == entries.len();
                page.entries.extend(fetched);
            }
        }
        Ok(page)
    }

    /// The payloads of index entries, as far as they are kept: by their first topics, and if one has discarded it, by
    /// the others.
    pub(crate) async fn fetch(&self, entries: &[IndexEntry]) -> Result<Vec<Arc<Appended>>, TransportError> {
        let mut fetched = Vec::with_capacity(entries.len());
        let mut wanted: Vec<&IndexEntry> = entries.iter().collect();
        let mut nth = 0;
        loop {
            wanted.retain(|entry| entry.topics.len() > nth);
            if wanted.is_empty() {
                break;
            }
            let mut pipeline = redis::pipe();
            for entry in &wanted {
                let at = format!("{}-0", entry.position);
                pipeline.cmd("XRANGE").arg(self.keys.stream(&entry.topics[nth])).arg(&at).arg(&at);
            }
            let answers = self.query(&pipeline).await?;
            let mut missing = Vec::new();
            for (answer, entry) in answers.into_iter().zip(wanted) {
                match Entry::parse_all(answer)?.pop() {
                    Some(found) => fetched.extend(decode(found)),
                    None => missing.push(entry),
                }
            }
            wanted = missing;
            nth += 1;
        }
        fetched.sort_by_key(|appended| appended.position);
        Ok(fetched)
    }

    /// The earliest position at which an id was used, if that update is still kept.
    pub(crate) async fn locate(&self, id: &EventId) -> Result<Option<Position>, TransportError> {
        let mut pipeline = redis::pipe();
        pipeline.get(self.keys.id(id));
        let Some(Value::BulkString(found)) = self.query(&pipeline).await?.pop() else { return Ok(None) };
        let space = found.iter().position(|byte| *byte == b' ').ok_or_else(|| unexpected("an id"))?;
        let position = parse_position(&found[..space]).ok_or_else(|| unexpected("an id"))?;
        let at = format!("{position}-0");
        let mut pipeline = redis::pipe();
        pipeline.cmd("XRANGE").arg(&found[space + 1..]).arg(&at).arg(&at);
        let kept = self.query(&pipeline).await?.pop();
        Ok(matches!(kept, Some(Value::Array(entries)) if !entries.is_empty()).then_some(position))
    }
}

impl IndexEntry {
    /// What is not a topic can have been written by someone else only, and selects nothing.
    fn parse(entry: &Entry) -> Self {
        let text = String::from_utf8_lossy(&entry.content);
        let topics = text.split('\n').filter_map(|topic| Topic::parse(topic).ok()).collect();
        Self { position: entry.position, topics }
    }
}

/// None for an envelope that this version cannot read: it counts as discarded. As an error it would stop the feed and
/// every replay that comes across it, again and again.
fn decode(entry: Entry) -> Option<Arc<Appended>> {
    match envelope::decode(Bytes::from(entry.content)) {
        Ok(update) => Some(Arc::new(Appended { position: entry.position, update })),
        Err(error) => {
            tracing::warn!(position = %entry.position, %error, "an update in the log cannot be read");
            None
        }
    }
}
