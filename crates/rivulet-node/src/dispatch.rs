//! Dispatch: from a delivery to the sockets, in slices.
//!
//! A push marks the source as dirty. A slice looks at some members of the first dirty source; then input is taken, and
//! the next dirty source has its turn. What arrived meanwhile joins the pending frames of all who were not served yet:
//! the busier the node, the more updates travel in one write.
//!
//! **Fairness.** Between two intakes a worker serves at most two slices: one of a pass, one of those who have more to
//! take than one turn gives. A turn is a few writes of some kilobytes. So an update of a quiet topic waits for some
//! hundred writes to a flooded one, however many subscribers that has. There is one exception: if so much of a topic has
//! come that its ring would soon discard what level subscribers have not been offered, or all rings together are full, no
//! input is taken until that pass ends. Others then wait for one pass: at most one turn for each member, never for
//! the flood, which waits in the inbox, and behind it in the feed. The pump serves one worker after another, so once that
//! inbox is full the other workers wait for that pass too: the feed does not run away from whom it serves. Publishers
//! cannot starve this either: their requests are tasks of their own, which wait for the transport after each update, also
//! of a batch, and this task has its turn among them; it yields after each two slices, so they have theirs.

use std::{collections::VecDeque, num::NonZero, sync::Arc};

use rivulet_core::{
    Partitions, Position,
    fault::{self, Fault},
};
use slab::Slab;

use crate::{
    CloseReason,
    batch::Batch,
    census::{Census, StreamState},
    config::{RINGS_BYTES_MAX, SLICE_LEN, WRITES_IN_A_ROW_MAX},
    delivery::Delivery,
    gather::gather,
    pins::Pins,
    replay::{Replay, parts},
    ring::Ring,
    seat::{Phase, Seat, Written, Wrote},
    seats::{Behind, Seats, narrow},
    source::Source,
    stats::{WorkerStats, count},
    timing::note_ages,
    wheel::Tick,
};

/// Which sources have members to look at.
#[derive(Debug, Default)]
pub(crate) struct Passes {
    pub(crate) dirty: VecDeque<u32>,
    /// Sources with so much to write that no input is taken until a pass has ended.
    pub(crate) congested: usize,
    /// Seats whose turn ended before they had everything.
    pub(crate) unfinished: VecDeque<(usize, u32)>,
}

/// What a write needs of the worker.
struct Desk<'a> {
    stats: &'a WorkerStats,
    pins: &'a mut Pins,
    census: &'a mut Census,
    now: Tick,
    /// The log's time for what has just come through the feed; what is read from the log has an age that says nothing.
    live_at: Option<Position>,
}

/// What is to be done with a seat after one write.
enum Next {
    /// It has everything.
    Level,
    /// It has more to take.
    Again,
    /// It is woken by its socket, or by a page that is being read.
    Wait,
    /// What it needs is only in the log.
    ReadLog,
    /// Its connection is broken, or it has been let go and has taken everything.
    End(CloseReason),
}

impl Seats {
    /// Pushes a delivery on the rings of all sources that it matches.
    pub(crate) fn deliver(&mut self, delivery: &Arc<Delivery>) {
        for topic in delivery.topics_here() {
            if let Some(key) = self.by_topic.get(topic) {
                self.push(*key, delivery);
            }
        }
        for pattern in &delivery.patterns {
            if let Some(key) = self.by_pattern.get(&(*pattern, delivery.partition)) {
                self.push(*key, delivery);
            }
        }
    }

    fn push(&mut self, key: u32, delivery: &Arc<Delivery>) {
        let source = &mut self.sources[key as usize];
        if !self.rings.change(&mut source.ring, |ring| ring.push(delivery)) {
            return;
        }
        source.round.add(delivery);
        self.start_round(key, delivery.frame.bytes.len());
    }

    /// Has all members of a source looked at.
    pub(crate) fn start_round(&mut self, key: u32, bytes: usize) {
        let source = &mut self.sources[key as usize];
        source.start_round(bytes);
        if !source.queued {
            source.queued = true;
            self.passes.dirty.push_back(key);
        }
        if !source.congested && source.is_full() {
            source.congested = true;
            self.passes.congested += 1;
        }
    }

    /// Whether all rings together have become so large that passes have to end before more input is taken.
    pub(crate) fn rings_are_full(&self) -> bool {
        self.rings.bytes() > RINGS_BYTES_MAX && !self.passes.dirty.is_empty()
    }

    /// If all rings together have become too large, empties those that are kept only for subscribers behind; these read
    /// the log instead.
    pub(crate) fn relieve_rings(&mut self) {
        if self.rings.bytes() <= RINGS_BYTES_MAX {
            return;
        }
        for (_, source) in &mut self.sources {
            if source.remaining == 0 {
                self.rings.change(&mut source.ring, Ring::clear);
            }
        }
    }

