//! Clients that send more than a request on a stream. Nothing of it means anything; it is read because the end of the
//! connection stands behind it, and thrown away. Per tick a stream has so many reads, and all streams of a worker together
//! so many: whatever clients send, it costs no more. Who has used its own, or finds none left, waits for the next tick, and
//! meanwhile the kernel holds back the rest.

use std::collections::VecDeque;

use hashbrown::HashMap;

use crate::{
    CloseReason,
    seat::ClientInput,
    seats::Seats,
    wheel::{Entry, Tick},
};

/// Reads of a stream per tick: with 16 KiB each, a megabyte a second. Less would show the end of a client later that sends
/// some megabytes, and goes.
const READS_MAX: usize = 16;
/// Reads of all streams of a worker per tick.
const READS_OF_ALL_MAX: usize = 1024;
/// Streams that are read again at once, between two slices.
const TURN_LEN: usize = 16;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Floods {
    /// Reads of each stream in this tick; those that wait have used all.
    reads: HashMap<Entry, usize>,
    reads_of_all: usize,
    /// Those that wait, and since when.
    waiting: VecDeque<(Entry, Tick)>,
    tick: Tick,
}

impl Floods {
    fn begin(&mut self, now: Tick) {
        if self.tick != now {
            self.tick = now;
            self.reads_of_all = 0;
            self.reads.retain(|_, reads| *reads >= READS_MAX);
            self.reads.shrink_to(0);
        }
    }

    /// How often a stream may be read now.
    fn left(&self, entry: Entry) -> usize {
        let own = READS_MAX.saturating_sub(self.reads.get(&entry).copied().unwrap_or(0));
        own.min(READS_OF_ALL_MAX.saturating_sub(self.reads_of_all))
    }

    fn note(&mut self, entry: Entry, reads: usize) {
        self.reads_of_all += reads;
        *self.reads.entry(entry).or_insert(0) += reads;
    }

    /// Has a stream wait for the next tick, once.
    fn wait(&mut self, entry: Entry) {
        let reads = self.reads.entry(entry).or_insert(0);
        *reads = READS_MAX;
        self.waiting.push_back((entry, self.tick));
    }

    fn waits(&self, entry: Entry) -> bool {
        self.reads.get(&entry).is_some_and(|reads| *reads >= READS_MAX)
    }

    /// Whether one that has waited can be read.
    pub(crate) fn are_due(&self, now: Tick) -> bool {
        let has_waited = self.waiting.front().is_some_and(|(_, since)| *since < now);
        has_waited && (self.tick != now || self.reads_of_all < READS_OF_ALL_MAX)
    }

    fn next(&mut self, now: Tick) -> Option<Entry> {
        if !self.are_due(now) {
            return None;
        }
        let (entry, _) = self.waiting.pop_front()?;
        self.reads.remove(&entry);
        if self.waiting.is_empty() {
            self.waiting = VecDeque::new();
        }
        Some(entry)
    }
}

impl Seats {
    /// Throws away what a client sends, and ends its seat if it is gone.
    pub(crate) fn look_for_input(&mut self, key: usize) {
        let Some(seat) = self.seats.get_mut(key) else { return };
        let entry = (key, seat.serial);
        if self.floods.waits(entry) {
            return;
        }
        let (reads, input) = seat.drain_input(self.floods.left(entry));
        if reads > 0 {
            self.floods.note(entry, reads);
        }
        match input {
            ClientInput::Over => self.end(key, CloseReason::ClientGone),
            ClientInput::More => self.floods.wait(entry),
            ClientInput::Nothing => {}
        }
    }

    /// Goes on with some of those that have sent more.
    pub(crate) fn look_at_floods(&mut self, now: Tick) {
        self.floods.begin(now);
        for _ in 0..TURN_LEN {
            let Some((key, serial)) = self.floods.next(now) else { return };
            if self.get(key, serial).is_some() {
                self.look_for_input(key);
            }
        }
    }
}
