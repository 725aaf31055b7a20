//! Letting streams go: gently, and when a node stops, one after another.
//!
//! Who is let go is told when to come back, takes what it was given before, and comes back with its cursor: to another
//! node, which then reads for it what it missed. A drain ends streams in even slices over its period, one slice per tick
//! and worker, so that the other nodes get them as a slope. The order is drawn: those who subscribed together, to the
//! same topic perhaps, do not go together.

use std::time::Duration;

use bytes::Bytes;
use opentelemetry::KeyValue;
use rand::seq::SliceRandom;

use crate::{
    CloseReason, Node, NodePhase,
    census::StreamState,
    config::{DRAIN_GRACE, PARTING_WAIT, RETRY_MS},
    delivery::Input,
    message_span::number,
    seat::{Phase, Seat},
    seats::Seats,
    trace::Span,
    wheel::{Entry, Tick, ticks},
};

/// The streams that a worker ends, a slice per tick.
#[derive(Debug)]
pub(crate) struct Drain {
    started: Tick,
    slices: u64,
    /// In what part of its slice a stream ends: with few streams, the workers take turns.
    offset: u64,
    total: u64,
    /// Those that are still to be let go.
    queue: Vec<Entry>,
    last_slice: Option<Tick>,
}

impl Drain {
    fn new(now: Tick, period: Duration, mut queue: Vec<Entry>) -> Self {
        queue.shuffle(&mut rand::rng());
        let slices = u64::from(ticks(period).max(1));
        let (offset, total) = (rand::random_range(0..slices), queue.len() as u64);
        Self { started: now, slices, offset, total, queue, last_slice: None }
    }

    /// How many streams may be left after the slice of a tick.
    fn left_after(&self, now: Tick) -> u64 {
        let nth = u64::from(now.saturating_sub(self.started)) + 1;
        self.total.saturating_sub((self.total * nth.min(self.slices) + self.offset) / self.slices)
    }

    fn is_over(&self, now: Tick) -> bool {
        u64::from(now.saturating_sub(self.started)) + 1 >= self.slices
    }
}

impl Seats {
    /// Begins to let all streams go, evenly over a period. Of a drain that is under way, the rest.
    pub(crate) fn start_drain(&mut self, now: Tick, period: Duration) {
        self.drain = Some(Drain::new(now, period, self.staying()));
    }

    /// The open streams that have not been let go.
    fn staying(&self) -> Vec<Entry> {
        let stays = |seat: &Seat| seat.socket.is_some() && !matches!(seat.phase, Phase::Parting);
        let staying = self.seats.iter().filter(|(_, seat)| stays(seat));
        staying.map(|(key, seat)| (key, seat.serial)).collect()
    }

    /// Lets the slice of this tick go.
    pub(crate) fn drain_slice(&mut self, now: Tick) {
        let Some(mut drain) = self.drain.take() else { return };
        if drain.last_slice.replace(now) != Some(now) {
            let left = drain.left_after(now);
            while drain.queue.len() as u64 > left
                && let Some(entry) = drain.queue.pop()
            {
                self.part(entry, now);
            }
            if drain.is_over(now) {
                // Seats that were reserved when it began have opened meanwhile.
                self.staying().into_iter().for_each(|entry| self.part(entry, now));
            }
        }
        self.drain = Some(drain);
    }

    /// Lets a stream go: tells it when to come back, and ends it as soon as it has taken what it was given.
    pub(crate) fn part(&mut self, (key, serial): Entry, now: Tick) {
        let Some(seat) = self.get(key, serial) else { return };
        let (before, dialect) = (StreamState::of(seat), seat.dialect);
        seat.phase = Phase::Parting;
        // Behind the rest of a frame whose writing has begun, never within it.
        seat.put_first(Bytes::from(format!("retry: {}\n\n", rand::random_range(RETRY_MS))));
        let parted = now.saturating_add(ticks(PARTING_WAIT));
        if parted < seat.ends_at {
            (seat.ends_at, seat.ends_as) = (parted, CloseReason::Drained);
        }
        let (ends_at, after) = (seat.ends_at, StreamState::of(seat));
        self.census.moves(dialect, before, after);
        self.serve(key);
        if self.get(key, serial).is_some() {
            // It stands in the wheel a second time, and when the hand comes by here, it ends.
            self.wheel.insert((key, serial), ends_at);
        }
    }
}

impl Node {
    /// No new client should be sent here from now on; who comes is still served. See [`NodePhase`].
    pub fn leave(&self) {
        self.shared.phase.advance(NodePhase::Leaving);
        self.shared.transport.leave();
    }

    /// Refuses new subscribers and lets all streams go, evenly over `period`: each is told when to come back. Returns when
    /// all have gone, which may take some seconds more than the period. What is left then (reservations, for example)
    /// is for [`Node::shutdown`]. [`Node::stats`] says how far it is.
    pub async fn drain(&self, period: Duration) {
        self.leave();
        self.shared.phase.advance(NodePhase::Draining);
        let (span, before) = (Span::root("drain"), self.stats());
        span.set(|| [KeyValue::new("rivulet.streams", number(before.connections as u64))]);
        if self.shared.places.taken() == 0 {
            return;
        }
        let wait = period.saturating_add(DRAIN_GRACE);
        let drained = async {
            self.shared.hand_to_all(|| Input::Drain(period)).await;
            self.shared.places.emptied().await;
        };
        if tokio::time::timeout(wait, drained).await.is_err() {
            let connections = self.shared.places.taken();
            tracing::warn!(connections, "connections were still there when the node had drained");
            span.fail("timeout", "connections were still there when the node had drained");
        }
        span.set(|| {
            let closed = self.stats().closed.into_iter().zip(before.closed).map(|(now, before)| now - before);
            let of_reason = CloseReason::ALL.iter().zip(closed).filter(|(_, count)| *count > 0);
            of_reason.map(|(reason, count)| {
                KeyValue::new(format!("rivulet.closed.{}", reason.as_str()), number(count))
            })
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(streams: u64, period: Duration) -> Drain {
        Drain::new(100, period, (0..streams).map(|key| (usize::try_from(key).unwrap(), 0)).collect())
    }

    #[test]
    fn slices_are_even() {
        for (streams, seconds) in [(1000, 10), (7, 20), (1, 1), (50_000, 20)] {
            let drain = drain(streams, Duration::from_secs(seconds));
            let slices = seconds * 4;
            let mut left = streams;
            for nth in 0..slices {
                let now = 100 + u32::try_from(nth).unwrap();
                let after = drain.left_after(now);
                let ended = left - after;
                assert!(ended >= streams / slices && ended <= streams / slices + 1, "{ended} of {streams}");
                assert_eq!(drain.is_over(now), nth == slices - 1);
                left = after;
            }
            assert_eq!(left, 0, "of {streams} in {seconds} s");
        }
    }

    #[test]
    fn a_drain_without_a_period_is_one_slice() {
        let drain = drain(100, Duration::ZERO);
        assert_eq!((drain.left_after(100), drain.is_over(100)), (0, true));
    }

    #[test]
    fn those_who_came_together_do_not_go_together() {
        let drain = drain(1000, Duration::from_secs(10));
        let first: Vec<usize> = drain.queue.iter().rev().take(25).map(|(key, _)| *key).collect();
        let spread = first.iter().max().unwrap() - first.iter().min().unwrap();
        assert!(spread > 250, "the first slice is drawn from all: {first:?}");
    }
}
