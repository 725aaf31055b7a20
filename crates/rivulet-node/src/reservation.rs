//! A reservation: a seat that waits for its socket. The subscription is verified before the stream opens.

use std::{
    rc::Rc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use rivulet_core::{Cursor, Matcher, Partition};
use smallvec::SmallVec;
use uuid::Uuid;

use crate::{
    CloseReason, Holding,
    batch::Reach,
    places::Place,
    ready::SeatWaker,
    registry::interest,
    seat::{Phase, Seat},
    seat_trace::SeatTrace,
    seats::Seats,
    socket::Socket,
    subscribe::{Resumed, SubscribeError, SubscribeRequest},
    wheel::{Tick, ticks},
    worker::WorkerShared,
};

/// A seat without a socket. Gives everything back when it is dropped before it was opened.
pub struct Reservation {
    pub(crate) worker: Rc<WorkerShared>,
    pub(crate) key: usize,
    /// Of the seat, which may be ended before it is opened: by a kick.
    serial: u32,
    id: Uuid,
    /// Of the subscriber's token.
    expires_at: Option<SystemTime>,
    opened: bool,
    pub(crate) resumed: Option<Resumed>,
    /// The turn to replay, until the replay has it.
    pub(crate) turn: Option<Place>,
}

impl Reservation {
    pub(crate) async fn make(
        worker: Rc<WorkerShared>,
        request: SubscribeRequest,
        holding: Option<Holding>,
        trace: Option<Box<SeatTrace>>,
    ) -> Result<Self, SubscribeError> {
        let SubscribeRequest { matchers, grants, last_event_id, expires_at, dialect } = request;
        worker.node.check_room()?;
        if worker.is_closed() {
            return Err(SubscribeError::Closing);
        }
        let valid_for = validity(expires_at)?;
        let turn = match &last_event_id {
            Some(_) => Some(worker.node.replays.take().ok_or(SubscribeError::ReplaysBusy)?),
            None => None,
        };
        let place = worker.node.places.take().ok_or(SubscribeError::NodeFull)?;
        let id = Uuid::new_v4();
        let (key, serial) = {
            let mut seats = worker.seats.borrow_mut();
            let now = worker.now();
            let (ends_at, ends_as) = end_of_life(now, seats.times.load().lifetime, valid_for);
            seats.serials_drawn = seats.serials_drawn.wrapping_add(1);
            let serial = seats.serials_drawn;
            let seat = Seat {
                id,
                serial,
                phase: Phase::Reserved,
                socket: None,
                waker: SeatWaker::waker(seats.seats.vacant_key(), &worker.ready),
                partial: Bytes::new(),
                unsent: false,
                cursor: Cursor::default(),
                reach: Reach::One(Partition::default()),
                memberships: SmallVec::new(),
                grants: grants.subscribe.into_boxed_slice(),
                behind: false,
                blocked_since: None,
                last_write: 0,
                since: now,
                ends_at,
                ends_as,
                dialect,
                pin: None,
                holding: holding.map(Box::new),
                trace,
                _place: place,
            };
            (seats.add(seat, &matchers), serial)
        };
        let mut reservation =
            Self { worker, key, serial, id, expires_at, opened: false, resumed: None, turn };
        reservation.confirm().await?;
        if let Some(last_event_id) = last_event_id {
            reservation.resume(last_event_id, &matchers).await?;
        }
        // All of this may have taken longer than the token is valid.
        validity(expires_at)?;
        Ok(reservation)
    }

    /// What the answer says about the last id that the subscriber sent; `None` if it sent none.
    pub fn resumed(&self) -> Option<Resumed> {
        self.resumed
    }

    /// The id of the subscriber, drawn by the hub per connection.
    pub fn subscriber_id(&self) -> Uuid {
        self.id
    }

    /// Its seat, unless that has been ended meanwhile.
    pub(crate) fn seat<'a>(&self, seats: &'a mut Seats) -> Result<&'a mut Seat, SubscribeError> {
        seats.get(self.key, self.serial).ok_or(SubscribeError::Kicked)
    }

    /// Hands the socket over and starts the stream: `head` is written first, whatever it is, then the updates. If the
    /// connection was ended meanwhile (a kick), or its token has expired, the socket is closed.
    pub fn open(mut self, socket: Box<dyn Socket>, head: Bytes) {
        let Ok(valid_for) = validity(self.expires_at) else { return };
        let mut seats = self.worker.seats.borrow_mut();
        if self.seat(&mut seats).is_err() {
            return;
        }
        self.opened = true;
        let level = seats.level_cursor(self.key);
        let seat = &mut seats.seats[self.key];
        // The wall clock, by which tokens expire, may have been set since the seat was made.
        if let Some(expiry) = expiry(self.worker.now(), valid_for).filter(|expiry| *expiry < seat.ends_at) {
            (seat.ends_at, seat.ends_as) = (expiry, CloseReason::TokenExpired);
        }
        if matches!(seat.phase, Phase::Reserved) {
            seat.cursor = level;
            seat.phase = Phase::Live;
        }
        if let Some(trace) = &mut seat.trace {
            trace.opens();
        }
        drop(seats);
        self.worker.open(self.key, socket, head);
    }

    /// Waits until all sources are subscribed.
    async fn confirm(&self) -> Result<(), SubscribeError> {
        let mut unconfirmed: Vec<(Matcher, Vec<usize>)> = Vec::new();
        {
            let mut seats = self.worker.seats.borrow_mut();
            self.seat(&mut seats)?;
            for membership in &seats.seats[self.key].memberships {
                let key = membership.source as usize;
                let source = &seats.sources[key];
                match unconfirmed.last_mut() {
                    _ if source.confirmed => {}
                    // The sources of a matcher stand side by side.
                    Some((matcher, keys)) if *matcher == source.matcher => keys.push(key),
                    _ => unconfirmed.push((source.matcher.clone(), vec![key])),
                }
            }
        }
        for (matcher, keys) in unconfirmed {
            let since = self.worker.node.transport.confirmed(&interest(&matcher)).await?;
            let mut seats = self.worker.seats.borrow_mut();
            // As long as it is there, its sources are: it is a member.
            self.seat(&mut seats)?;
            for key in keys {
                let source = &mut seats.sources[key];
                source.confirm(since.position(source.partition));
            }
        }
        Ok(())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.opened {
            let mut seats = self.worker.seats.borrow_mut();
            if self.seat(&mut seats).is_ok() {
                seats.end(self.key, CloseReason::ClientGone);
                seats.publish_stats();
            }
        }
    }
}

