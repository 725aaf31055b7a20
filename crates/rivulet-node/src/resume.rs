//! Where a subscriber continues, and what its answer says about it.

use std::{rc::Rc, sync::Arc};

use rivulet_core::{
    Cursor, EventId, Frame, LastEventId, Matcher, Partition, Partitions, Position, cursor::position_id,
};
use tokio::task::JoinSet;

use crate::{
    Gap, Reservation, TransportError,
    config::{CLOCK_SKEW_MAX_MICROS, UNHEARD_MAX_MICROS},
    gap,
    pages::{Ask, SharedPage},
    places::Place,
    replay::{Part, Replay, parts},
    seat::{Phase, Seat},
    stats::{WorkerStats, count},
    subscribe::{Resumed, SubscribeError},
    trace,
    worker::WorkerShared,
};

/// From where a subscriber reads.
enum Start {
    /// From the beginning, as it wished.
    Earliest,
    /// From the beginning, since nobody knows its last id.
    Unknown,
    After(Cursor),
    /// After an update in one partition, at the position; in the others from some time before.
    AfterUpdate(Cursor, Position),
}

/// What is known of one partition before the stream opens.
struct Opening {
    part: Part,
    after: Position,
    page: Arc<SharedPage>,
    /// Whether the asked position is none of this partition's history: everything is read.
    unknown: bool,
}

impl Reservation {
    /// Finds where the subscriber continues, and reads the first pages, which tell whether something is missing.
    pub(crate) async fn resume(
        &mut self,
        last: LastEventId,
        matchers: &[Matcher],
    ) -> Result<(), SubscribeError> {
        let start = self.find(last).await?;
        let mut openings = self.read_first_pages(&start, matchers).await?;
        let known = match &start {
            Start::Earliest => {
                // It asked for what is kept, and knows that this may not be all.
                openings.iter_mut().for_each(|opening| opening.part.told = opening.gap().cloned());
                false
            }
            Start::AfterUpdate(_, position) => {
                for opening in &mut openings {
                    self.look_closer(opening, *position).await?;
                }
                true
            }
            Start::Unknown => false,
            Start::After(_) => true,
        };
        let complete = openings.iter().all(|opening| !opening.unknown && opening.lacks_nothing());
        self.resumed = Some(if known && complete { Resumed::Known } else { Resumed::Earliest });
        let turn = self.turn.take();
        let mut seats = self.worker.seats.borrow_mut();
        let stats = seats.stats.clone();
        count(&stats.replays, 1);
        let partitions = seats.partitions;
        let seat = self.seat(&mut seats)?;
        let mut cursor = Cursor::at(openings.iter().map(|opening| opening.after).min().unwrap_or_default());
        openings.iter().for_each(|opening| cursor.advance(opening.part.partition, opening.after));
        seat.cursor = cursor;
        if let Some(trace) = &mut seat.trace {
            trace.prepares_replay();
        }
        seat.tell_unknown(&mut openings, partitions, &stats);
        seat.start_replay(openings, turn, partitions, &stats);
        Ok(())
    }

    async fn find(&self, last: LastEventId) -> Result<Start, TransportError> {
        Ok(match last {
            LastEventId::Earliest => Start::Earliest,
            LastEventId::Unknown => Start::Unknown,
            LastEventId::Cursor(cursor) => Start::After(cursor),
            LastEventId::Publisher(id) => self.locate(id).await?.unwrap_or(Start::Unknown),
        })
    }

    async fn locate(&self, id: EventId) -> Result<Option<Start>, TransportError> {
        let found = self.worker.node.locations.find(id).await?;
        Ok(found.map(|(partition, position)| {
            // The clocks of two partitions are those of two servers: what the subscriber saw of the others when it saw
            // this update is not known exactly. Better twice than lost.
            let earlier = position.as_micros().saturating_sub(CLOCK_SKEW_MAX_MICROS);
            let mut cursor = Cursor::at(Position::from_micros(earlier));
            cursor.advance(partition, position);
            Start::AfterUpdate(cursor, position)
        }))
    }

    /// The first page of every partition, from the beginning where the asked position is unknown.
    async fn read_first_pages(
        &self,
        start: &Start,
        matchers: &[Matcher],
    ) -> Result<Vec<Opening>, SubscribeError> {
        let mut reads = JoinSet::new();
        for mut part in parts(matchers.iter(), self.worker.node.partitions) {
            let (cursor, unknown) = match start {
                Start::Earliest => (Cursor::default(), false),
                Start::Unknown => (Cursor::default(), true),
                Start::After(cursor) | Start::AfterUpdate(cursor, _) => (cursor.clone(), false),
            };
            {
                let mut seats = self.worker.seats.borrow_mut();
                self.seat(&mut seats)?;
                part.floor = seats.floor(self.key, part.partition);
            }
            reads.spawn_local(trace::carried(Opening::read(self.worker.clone(), part, cursor, unknown)));
        }
        let mut openings = Vec::with_capacity(reads.len());
        while let Some(read) = reads.join_next().await {
            let read =
                read.map_err(|error| TransportError::new(format!("a read was interrupted: {error}")))?;
            openings.push(read?);
        }
        openings.sort_by_key(|opening| opening.part.partition);
        Ok(openings)
    }

