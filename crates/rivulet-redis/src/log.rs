//! Reading the log: of topics, through the index, and by a publisher's id. Writing it is `append.lua`'s.
//!
//! Whether something is missing is told by the chain: each entry holds the position before it. If the first kept entry
//! after a position says that the one before it is not later than that position, nothing was lost.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::try_join_all;
use redis::Value;
use rivulet_core::{EventId, Partition, Position, Topic, envelope};
use rivulet_node::{Appended, Page, PageLimits, Selection, TransportError};

use crate::{
    announcement::parse_position,
    entry::{Clock, Entry, unexpected},
    history::History,
    index_entry::{IndexEntry, fitting},
    keys::Keys,
    loss::Loss,
    primaries::{Job, Primaries, Reader},
    script::{Call, Script},
    unreadable::{Cause, Unreadable},
};

/// How many index entries are read at once.
const INDEX_LEN: usize = 1000;
/// How many index entries one read looks at before it returns a page with `more`.
const SCAN_LEN_MAX: usize = 20 * INDEX_LEN;
/// The least that is read of each of many topics at once.
const TOPIC_LEN_MIN: usize = 8;

/// How often, and after what pause, a Redis without a clock is looked at again: the next tick makes one, and before that
/// nobody can say what is lost.
const BIRTH_LOOKS: usize = 20;
const BIRTH_PAUSE: Duration = Duration::from_millis(100);

/// How far before the time of Redis a reader's position may push the clock, in microseconds: readers are strangers.
const LEAD_MAX_MICROS: &str = "1000000";

/// See the module.
pub(crate) struct Log {
    primaries: Arc<Primaries>,
    keys: Keys,
    age: Duration,
    reader: Reader,
    read: Script,
    index: Script,
}

/// A piece of the index.
pub(crate) struct IndexPage {
    pub(crate) entries: Vec<IndexEntry>,
    pub(crate) clock: Clock,
    /// Whether these are not all entries yet.
    pub(crate) more: bool,
    /// Whether the index has lost entries before these.
    pub(crate) is_trimmed: bool,
}

impl Log {
    pub(crate) fn new(primaries: Arc<Primaries>, keys: Keys, age: Duration, reader: Reader) -> Self {
        Self { primaries, keys, age, reader, read: Script::read(), index: Script::index() }
    }

    async fn script(
        &self,
        partition: Partition,
        script: &Script,
        call: &Call<'_>,
        history: &mut History,
    ) -> Result<Vec<Value>, TransportError> {
        let mut done = self.primaries.run(partition, Job::Read(self.reader, script, call)).await?;
        history.continues_at(&done.primary)?;
        match done.values.pop() {
            Some(Value::Array(answers)) => Ok(answers),
            _ => Err(unexpected("the answer to a read")),
        }
    }

    async fn pipeline(
        &self,
        partition: Partition,
        pipeline: &redis::Pipeline,
        history: &mut History,
    ) -> Result<Vec<Value>, TransportError> {
        let done = self.primaries.run(partition, Job::Pipeline(self.reader, pipeline)).await?;
        history.continues_at(&done.primary)?;
        Ok(done.values)
    }

    /// The earliest position that can be complete when nothing older than `before` is known.
    fn horizon(&self, before: Position) -> Position {
        let age = u64::try_from(self.age.as_micros()).unwrap_or(u64::MAX);
        Position::from_micros(before.as_micros().saturating_sub(age))
    }

    pub(crate) async fn read(
        &self,
        partition: Partition,
        selection: &Selection,
        after: Position,
        limits: PageLimits,
    ) -> Result<Page, TransportError> {
        let limits = PageLimits { len: limits.len.max(1), ..limits };
        for _ in 0..BIRTH_LOOKS {
            let page = self.read_now(partition, selection, after, limits).await?;
            if page.clock > Position::ZERO {
                return Ok(page);
            }
            tokio::time::sleep(BIRTH_PAUSE).await;
        }
        Err(TransportError::new("Redis is empty, and nobody has made a clock there yet"))
    }