    /// Serves some subscribers. Answers whether there are more to serve.
    pub(crate) fn slice(&mut self) -> bool {
        let mut budget = SLICE_LEN;
        self.clock.look();
        while budget > 0 {
            let Some(&key) = self.passes.dirty.front() else { return false };
            while budget > 0 {
                let Some(member) = self.sources.get_mut(key as usize).and_then(Source::next_member) else {
                    break;
                };
                budget -= 1;
                if !self.seats[member].behind {
                    self.serve(member);
                }
            }
            self.passes.dirty.pop_front();
            match self.sources.get_mut(key as usize) {
                Some(source) if source.remaining > 0 => self.passes.dirty.push_back(key),
                Some(_) => self.end_pass(key),
                None => {}
            }
        }
        !self.passes.dirty.is_empty()
    }

    /// Serves some of those whose turn ended before they had everything.
    pub(crate) fn serve_unfinished(&mut self) {
        for _ in 0..self.passes.unfinished.len().min(SLICE_LEN) {
            let Some((key, serial)) = self.passes.unfinished.pop_front() else { return };
            if self.get(key, serial).is_some() {
                self.serve(key);
            }
        }
        if self.passes.unfinished.is_empty() {
            // A crowd has been served: its memory goes back.
            self.passes.unfinished.shrink_to(SLICE_LEN);
        }
    }

    fn end_pass(&mut self, key: u32) {
        self.end_timing(key);
        let source = &mut self.sources[key as usize];
        source.queued = false;
        source.end_round();
        if std::mem::take(&mut source.congested) {
            self.passes.congested -= 1;
        }
        if source.is_settled() {
            self.rings.change(&mut source.ring, Ring::clear);
        }
        if !self.followed.is_empty() {
            self.count_followed(key);
        }
    }

    /// Writes to a seat what it has still to take, as far as the socket takes it and its turn lasts.
    pub(crate) fn serve(&mut self, key: usize) {
        self.clock.serves();
        for _ in 0..WRITES_IN_A_ROW_MAX {
            match self.write_some(key) {
                Next::Again => {}
                Next::Level => return self.set_behind(key, Behind::No),
                Next::Wait => return self.set_behind(key, Behind::Yes),
                Next::ReadLog => {
                    self.reads_wanted.push((key, self.seats[key].serial));
                    return self.set_behind(key, Behind::Yes);
                }
                Next::End(reason) => return self.end(key, reason),
            }
        }
        self.passes.unfinished.push_back((key, self.seats[key].serial));
        self.set_behind(key, Behind::Yes);
    }

    fn write_some(&mut self, key: usize) -> Next {
        let Self {
            seats,
            sources,
            stats,
            wheel,
            partitions,
            verified_base,
            pins,
            census,
            clock,
            work_began,
            ..
        } = self;
        let seat = &mut seats[key];
        // The wheel's hand stands still between two turns, in which other tasks may take long.
        let now = wheel.now().max(*work_began);
        let mut desk = Desk { stats, pins, census, now, live_at: None };
        match std::mem::replace(&mut seat.phase, Phase::Live) {
            Phase::Reserved => {
                seat.phase = Phase::Reserved;
                Next::Wait
            }
            Phase::Parting => {
                seat.phase = Phase::Parting;
                let nothing = Batch::starting_after(&seat.cursor, seat.reach, *partitions);
                match write(seat, &nothing, &mut desk) {
                    Wrote::All => Next::End(CloseReason::Drained),
                    Wrote::Part => Next::Again,
                    Wrote::Blocked => Next::Wait,
                    Wrote::Gone => Next::End(CloseReason::ClientGone),
                }
            }
            Phase::Replaying(replay) => write_replay(seat, sources, replay, *partitions, &mut desk),
            Phase::Live => {
                let Some(batch) = gather(seat, sources, *partitions, *verified_base) else {
                    let matchers = seat.memberships.iter().map(|m| &sources[m.source as usize].matcher);
                    let replay = Replay::of(parts(matchers, *partitions), None);
                    seat.phase = Phase::Replaying(Box::new(replay));
                    if let Some(trace) = &mut seat.trace {
                        trace.falls_behind();
                    }
                    count(&stats.replays, 1);
                    desk.census.moves(seat.dialect, StreamState::Live, StreamState::Replaying);
                    return Next::Again;
                };
                desk.live_at = Some(clock.log_now());
                let full = batch.is_full();
                match write(seat, &batch, &mut desk) {
                    Wrote::All if full => Next::Again,
                    Wrote::All => Next::Level,
                    Wrote::Part => Next::Again,
                    Wrote::Blocked => Next::Wait,
                    Wrote::Gone => Next::End(CloseReason::ClientGone),
                }
            }
        }
    }
}

