//! The one timer structure of a worker: a hashed wheel of seats, whose hand moves four times a second.
//!
//! An open seat stands in the wheel at least once. When the hand reaches it, the worker looks what is due (end of life,
//! stalled write, heartbeat) and puts it back at the next time that matters. So writing to a seat never touches the wheel.
//! A seat that is let go is put in a second time, at its end: it is looked at twice for that while, which does no harm.

use std::time::Duration;

/// How often the hand moves.
pub(crate) const TICK: Duration = Duration::from_millis(250);
/// One turn of the wheel is 64 s: longer than the usual heartbeat. What is due later is looked at once per turn.
const SLOTS: u32 = 256;
/// How much room a slot keeps that was taken out: with much more, a node through which many clients go would hold four
/// megabytes for nobody.
const SLOT_KEPT_LEN: usize = 32;

/// A time of the worker: ticks since it started. 34 years of them fit.
pub(crate) type Tick = u32;

/// Ticks that make up at least this duration.
pub(crate) fn ticks(duration: Duration) -> Tick {
    u32::try_from(duration.as_millis().div_ceil(TICK.as_millis())).unwrap_or(u32::MAX / 2)
}

/// A seat in the wheel: its key, and the serial that tells it from a later seat with the same key.
pub(crate) type Entry = (usize, u32);

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Wheel {
    slots: Vec<Vec<Entry>>,
    len: usize,
    now: Tick,
}

impl Wheel {
    pub(crate) fn new() -> Self {
        Self { slots: (0..SLOTS).map(|_| Vec::new()).collect(), len: 0, now: 0 }
    }

    pub(crate) fn now(&self) -> Tick {
        self.now
    }

    /// How many times seats stand in it, those that have ended meanwhile included.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Has the seat looked at at `due`, or before if that is more than a turn away.
    pub(crate) fn insert(&mut self, entry: Entry, due: Tick) {
        let due = due.clamp(self.now + 1, self.now + SLOTS - 1);
        self.slots[(due % SLOTS) as usize].push(entry);
        self.len += 1;
    }

    /// Moves the hand and takes out the seats that it passed.
    pub(crate) fn advance(&mut self, to: Tick, due: &mut Vec<Entry>) {
        for tick in self.now + 1..=to.min(self.now + SLOTS) {
            let slot = &mut self.slots[(tick % SLOTS) as usize];
            self.len -= slot.len();
            due.append(slot);
            if slot.capacity() > SLOT_KEPT_LEN {
                slot.shrink_to(0);
            }
        }
        self.now = self.now.max(to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hand_takes_out_what_is_due() {
        let mut wheel = Wheel::new();
        for (key, due) in [(1, 1), (2, 4), (3, 4), (4, 10_000), (5, 0)] {
            wheel.insert((key, 0), due);
        }
        let mut due = Vec::new();
        wheel.advance(1, &mut due);
        assert_eq!((&due[..], wheel.len()), (&[(1, 0), (5, 0)][..], 3));
        due.clear();
        wheel.advance(5, &mut due);
        assert_eq!(due, [(2, 0), (3, 0)]);
        due.clear();
        wheel.advance(5 + SLOTS, &mut due);
        assert_eq!(due, [(4, 0)], "what is far away is looked at once per turn");
    }

    #[test]
    fn a_long_sleep_takes_out_every_seat_once() {
        let mut wheel = Wheel::new();
        for key in 0..300 {
            wheel.insert((key, 0), u32::try_from(key).unwrap());
        }
        let mut due = Vec::new();
        wheel.advance(100_000, &mut due);
        assert_eq!((due.len(), wheel.len()), (300, 0));
        assert_eq!(wheel.now(), 100_000);
    }

    #[test]
    fn durations_round_up() {
        assert_eq!(ticks(Duration::from_millis(1)), 1);
        assert_eq!(ticks(Duration::from_secs(15)), 60);
        assert_eq!(ticks(Duration::ZERO), 0);
    }
}