    async fn read_now(
        &self,
        partition: Partition,
        selection: &Selection,
        after: Position,
        limits: PageLimits,
    ) -> Result<Page, TransportError> {
        match selection {
            Selection::Topics(topics) => {
                let here = |topic: &&Topic| self.keys.partitions().of(topic) == partition;
                let mut topics: Vec<&Topic> = topics.iter().filter(here).collect();
                topics.sort_unstable();
                topics.dedup();
                self.read_topics(partition, &topics, after, limits).await
            }
            Selection::Matching(matchers) => {
                let selects = |topic: &Topic| matchers.iter().any(|matcher| matcher.matches(topic));
                self.read_index(partition, after, limits, selects).await
            }
        }
    }

    /// One snapshot of several topics, merged. Of each topic only a part is read: the page ends where the first of
    /// them might have more.
    async fn read_topics(
        &self,
        partition: Partition,
        topics: &[&Topic],
        after: Position,
        limits: PageLimits,
    ) -> Result<Page, TransportError> {
        let share = |of: usize| of.saturating_mul(2).div_ceil(topics.len().max(1));
        let count = share(limits.len).max(TOPIC_LEN_MIN).min(limits.len.saturating_add(1)).to_string();
        let (after_arg, bytes) = (after.to_string(), share(limits.bytes).max(1).to_string());
        let names = self.keys.of(partition);
        let streams: Vec<String> = topics.iter().map(|topic| names.stream(topic)).collect();
        let lasts: Vec<String> = topics.iter().map(|topic| names.last(topic)).collect();
        let keys = [&names.clock, &names.birth].into_iter().chain(&streams).chain(&lasts);
        let call = Call {
            keys: keys.map(String::as_bytes).collect(),
            args: [&after_arg, LEAD_MAX_MICROS, &count, &bytes].map(str::as_bytes).to_vec(),
        };
        let mut answers =
            self.script(partition, &self.read, &call, &mut History::default()).await?.into_iter();
        let mut next = || answers.next().ok_or_else(|| unexpected("the answer to a read"));
        let clock = Clock::parse(&next()?, &next()?)?;
        let mut loss = Loss::of_log(after, &clock, self.keys.partitions());
        let mut page = Page { clock: clock.now, ..Page::at(clock.now.max(after)) };
        let mut merged: Vec<(Entry, &Topic)> = Vec::new();
        for topic in topics {
            let (entries, last) = (Entry::parse_all(next()?)?, next()?);
            let has_more = next()? == Value::Int(1);
            if let Some(oldest) = self.lost_until(&entries, &last, after, clock.now) {
                loss.add(topic, oldest);
            }
            if has_more
                && let Some(end) = entries.last()
                && end.position < page.through
            {
                (page.through, page.more) = (end.position, true);
            }
            merged.extend(entries.into_iter().map(|entry| (entry, *topic)));
        }
        cut(&mut merged, &mut page, limits);
        for (entry, topic) in merged {
            let oldest = entry.position.next();
            match decode(partition, entry, &self.primaries.unreadable) {
                Some(appended) => page.entries.push(appended),
                None => loss.add(topic, oldest),
            }
        }
        loss.tell(&mut page);
        Ok(page)
    }

    /// Whether a topic lost something after a position, by its first kept entries and by its last position: answers from
    /// where on it is complete.
    fn lost_until(
        &self,
        entries: &[Entry],
        last: &Value,
        after: Position,
        clock: Position,
    ) -> Option<Position> {
        let (oldest, is_complete) = match (entries.first(), last) {
            (Some(first), _) if first.previous > Position::ZERO => (first.position, first.previous <= after),
            (Some(first), _) => (first.position, after >= self.horizon(first.position)),
            (None, Value::BulkString(last)) => {
                (clock, parse_position(last).is_some_and(|last| last <= after))
            }
            (None, _) => (clock, after >= self.horizon(clock)),
        };
        (!is_complete).then_some(oldest)
    }