/// When a connection ends at the latest, and why: at 80–100 % of the lifetime, drawn at random so that streams that
/// began together do not end together, and never after the token.
fn end_of_life(now: Tick, lifetime: Option<Duration>, valid_for: Option<Duration>) -> (Tick, CloseReason) {
    let life_end = lifetime.map_or(Tick::MAX, |lifetime| {
        now.saturating_add(ticks(lifetime.mul_f64(rand::random_range(0.8..=1.0))).max(1))
    });
    match expiry(now, valid_for) {
        Some(expiry) if expiry <= life_end => (expiry, CloseReason::TokenExpired),
        _ => (life_end, CloseReason::Lifetime),
    }
}

/// The last tick at which a token is valid that is so long valid: rounded down, not a tick later than `exp`.
fn expiry(now: Tick, valid_for: Option<Duration>) -> Option<Tick> {
    valid_for.map(|left| now.saturating_add(ticks(left).saturating_sub(1)))
}

/// For how long a token is still valid; `None` if it does not expire. At its very expiry it is no longer.
fn validity(expires_at: Option<SystemTime>) -> Result<Option<Duration>, SubscribeError> {
    let Some(at) = expires_at else { return Ok(None) };
    let left = at.duration_since(SystemTime::now()).unwrap_or_default();
    if left.is_zero() { Err(SubscribeError::TokenExpired) } else { Ok(Some(left)) }
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
