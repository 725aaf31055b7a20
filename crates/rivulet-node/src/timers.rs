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
        let blocked_until = seat.blocked_since.map_or(now, |since| since) + write_deadline;
        let last_write = seat.last_write;
        let next_beat =
            self.config.heartbeat.map_or(Tick::MAX, |every| last_write.saturating_add(ticks(every)));
        let due = self.seats[key].ends_at.min(blocked_until).min(next_beat);
        self.wheel.insert((key, serial), due);
    }

    /// Tells an idle client that it is level. One that is behind hears enough from us, or is stalled.
    fn beat(&mut self, key: usize, now: Tick) {
        let verified = self.verified;
        let seat = &mut self.seats[key];
        if seat.behind || !matches!(seat.phase, Phase::Live) {
            return;
        }
        let position = verified.max(seat.cursor);
        seat.partial = if position == Position::ZERO {
            Bytes::from_static(b":\n")
        } else {
            Frame::cursor_heartbeat(position)
        };
        seat.last_write = now;
        self.serve(key);
    }
}