    /// The next entries of the index after a position.
    pub(crate) async fn index(
        &self,
        partition: Partition,
        after: Position,
        history: &mut History,
    ) -> Result<IndexPage, TransportError> {
        let names = self.keys.of(partition);
        let (after_arg, count) = (after.to_string(), INDEX_LEN.to_string());
        let call = Call {
            keys: [&names.clock, &names.birth, &names.index].map(String::as_bytes).to_vec(),
            args: [&after_arg, LEAD_MAX_MICROS, &count].map(str::as_bytes).to_vec(),
        };
        let answers = self.script(partition, &self.index, &call, history).await?;
        let [clock, birth, entries] =
            <[Value; 3]>::try_from(answers).map_err(|_| unexpected("the answer to a read"))?;
        let clock = Clock::parse(&clock, &birth)?;
        let entries = Entry::parse_all(entries)?;
        let is_chained = match entries.first() {
            Some(first) if first.previous > Position::ZERO => first.previous <= after,
            Some(first) => after >= self.horizon(first.position),
            None => clock.last_update <= after,
        };
        Ok(IndexPage {
            more: entries.len() == INDEX_LEN,
            is_trimmed: !is_chained,
            clock,
            entries: entries.iter().map(IndexEntry::parse).collect(),
        })
    }

    async fn read_index(
        &self,
        partition: Partition,
        after: Position,
        limits: PageLimits,
        selects: impl Fn(&Topic) -> bool,
    ) -> Result<Page, TransportError> {
        let mut page = Page { more: true, ..Page::at(after) };
        let (mut loss, mut history) = (Loss::default(), History::default());
        let (mut scanned, mut room, mut birth) = (0, limits, None);
        while page.more && room.len > 0 && room.bytes > 0 && scanned < SCAN_LEN_MAX {
            let index = self.index(partition, page.through, &mut history).await?;
            scanned += index.entries.len();
            page.clock = index.clock.now;
            if *birth.get_or_insert(index.clock.birth) != index.clock.birth {
                return Err(TransportError::new("the log began anew during a read"));
            }
            if scanned == index.entries.len() {
                loss = Loss::of_log(after, &index.clock, self.keys.partitions());
            }
            if index.is_trimmed {
                loss.add_all(index.entries.first().map_or(index.clock.now, |entry| entry.position));
            }
            let end = index.entries.last().map(|entry| entry.position);
            let mut taken = index.entries;
            taken.retain(|entry| entry.concerns(|topics| topics.iter().any(&selects)));
            let fit = fitting(taken.iter().map(|entry| entry.len), room);
            if taken.len() > fit {
                taken.truncate(fit);
                page.through = taken.last().map_or(page.through, |entry| entry.position);
            } else {
                page.more = index.more;
                let end = if index.more { end } else { Some(index.clock.now) };
                page.through = end.map_or(page.through, |end| end.max(page.through));
            }
            room.len = room.len.saturating_sub(taken.len());
            room.bytes = room.bytes.saturating_sub(taken.iter().map(|entry| entry.len).sum());
            let fetched = self.fetch(partition, &taken, &mut history).await?;
            for entry in fetched.missing {
                if entry.topics.is_empty() {
                    loss.add_all(entry.position.next());
                }
                for topic in entry.topics.iter().filter(|topic| selects(topic)) {
                    loss.add(topic, entry.position.next());
                }
            }
            page.entries.extend(fetched.found);
        }
        loss.tell(&mut page);
        Ok(page)
    }

