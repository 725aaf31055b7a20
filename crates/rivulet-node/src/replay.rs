//! A replay: how a subscriber reads the log until it reaches the rings, partition by partition, in pages that it shares.

use std::sync::Arc;

use rivulet_core::{Cursor, Frame, Matcher, Partition, Partitions, Position, Topic, cursor::position_id};
use slab::Slab;
use smallvec::SmallVec;
use tokio::task::JoinHandle;

use crate::{
    Gap, Selection,
    batch::{Batch, Reach},
    gap,
    gather::take,
    pages::{Ask, SharedPage},
    places::Place,
    seat::{Phase, Seat},
    source::Source,
    stats::{WorkerStats, count},
};

/// One partition of a replay. Up to where it has been read is said by the seat's cursor.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) partition: Partition,
    pub(crate) selection: Selection,
    /// Whether the log had more when it was read last.
    pub(crate) more: bool,
    /// Of what gap the subscriber knows.
    pub(crate) told: Option<Gap>,
    /// Up to here the log must be read: later deliveries are in the rings.
    pub(crate) floor: Position,
}

/// One page at most, held while the client takes it; then the next is read. A client that stalls holds none.
#[derive(Debug)]
pub(crate) struct Replay {
    pub(crate) parts: SmallVec<[Part; 1]>,
    /// The part that is read now.
    current: usize,
    /// Of it, the page that is not written completely yet.
    page: Option<Arc<SharedPage>>,
    reading: Reading,
    /// The turn of a subscriber that came with a last id.
    _turn: Option<Place>,
}

/// Whether a page is being read now.
#[derive(Debug)]
enum Reading {
    No,
    /// It is asked for; the task that reads it is still to be started.
    Wanted,
    /// The task, which ends with the seat: a read that nobody waits for must not have its turn.
    Task(JoinHandle<()>),
}

impl Drop for Reading {
    fn drop(&mut self) {
        if let Self::Task(task) = self {
            task.abort();
        }
    }
}

impl Replay {
    /// A replay of these parts.
    pub(crate) fn of(parts: SmallVec<[Part; 1]>, turn: Option<Place>) -> Self {
        Self { parts, current: 0, page: None, reading: Reading::No, _turn: turn }
    }

    /// Whether it waits for a page, with nothing to write.
    pub(crate) fn waits(&self) -> bool {
        self.is_reading() && self.page.is_none()
    }

    pub(crate) fn is_reading(&self) -> bool {
        !matches!(self.reading, Reading::No)
    }

    /// Notes that a page is to be read.
    pub(crate) fn want_page(&mut self) {
        self.reading = Reading::Wanted;
    }

    /// Takes over the task that reads the page.
    pub(crate) fn own(&mut self, task: JoinHandle<()>) {
        self.reading = Reading::Task(task);
    }

    /// What is still to be written of the page.
    pub(crate) fn batch<'a>(
        &'a self,
        seat: &Seat,
        sources: &Slab<Source>,
        partitions: Partitions,
    ) -> Batch<'a> {
        let mut batch = Batch::starting_after(&seat.cursor, seat.reach, partitions);
        let Some(page) = &self.page else { return batch };
        let partition = self.parts[self.current].partition;
        for delivery in page.after(seat.cursor.position(partition)) {
            if batch.is_full() {
                return batch;
            }
            take(seat, sources, &mut batch, delivery);
        }
        batch.pass(partition, page.through);
        batch
    }

    /// Lets the page go once the cursor is through it. Answers whether there is still one.
    pub(crate) fn has_page(&mut self, cursor: &Cursor) -> bool {
        let position = cursor.position(self.parts[self.current].partition);
        self.page = self.page.take().filter(|page| position < page.through);
        self.page.is_some()
    }

    /// Gives back the page that is not written completely, for as long as the client takes nothing: clients that stall at
    /// as many places of the log would hold as many pages. The cursor is exact, so the part is read on from there.
    pub(crate) fn put_back(&mut self) {
        if self.page.take().is_some() {
            self.parts[self.current].more = true;
        }
    }

    /// Turns to the part that has to be read on, of several the one that is furthest behind. `false` at the seam: the
    /// rings hold everything after what the log has given.
    pub(crate) fn turn_to_next_part(&mut self, seat: &Seat, sources: &Slab<Source>) -> bool {
        for membership in &seat.memberships {
            let source = &sources[membership.source as usize];
            if let Ok(nth) = self.parts.binary_search_by_key(&source.partition, |part| part.partition) {
                let part = &mut self.parts[nth];
                part.floor = part.floor.max(source.ring.floor());
            }
        }
        let read_up_to = |part: &Part| seat.cursor.position(part.partition);
        let unread =
            self.parts.iter().enumerate().filter(|(_, part)| part.more || part.floor > read_up_to(part));
        match unread.min_by_key(|(_, part)| read_up_to(part)) {
            Some((nth, _)) => self.current = nth,
            None => return false,
        }
        true
    }

    /// What is to be read next.
    pub(crate) fn ask(&self, cursor: &Cursor) -> Ask {
        self.parts[self.current].ask(cursor)
    }
}

