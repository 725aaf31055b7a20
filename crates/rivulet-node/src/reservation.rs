//! A reservation: a seat that waits for its socket. The subscription is verified before the stream opens.

use std::{rc::Rc, time::Duration};

use bytes::Bytes;
use rivulet_core::{LastEventId, Matcher, Position};
use smallvec::SmallVec;
use uuid::Uuid;

use crate::{
    CloseReason, Interest, TransportError,
    ready::SeatWaker,
    registry::interest,
    replay::{Replay, Told, selection},
    seat::{Phase, Seat},
    socket::Socket,
    stats::count,
    subscribe::{Resumed, SubscribeError, SubscribeRequest},
    wheel::{Tick, ticks},
    worker::WorkerShared,
};

/// A seat without a socket. Gives everything back when it is dropped before it was opened.
pub struct Reservation {
    worker: Rc<WorkerShared>,
    key: usize,
    opened: bool,
    resumed: Option<Resumed>,
}

impl Reservation {
    pub(crate) async fn make(
        worker: Rc<WorkerShared>,
        request: SubscribeRequest,
    ) -> Result<Self, SubscribeError> {
        let SubscribeRequest { matchers, grants, last_event_id, expires_in } = request;
        if !worker.is_open() {
            return Err(SubscribeError::Closing);
        }
        let place = worker.node.places.take().ok_or(SubscribeError::NodeFull)?;
        let key = {
            let mut seats = worker.seats.borrow_mut();
            let (ends_at, ends_as) = end_of_life(worker.now(), seats.config.lifetime, expires_in);
            seats.serials_drawn = seats.serials_drawn.wrapping_add(1);
            let seat = Seat {
                id: Uuid::new_v4(),
                serial: seats.serials_drawn,
                phase: Phase::Reserved,
                socket: None,
                waker: SeatWaker::waker(seats.seats.vacant_key(), &worker.ready),
                partial: Bytes::new(),
                cursor: Position::ZERO,
                memberships: SmallVec::new(),
                grants: grants.subscribe.into_boxed_slice(),
                behind: false,
                blocked_since: None,
                last_write: 0,
                ends_at,
                ends_as,
                _place: place,
            };
            seats.add(seat, &matchers)
        };
        let mut reservation = Self { worker, key, opened: false, resumed: None };
        reservation.confirm().await?;
        if let Some(last_event_id) = last_event_id {
            reservation.resume(last_event_id, &matchers).await?;
        }
        Ok(reservation)
    }

    /// What the answer says about the last id that the subscriber sent; `None` if it sent none.
    pub fn resumed(&self) -> Option<Resumed> {
        self.resumed
    }

    /// The id of the subscriber, drawn by the hub per connection.
    pub fn subscriber_id(&self) -> Uuid {
        self.worker.seats.borrow().seats[self.key].id
    }

    /// Hands the socket over and starts the stream: `head` is written first, whatever it is, then the updates.
    pub fn open(mut self, socket: Box<dyn Socket>, head: Bytes) {
        self.opened = true;
        let mut seats = self.worker.seats.borrow_mut();
        let level = seats.level_position(self.key);
        let seat = &mut seats.seats[self.key];
        if matches!(seat.phase, Phase::Reserved) {
            seat.cursor = level;
            seat.phase = Phase::Live;
        }
        drop(seats);
        self.worker.open(self.key, socket, head);
    }

    /// Waits until all sources are subscribed.
    async fn confirm(&self) -> Result<(), TransportError> {
        let unconfirmed: Vec<(usize, Interest)> = {
            let seats = self.worker.seats.borrow();
            let keys = seats.seats[self.key].memberships.iter().map(|m| m.source as usize);
            keys.filter(|key| !seats.sources[*key].confirmed)
                .map(|key| (key, interest(&seats.sources[key].matcher)))
                .collect()
        };
        for (source, interest) in unconfirmed {
            let since = self.worker.node.transport.confirmed(&interest).await?;
            // The source cannot have gone meanwhile: this seat is a member.
            self.worker.seats.borrow_mut().sources[source].confirm(since);
        }
        Ok(())
    }

    /// Finds where the subscriber continues, and reads the first page, which tells whether nothing is missing.
    async fn resume(&mut self, last: LastEventId, matchers: &[Matcher]) -> Result<(), SubscribeError> {
        let node = self.worker.node.clone();
        let known = match last {
            LastEventId::Earliest | LastEventId::Unknown => None,
            LastEventId::Position(position) => Some(position),
            LastEventId::Publisher(id) => {
                let transport = node.transport.clone();
                node.while_wanted(async move { transport.locate(&id).await }).await?
            }
        };
        let selection = selection(matchers.iter());
        let read = |after| node.read(selection.clone(), after);
        let after = known.unwrap_or(Position::ZERO);
        let mut page = read(after).await?;
        let resumed = if known.is_some() && page.complete { Resumed::Known } else { Resumed::Earliest };
        self.resumed = Some(resumed);
        let is_ahead = !page.complete && page.through == after;
        if is_ahead {
            // A position that the log has not reached yet: the id is not of this hub's history.
            page = read(Position::ZERO).await?;
        }
        let cursor = if is_ahead { Position::ZERO } else { after };
        let mut seats = self.worker.seats.borrow_mut();
        count(&seats.stats.replays, 1);
        let seat = &mut seats.seats[self.key];
        let told = if resumed == Resumed::Known { Told::Complete } else { Told::Earliest };
        seat.cursor = cursor;
        seat.phase = Phase::Replaying(Box::new(Replay::starting_after(cursor, selection, told)));
        seat.take_page(&page);
        Ok(())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.opened {
            let mut seats = self.worker.seats.borrow_mut();
            seats.seats[self.key].phase = Phase::Reserved;
            seats.end(self.key, CloseReason::ClientGone);
            seats.publish_stats();
        }
    }
}

/// When a connection ends at the latest, and why: at 80–100 % of the lifetime, drawn at random so that streams that
/// began together do not end together, and never after the token.
fn end_of_life(now: Tick, lifetime: Option<Duration>, expires_in: Option<Duration>) -> (Tick, CloseReason) {
    let life_end = lifetime.map_or(Tick::MAX, |lifetime| {
        now.saturating_add(ticks(lifetime.mul_f64(rand::random_range(0.8..=1.0))).max(1))
    });
    // Rounded down: not a tick later than `exp`.
    let expiry = expires_in.map_or(Tick::MAX, |left| now.saturating_add(ticks(left).saturating_sub(1)));
    if expiry <= life_end && expires_in.is_some() {
        (expiry, CloseReason::TokenExpired)
    } else {
        (life_end, CloseReason::Lifetime)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_ends_with_the_token_or_before_the_lifetime() {
        let seconds = Duration::from_secs;
        for _ in 0..100 {
            let (at, why) = end_of_life(100, Some(seconds(100)), None);
            assert!((100 + 320..=100 + 400).contains(&at), "{at}");
            assert_eq!(why, CloseReason::Lifetime);
        }
        assert_eq!(end_of_life(0, Some(seconds(100)), Some(seconds(10))), (39, CloseReason::TokenExpired));
        assert_eq!(end_of_life(0, None, Some(seconds(10))), (39, CloseReason::TokenExpired));
        assert_eq!(end_of_life(0, Some(seconds(1)), Some(seconds(10))).1, CloseReason::Lifetime);
        assert_eq!(end_of_life(7, None, None).0, Tick::MAX);
    }
}