    /// The payloads of index entries, as far as they are kept: by their first topics, and if one has discarded it, by
    /// the others. The caller bounds how many.
    pub(crate) async fn fetch<'a>(
        &self,
        partition: Partition,
        entries: &'a [IndexEntry],
        history: &mut History,
    ) -> Result<Fetched<'a>, TransportError> {
        let mut fetched = Fetched { found: Vec::with_capacity(entries.len()), missing: Vec::new() };
        let mut wanted: Vec<&IndexEntry> = entries.iter().collect();
        let mut nth = 0;
        while !wanted.is_empty() {
            let (left, gone): (Vec<_>, Vec<_>) =
                wanted.into_iter().partition(|entry| entry.topics.len() > nth);
            fetched.missing.extend(gone);
            wanted = left;
            if wanted.is_empty() {
                break;
            }
            let mut pipeline = redis::pipe();
            for entry in &wanted {
                let at = format!("{}-0", entry.position);
                let stream = self.keys.of(partition).stream(&entry.topics[nth]);
                pipeline.cmd("XRANGE").arg(stream).arg(&at).arg(&at);
            }
            let answers = self.pipeline(partition, &pipeline, history).await?;
            let mut missing = Vec::new();
            for (answer, entry) in answers.into_iter().zip(wanted) {
                match Entry::parse_all(answer)?.pop() {
                    Some(found) => match decode(partition, found, &self.primaries.unreadable) {
                        Some(appended) => fetched.found.push(appended),
                        None => fetched.missing.push(entry),
                    },
                    None => missing.push(entry),
                }
            }
            wanted = missing;
            nth += 1;
        }
        fetched.found.sort_by_key(|appended| appended.position);
        fetched.missing.sort_by_key(|entry| entry.position);
        Ok(fetched)
    }

    /// The earliest position at which an id was used, if that update is still kept, and its partition.
    pub(crate) async fn locate(&self, id: &EventId) -> Result<Option<(Partition, Position)>, TransportError> {
        let all = self.keys.partitions().iter().map(|partition| self.locate_in(partition, id));
        let found = try_join_all(all).await?;
        Ok(found.into_iter().flatten().min_by_key(|(_, position)| *position))
    }

    async fn locate_in(
        &self,
        partition: Partition,
        id: &EventId,
    ) -> Result<Option<(Partition, Position)>, TransportError> {
        let (mut pipeline, mut history) = (redis::pipe(), History::default());
        pipeline.get(self.keys.of(partition).id(id));
        let Some(Value::BulkString(found)) = self.pipeline(partition, &pipeline, &mut history).await?.pop()
        else {
            return Ok(None);
        };
        let space = found.iter().position(|byte| *byte == b' ').ok_or_else(|| unexpected("an id"))?;
        let position = parse_position(&found[..space]).ok_or_else(|| unexpected("an id"))?;
        let at = format!("{position}-0");
        let mut pipeline = redis::pipe();
        pipeline.cmd("XRANGE").arg(&found[space + 1..]).arg(&at).arg(&at);
        let kept = self.pipeline(partition, &pipeline, &mut history).await?.pop();
        let is_kept = matches!(kept, Some(Value::Array(entries)) if !entries.is_empty());
        Ok(is_kept.then_some((partition, position)))
    }
}

/// What became of index entries whose payloads were fetched.
pub(crate) struct Fetched<'a> {
    pub(crate) found: Vec<Arc<Appended>>,
    /// Their payloads are not kept any more, in position order.
    pub(crate) missing: Vec<&'a IndexEntry>,
}

/// Puts what was read of several topics in order, each update once, and ends the page at its limits.
fn cut(merged: &mut Vec<(Entry, &Topic)>, page: &mut Page, limits: PageLimits) {
    merged.sort_by_key(|(entry, _)| entry.position);
    merged.dedup_by_key(|(entry, _)| entry.position);
    merged.retain(|(entry, _)| entry.position <= page.through);
    let fit = fitting(merged.iter().map(|(entry, _)| entry.len), limits);
    if merged.len() > fit {
        merged.truncate(fit);
        page.more = true;
        page.through = merged.last().map_or(page.through, |(entry, _)| entry.position);
    }
}

/// None for an envelope that this version cannot read: it counts as discarded. As an error it would stop the feed and
/// every replay that comes across it, again and again. Where there is none, a newer version has another place for it.
fn decode(partition: Partition, entry: Entry, unreadable: &Unreadable) -> Option<Arc<Appended>> {
    let is_elsewhere = entry.content.is_empty();
    match envelope::decode(Bytes::from(entry.content)) {
        Ok(update) => Some(Arc::new(Appended { partition, position: entry.position, update })),
        Err(error) => {
            let cause = if is_elsewhere || error.is_newer() { Cause::Newer } else { Cause::Damaged };
            unreadable.note(cause, "an update", format_args!("{}: {error}", entry.position));
            None
        }
    }
}