    /// A gap that lies in the time before the update which the subscriber named is none: the subscriber had seen that.
    async fn look_closer(&self, opening: &mut Opening, position: Position) -> Result<(), TransportError> {
        if opening.after < position && opening.gap().is_some() {
            let ask = Ask { after: position, ..opening.part.ask(&Cursor::default()) };
            let page = self.worker.node.pages.read(ask).await?;
            if page.gap_after(position).is_none() {
                opening.part.told = opening.gap().cloned();
            }
        }
        Ok(())
    }
}

impl Opening {
    async fn read(
        worker: Rc<WorkerShared>,
        part: Part,
        cursor: Cursor,
        mut unknown: bool,
    ) -> Result<Self, TransportError> {
        let mut after = cursor.position(part.partition);
        let mut page = worker.node.pages.read(part.ask(&cursor)).await?;
        if after > page.clock {
            // The partition's history has not got there: it is another one, or it was lost, or the cursor has the
            // position from another partition, whose clock is a little ahead while this one has nothing to do.
            unknown = !is_of_another_partition(&cursor, part.partition, page.clock, worker.node.partitions);
            if unknown && after.as_micros() - page.clock.as_micros() <= UNHEARD_MAX_MICROS {
                // To be answered by who knows, soon: a false "unknown" would bring everything a second time.
                let reason = "a cursor is a little ahead of the log: another server may have taken it over";
                return Err(TransportError::new(reason));
            }
            after = if unknown { Position::ZERO } else { page.clock };
            page = worker.node.pages.read(part.ask(&Cursor::at(after))).await?;
        }
        Ok(Self { part, after, page, unknown })
    }

    fn gap(&self) -> Option<&Gap> {
        self.page.gap_after(self.after)
    }

    fn lacks_nothing(&self) -> bool {
        let Some(gap) = self.gap() else { return true };
        self.part.told.as_ref().is_some_and(|told| gap::covers(told, gap))
    }

    /// The position just before what follows in this partition.
    fn start(&self) -> Position {
        let first = self.page.after(self.after).first();
        first.map_or(self.page.through, |first| gap::before(first.position()))
    }

    /// Where the cursor stands in this partition once an unknown past has been told.
    fn known_up_to(&self) -> Position {
        if self.unknown { self.start() } else { self.after }
    }

    /// From where on everything is kept.
    fn oldest(&self) -> Position {
        let first = self.page.after(self.after).first();
        let first = first.map_or(self.page.through, |first| first.position());
        self.gap().map_or(first, |gap| gap.oldest.max(first))
    }
}

/// Whether a cursor may know a position that a partition has not reached from another one: most ids name only one
/// position for all partitions.
fn is_of_another_partition(
    cursor: &Cursor,
    partition: Partition,
    clock: Position,
    partitions: Partitions,
) -> bool {
    let is_exact = cursor.ahead().iter().any(|(ahead, _)| *ahead == partition);
    let lead = cursor.base().as_micros().saturating_sub(clock.as_micros());
    partitions != Partitions::ONE && !is_exact && lead <= CLOCK_SKEW_MAX_MICROS
}

impl Seat {
    /// Says first of all that what the subscriber has missed is not known, where its position is not of the hub's
    /// history.
    fn tell_unknown(&mut self, openings: &mut [Opening], partitions: Partitions, stats: &WorkerStats) {
        let unknown = || openings.iter().filter(|opening| opening.unknown);
        let Some(oldest) = unknown().map(Opening::oldest).max() else { return };
        let mut names: Vec<&str> = Vec::new();
        for opening in unknown() {
            for name in gap::names(None, &opening.part.selection) {
                // A pattern is read in every partition.
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
        let mut cursor = Cursor::at(openings.iter().map(Opening::known_up_to).min().unwrap_or_default());
        for opening in &mut *openings {
            cursor.advance(opening.part.partition, opening.known_up_to());
            if opening.unknown {
                opening.part.told = Some(Gap { topics: None, oldest });
            }
        }
        let id = cursor.id(partitions);
        self.cursor = cursor;
        let oldest = position_id(partitions, oldest);
        count(&stats.gaps, 1);
        if let Some(trace) = &mut self.trace {
            trace.is_told_of_gap();
        }
        self.put_first(Frame::gap(&id, names.iter().map(String::as_str), &oldest));
    }

    /// The pages that were read are shared, so most of them can be had again at once: only one is held, since a
    /// subscriber of all partitions would hold too much.
    fn start_replay(
        &mut self,
        openings: Vec<Opening>,
        turn: Option<Place>,
        partitions: Partitions,
        stats: &WorkerStats,
    ) {
        let alone = openings.len() == 1;
        let mut first = None;
        let mut parts = smallvec::SmallVec::with_capacity(openings.len());
        for Opening { mut part, page, after, .. } in openings {
            if alone {
                first = Some(page);
            } else if page.deliveries.is_empty() && page.gap_after(after).is_none() {
                self.cursor.advance(part.partition, page.through);
                part.more = page.more;
            } else {
                part.more = true;
            }
            parts.push(part);
        }
        self.phase = Phase::Replaying(Box::new(Replay::of(parts, turn)));
        if let Some(page) = first {
            self.take_page(page, partitions, stats);
        }
    }
}
