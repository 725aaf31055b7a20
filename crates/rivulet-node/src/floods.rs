//! Clients that send more than a request on a stream. Nothing of it means anything; it is read because the end of the
//! connection stands behind it, and thrown away. A client has so much of that per tick as [`Seat::drain_input`] reads, and
//! the kernel holds back the rest: whatever it sends, it costs no more than that.

use hashbrown::HashSet;

use crate::{
    CloseReason,
    seat::{ClientInput, Seat},
    seats::Seats,
    wheel::{Entry, Tick},
};

/// The streams that have had their share of this tick.
#[derive(Debug, Default)]
pub(crate) struct Floods {
    had: HashSet<Entry>,
    tick: Tick,
}

impl Floods {
    /// Those that have a share again, if a tick has begun.
    fn renewed(&mut self, now: Tick) -> HashSet<Entry> {
        if self.tick == now {
            return HashSet::new();
        }
        self.tick = now;
        std::mem::take(&mut self.had)
    }
}

impl Seats {
    /// Throws away what a client sends, and ends its seat if it is gone.
    pub(crate) fn look_for_input(&mut self, key: usize) {
        let Some(entry) = self.seats.get(key).map(|seat| (key, seat.serial)) else { return };
        if !self.floods.had.is_empty() && self.floods.had.contains(&entry) {
            return;
        }
        match self.seats.get_mut(key).map(Seat::drain_input) {
            Some(ClientInput::Over) => self.end(key, CloseReason::ClientGone),
            Some(ClientInput::More) => {
                self.floods.had.insert(entry);
            }
            Some(ClientInput::Nothing) | None => {}
        }
    }

    /// Goes on with those that have sent more.
    pub(crate) fn look_at_floods(&mut self, now: Tick) {
        for (key, serial) in self.floods.renewed(now) {
            if self.get(key, serial).is_some() {
                self.look_for_input(key);
            }
        }
    }
}
