//! What readers that take nothing keep in memory: the frames that they have begun and not finished.
//!
//! A seat holds the rest of at most one frame, but that rest keeps the whole frame alive, long after the rings have let
//! it go. Frames are shared, so what counts is each frame once, however many seats hold a rest of it. A rest is known by
//! where it ends: all rests of a frame end where the frame does.

use std::{cmp::Reverse, num::NonZeroU32};

use bytes::Bytes;
use hashbrown::HashMap;
use slab::Slab;

use crate::{
    CloseReason,
    batch::Reach,
    config::{PINNED_BYTES_LOW, PINNED_BYTES_MAX, REST_COPIED_LEN_MAX},
    seat::Seat,
    seats::{Seats, narrow},
    wheel::Tick,
};

/// A frame that is counted for a seat; as small as can be, since every seat has room for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PinKey(NonZeroU32);

impl PinKey {
    fn new(key: usize) -> Self {
        Self(NonZeroU32::MIN.saturating_add(narrow(key)))
    }

    fn key(self) -> usize {
        self.0.get() as usize - 1
    }
}

/// Who else may hold a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    /// It is one of the node's: rings and other workers.
    Shared,
    /// A copy, or a frame with an id of its subscriber's own: nobody.
    Own,
}

#[derive(Debug)]
struct Pinned {
    end: usize,
    /// Of the whole frame.
    len: usize,
    whose: Whose,
    holders: u32,
}

/// The frames that the seats of one worker have begun.
#[derive(Debug, Default)]
pub(crate) struct Pins {
    frames: Slab<Pinned>,
    by_end: HashMap<usize, PinKey>,
    bytes: usize,
    own_bytes: usize,
}

impl Pins {
    /// The bytes of all frames that some seat has begun and not finished.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Those of them that nobody else holds.
    pub(crate) fn own_bytes(&self) -> usize {
        self.own_bytes
    }

    /// Notes what a seat has begun, after a write. `begun_len` is the length of the frame if it was begun right now.
    pub(crate) fn note(&mut self, seat: &mut Seat, begun_len: usize) {
        let rest_len = seat.partial.len();
        let mut len = begun_len.max(rest_len);
        if let Some(pin) = seat.pin {
            let pinned = &self.frames[pin.key()];
            let is_same = pinned.end == end(&seat.partial);
            if is_same && !is_worth_a_copy(rest_len, pinned.len) {
                return;
            }
            if is_same {
                len = pinned.len;
            }
            self.release(pin);
            seat.pin = None;
        }
        if rest_len == 0 {
            return;
        }
        let mut whose = if seat.reach == Reach::Several { Whose::Own } else { Whose::Shared };
        if is_worth_a_copy(rest_len, len) {
            seat.partial = Bytes::copy_from_slice(&seat.partial);
            (len, whose) = (rest_len, Whose::Own);
        }
        seat.pin = Some(self.hold(end(&seat.partial), len, whose));
    }

    fn hold(&mut self, end: usize, len: usize, whose: Whose) -> PinKey {
        if let Some(pin) = self.by_end.get(&end) {
            self.frames[pin.key()].holders += 1;
            return *pin;
        }
        let pin = PinKey::new(self.frames.insert(Pinned { end, len, whose, holders: 1 }));
        self.by_end.insert(end, pin);
        self.bytes += len;
        if whose == Whose::Own {
            self.own_bytes += len;
        }
        pin
    }

    /// Takes back what was counted for a seat.
    pub(crate) fn release(&mut self, pin: PinKey) {
        let pinned = &mut self.frames[pin.key()];
        pinned.holders -= 1;
        if pinned.holders > 0 {
            return;
        }
        self.by_end.remove(&pinned.end);
        self.bytes -= pinned.len;
        if pinned.whose == Whose::Own {
            self.own_bytes -= pinned.len;
        }
        self.frames.remove(pin.key());
        if self.frames.is_empty() {
            *self = Self::default();
        }
    }

    /// A seat's share of what it pins.
    fn share(&self, pin: PinKey) -> usize {
        let pinned = &self.frames[pin.key()];
        pinned.len / pinned.holders as usize
    }
}

/// Whether a rest is better kept without the frame that it is of.
fn is_worth_a_copy(rest_len: usize, frame_len: usize) -> bool {
    rest_len > 0 && rest_len <= REST_COPIED_LEN_MAX && frame_len >= 8 * REST_COPIED_LEN_MAX
}

/// Where bytes end in memory.
fn end(bytes: &Bytes) -> usize {
    bytes.as_ptr() as usize + bytes.len()
}

impl Seats {
    /// If too much is pinned, ends those who do it: who has taken nothing for the longest time first, and of those who
    /// began together, who pins the most.
    pub(crate) fn relieve_pins(&mut self) {
        if self.pins.bytes() <= PINNED_BYTES_MAX {
            return;
        }
        let rank = |seat: &Seat, pin| {
            // A seat that was not blocked at its last write comes last.
            let blocked_since = seat.blocked_since.map_or(Tick::MAX, NonZeroU32::get);
            (blocked_since, Reverse(self.pins.share(pin)))
        };
        let pinning = self.seats.iter().filter_map(|(key, seat)| Some((rank(seat, seat.pin?), key)));
        let mut pinning: Vec<_> = pinning.collect();
        pinning.sort_unstable();
        for (_, key) in pinning {
            if self.pins.bytes() <= PINNED_BYTES_LOW {
                break;
            }
            self.end(key, CloseReason::Stalled);
        }
        tracing::debug!(
            pinned.bytes = self.pins.bytes(),
            "subscribers that take nothing pinned too much memory: some were ended as stalled"
        );
    }
}