impl Part {
    /// What is to be read next.
    pub(crate) fn ask(&self, cursor: &Cursor) -> Ask {
        let Self { partition, ref selection, floor, .. } = *self;
        Ask { partition, selection: selection.clone(), after: cursor.position(partition), floor }
    }

    /// The gap in a page that the subscriber does not know of yet.
    fn untold(&mut self, page: &SharedPage, position: Position) -> Option<Gap> {
        let gap = page.gap_after(position)?;
        if self.told.as_ref().is_some_and(|told| gap::covers(told, gap)) {
            return None;
        }
        self.told = Some(gap.clone());
        self.told.clone()
    }
}

impl Seat {
    /// Takes a page of the part that is read, and says first what is missing in it.
    pub(crate) fn take_page(&mut self, page: Arc<SharedPage>, partitions: Partitions, stats: &WorkerStats) {
        let Phase::Replaying(replay) = &mut self.phase else { return };
        // The task ends with this call: to be aborted changes nothing for it any more.
        replay.reading = Reading::No;
        if let Some(trace) = &mut self.trace {
            trace.takes_page();
        }
        let part = &mut replay.parts[replay.current];
        part.more = page.more;
        let position = self.cursor.position(part.partition);
        let partition = part.partition;
        if let Some(gap) = part.untold(&page, position) {
            let first = page.after(position).first();
            let start = first.map_or(page.through, |first| gap::before(first.position()));
            self.reach.advance(&mut self.cursor, partition, start);
            let names = gap::names(gap.topics.as_ref(), &part.selection);
            let oldest = position_id(partitions, gap.oldest);
            let event = Frame::gap(&self.cursor.id(partitions), names, &oldest);
            replay.page = Some(page);
            tracing::debug!(subscriber.id = %self.id, %partition, oldest, "a stream is told of a gap");
            count(&stats.gaps, 1);
            if let Some(trace) = &mut self.trace {
                trace.is_told_of_gap();
            }
            self.put_first(event);
        } else {
            replay.page = Some(page);
        }
    }
}

/// What a subscriber with these matchers reads from the log, by partition: topics stand in one, what other matchers
/// select may stand in any.
pub(crate) fn parts<'a>(
    matchers: impl Iterator<Item = &'a Matcher> + Clone,
    partitions: Partitions,
) -> SmallVec<[Part; 1]> {
    let mut topics: Vec<(Partition, &Topic)> = Vec::new();
    let mut others: Vec<&Matcher> = Vec::new();
    for matcher in matchers {
        match matcher {
            Matcher::Exact(topic) => topics.push((partitions.of(topic), topic)),
            // A seat has a source, and so its matcher, for each partition.
            _ if !others.contains(&matcher) => others.push(matcher),
            _ => {}
        }
    }
    topics.sort_by_key(|(partition, _)| *partition);
    let part =
        |partition, selection| Part { partition, selection, more: false, told: None, floor: Position::ZERO };
    if others.is_empty() {
        let by_partition = topics.chunk_by(|(a, _), (b, _)| a == b);
        let selection = |topics: &[(Partition, &Topic)]| {
            Selection::Topics(topics.iter().map(|(_, topic)| Topic::clone(topic)).collect())
        };
        return by_partition.map(|topics| part(topics[0].0, selection(topics))).collect();
    }
    // Shared by all partitions that have none of the topics.
    let shared: Arc<[Matcher]> = others.into_iter().cloned().collect();
    let selection = |partition| {
        let here = || topics.iter().filter(|(of, _)| *of == partition);
        if here().next().is_none() {
            return Selection::Matching(shared.clone());
        }
        let exact = here().map(|(_, topic)| Matcher::Exact(Topic::clone(topic)));
        Selection::Matching(exact.chain(shared.iter().cloned()).collect())
    };
    partitions.iter().map(|partition| part(partition, selection(partition))).collect()
}

/// Whether a subscriber reads one partition or several.
pub(crate) fn reach(mut of_sources: impl Iterator<Item = Partition>) -> Reach {
    let first = of_sources.next().unwrap_or_default();
    if of_sources.all(|partition| partition == first) { Reach::One(first) } else { Reach::Several }
}

#[cfg(test)]
mod tests;
