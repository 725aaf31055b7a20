//! What the rings of a worker hold together, and how long the longest is: counted as they change, so that nobody has to
//! look through them.

use crate::{config::RING_LEN_MAX, ring::Ring};

/// See the module.
#[derive(Debug)]
pub(crate) struct RingTotals {
    bytes: usize,
    frames: usize,
    /// How many rings hold so many frames; empty ones are not counted.
    by_len: Box<[u32]>,
    len_max: usize,
}

impl Default for RingTotals {
    fn default() -> Self {
        Self { bytes: 0, frames: 0, by_len: vec![0; RING_LEN_MAX + 1].into(), len_max: 0 }
    }
}

impl RingTotals {
    /// The bytes in all rings; a frame counts in each that holds it.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The frames in all rings; one counts in each that holds it.
    pub(crate) fn frames(&self) -> usize {
        self.frames
    }

    /// The frames in the longest ring.
    pub(crate) fn len_max(&self) -> usize {
        self.len_max
    }

    /// Has a ring changed.
    pub(crate) fn change<T>(&mut self, ring: &mut Ring, change: impl FnOnce(&mut Ring) -> T) -> T {
        let (len, bytes) = (ring.len(), ring.bytes());
        let done = change(ring);
        self.bytes = self.bytes + ring.bytes() - bytes;
        self.turn(len, ring.len());
        done
    }

    /// A ring is no more.
    pub(crate) fn remove(&mut self, ring: &Ring) {
        self.bytes -= ring.bytes();
        self.turn(ring.len(), 0);
    }

    fn turn(&mut self, from: usize, to: usize) {
        if from == to {
            return;
        }
        self.frames = self.frames + to - from;
        if from > 0 {
            self.by_len[from] -= 1;
        }
        if to > 0 {
            self.by_len[to] += 1;
        }
        // A ring grows by one frame at a time, so the way down is never longer than the way up was.
        self.len_max = self.len_max.max(to);
        while self.len_max > 0 && self.by_len[self.len_max] == 0 {
            self.len_max -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use rivulet_core::{Partition, Partitions, Position, Topic, Update};

    use super::*;
    use crate::{
        Appended,
        delivery::{Delivery, Encoding},
    };

    /// Pushes an update with this position and a content of this length.
    fn push(totals: &mut RingTotals, ring: &mut Ring, position: u64, len: usize) {
        let update = Update {
            topics: [Topic::parse("a").unwrap()].into_iter().collect(),
            data: vec![b'x'; len].into(),
            private: false,
            id: None,
            event_type: None,
            retry_ms: None,
            trace: None,
        };
        let position = Position::from_micros(position);
        let appended = Appended { partition: Partition::default(), position, update };
        let delivery = Delivery::new(&Encoding::plain(Partitions::ONE), &appended, Default::default());
        totals.change(ring, |ring| ring.push(&delivery));
    }

    #[test]
    fn the_totals_are_those_of_all_rings_whatever_changes() {
        let (mut totals, mut rings) = (RingTotals::default(), [Ring::default(), Ring::default()]);
        let check = |totals: &RingTotals, rings: &[Ring]| {
            let sum = |of: fn(&Ring) -> usize| rings.iter().map(of).sum::<usize>();
            assert_eq!((totals.frames(), totals.bytes()), (sum(Ring::len), sum(Ring::bytes)));
            assert_eq!(Some(totals.len_max()), rings.iter().map(Ring::len).max());
        };
        for position in 1..=RING_LEN_MAX as u64 + 10 {
            push(&mut totals, &mut rings[0], position, 1);
            if position % 3 == 0 {
                push(&mut totals, &mut rings[1], position, 20);
            }
            check(&totals, &rings);
        }
        assert_eq!(totals.len_max(), RING_LEN_MAX);
        push(&mut totals, &mut rings[0], 5_000, 900_000);
        check(&totals, &rings);
        let [first, second] = &mut rings;
        totals.change(first, |ring| ring.lose(Position::from_micros(1_000)));
        totals.change(second, |ring| ring.push(&first.after(Position::ZERO).next().unwrap().clone()));
        check(&totals, &rings);
        totals.change(&mut rings[0], Ring::clear);
        check(&totals, &rings);
        totals.remove(&rings[1]);
        check(&totals, &rings[..1]);
        assert_eq!((totals.frames(), totals.bytes(), totals.len_max()), (0, 0, 0));
    }
}