/// The defect [`Fault::SeamOffByOne`]: what a ring holds next is taken for written.
fn skip_one(seat: &mut Seat, sources: &Slab<Source>) {
    for membership in &seat.memberships {
        let source = &sources[membership.source as usize];
        let cursor = seat.cursor.position(source.partition);
        if let Some(next) = source.ring.after(cursor).next() {
            seat.reach.advance(&mut seat.cursor, source.partition, next.position());
        }
    }
}

fn write_replay(
    seat: &mut Seat,
    sources: &Slab<Source>,
    mut replay: Box<Replay>,
    partitions: Partitions,
    desk: &mut Desk<'_>,
) -> Next {
    let batch = replay.batch(seat, sources, partitions);
    let wrote = write(seat, &batch, desk);
    if wrote == Wrote::Blocked {
        let begun = seat.begin(&batch);
        count(&desk.stats.deliveries, begun);
        if let Some(trace) = &mut seat.trace {
            trace.wrote(begun, 0);
        }
        desk.pins.note(seat, 0);
    }
    drop(batch);
    let has_page = replay.has_page(&seat.cursor);
    let next = match wrote {
        Wrote::Gone => Next::End(CloseReason::ClientGone),
        Wrote::Blocked => {
            replay.put_back();
            Next::Wait
        }
        Wrote::Part => Next::Again,
        Wrote::All if has_page => Next::Again,
        Wrote::All if replay.is_reading() => Next::Wait,
        Wrote::All if replay.turn_to_next_part(seat, sources) => {
            replay.want_page();
            Next::ReadLog
        }
        Wrote::All => {
            if fault::is(Fault::SeamOffByOne) {
                skip_one(seat, sources);
            }
            seat.phase = Phase::Live;
            if let Some(trace) = &mut seat.trace {
                trace.goes_live();
            }
            desk.census.moves(seat.dialect, StreamState::Replaying, StreamState::Live);
            return Next::Again;
        }
    };
    seat.phase = Phase::Replaying(replay);
    next
}

fn write(seat: &mut Seat, batch: &Batch<'_>, desk: &mut Desk<'_>) -> Wrote {
    let mut written = Written::default();
    let wrote = seat.write(batch, &mut written);
    if written.bytes > 0 {
        seat.last_write = desk.now;
        seat.blocked_since = None;
        count(&desk.stats.bytes_written, written.bytes);
        count(&desk.stats.deliveries, written.deliveries);
        if let Some(trace) = &mut seat.trace {
            trace.wrote(written.deliveries, written.bytes);
        }
        if let Some(log_now) = desk.live_at {
            note_ages(desk.stats, batch, written.deliveries, log_now);
        }
    }
    if !seat.partial.is_empty() || seat.pin.is_some() {
        desk.pins.note(seat, written.begun_len);
    }
    match wrote {
        Wrote::Blocked => {
            let now = NonZero::new(desk.now).unwrap_or(NonZero::<Tick>::MIN);
            _ = seat.blocked_since.get_or_insert(now);
        }
        // There may have been nothing left to write: what it was blocked on has been discarded by the log as well.
        Wrote::All => seat.blocked_since = None,
        Wrote::Part | Wrote::Gone => {}
    }
    wrote
}

impl Seats {
    pub(crate) fn publish_stats(&self) {
        use std::sync::atomic::Ordering::Relaxed;
        self.stats.sources.store(self.sources.len(), Relaxed);
        self.stats.seats.store(self.seats.len(), Relaxed);
        self.stats.behind.store(self.behind, Relaxed);
        self.stats.ring_frames.store(self.rings.frames(), Relaxed);
        self.stats.ring_frames_max.store(self.rings.len_max(), Relaxed);
        self.stats.ring_bytes.store(self.rings.bytes(), Relaxed);
        self.stats.timers.store(self.wheel.len(), Relaxed);
        self.stats.pinned_bytes.store(self.pins.bytes(), Relaxed);
        self.stats.pinned_own_bytes.store(self.pins.own_bytes(), Relaxed);
        self.stats.reserved.store(self.reserved, Relaxed);
        for (shown, counts) in self.stats.streams.iter().zip(self.census.counts()) {
            shown.iter().zip(counts).for_each(|(shown, count)| shown.store(*count, Relaxed));
        }
        debug_assert!(narrow(self.seats.len()) < u32::MAX);
    }
}
