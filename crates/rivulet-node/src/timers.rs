//! What is due on a worker: ends of life, stalled writes, heartbeats.

use bytes::Bytes;
use rivulet_core::{Frame, Position};

use crate::{
    CloseReason,
    seat::Phase,
    seats::Seats,
    wheel::{Entry, Tick, ticks},
};

impl Seats {
    /// Moves the time to `now` and does what is due.
    pub(crate) fn advance_time(&mut self, now: Tick) {
        let mut due: Vec<Entry> = Vec::new();
        self.wheel.advance(now, &mut due);
        for (key, serial) in due {
            if self.get(key, serial).is_some() {
                self.look_at(key, now);
            }
        }
    }

    fn look_at(&mut self, key: usize, now: Tick) {
        let seat = &self.seats[key];
        let serial = seat.serial;
        if seat.ends_at <= now {
            return self.end(key, seat.ends_as);
        }
        let write_deadline = ticks(self.config.write_deadline);
        if seat.blocked_since.is_some_and(|since| now.saturating_sub(since) >= write_deadline) {
            return self.end(key, CloseReason::Stalled);
        }
        if let Some(heartbeat) = self.config.heartbeat
            && now.saturating_sub(seat.last_write) >= ticks(heartbeat)
        {
            self.beat(key, now);
        }
        // The heartbeat may have shown that the client is gone.
        let Some(seat) = self.get(key, serial) else { return };
        let blocked_until = seat.blocked_since.unwrap_or(now) + write_deadline;
        let (ends_at, last_write) = (seat.ends_at, seat.last_write);
        let next_beat = self.config.heartbeat.map_or(Tick::MAX, |every| {
            let every = ticks(every).max(1);
            // Overdue for a seat that is behind: it is looked at again after the same time.
            if now - last_write < every { last_write + every } else { now + every }
        });
        let due = ends_at.min(blocked_until).min(next_beat);
        self.wheel.insert((key, serial), due);
    }

    /// Tells an idle client up to where it has everything. One whose socket is full hears from us when it reads, or is
    /// ended as stalled.
    fn beat(&mut self, key: usize, now: Tick) {
        // During a pass there may be frames that this seat has not been offered: a cursor must never overtake them.
        let serial = self.seats[key].serial;
        self.serve(key);
        let verified = self.verified;
        let Some(seat) = self.get(key, serial) else { return };
        if !seat.partial.is_empty() || seat.last_write == now {
            return;
        }
        seat.partial = match &seat.phase {
            Phase::Live if !seat.behind => match verified.max(seat.cursor) {
                Position::ZERO => Bytes::from_static(COMMENT),
                position => Frame::cursor_heartbeat(position),
            },
            // It waits for the log: proxies must not take it for dead meanwhile.
            Phase::Replaying(replay) if replay.reading && replay.pending.is_empty() => {
                Bytes::from_static(COMMENT)
            }
            _ => return,
        };
        self.serve(key);
    }
}

/// A line that every client ignores.
const COMMENT: &[u8] = b":\n";
