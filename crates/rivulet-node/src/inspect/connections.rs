//! Connections, as an operator sees them: what a dump of goroutines is elsewhere.

use std::{net::IpAddr, sync::Arc, time::Duration};

use uuid::Uuid;

use super::ListCursor;
use crate::{
    CloseReason, KickTarget, Node,
    question::Scanned,
    seat::{Phase, Seat},
    seats::Seats,
    wheel::{TICK, Tick},
};

/// How many of a connection's matchers are shown.
pub const MATCHERS_SHOWN_MAX: usize = 10;

/// Where a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConnectionState {
    /// Its stream has not begun.
    Reserved,
    /// It reads what it missed from the log.
    Replaying,
    /// It receives updates as they come.
    Live,
    /// Its socket takes nothing, whatever it was doing.
    Blocked,
    /// It has been told to come back later, and is about to end.
    Parting,
}

impl ConnectionState {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Reserved, Self::Replaying, Self::Live, Self::Blocked, Self::Parting];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reserved => "reserved",
            Self::Replaying => "replaying",
            Self::Live => "live",
            Self::Blocked => "blocked",
            Self::Parting => "parting",
        }
    }
}

/// Which connections are wanted.
#[derive(Clone, Debug, Default)]
pub struct ConnectionsQuery {
    /// Those that everything given here fits; all, if nothing is.
    pub who: KickTarget,
    /// Only those in this state.
    pub state: Option<ConnectionState>,
    /// Where the page before said that the next one begins.
    pub after: Option<ListCursor>,
    /// At most so many, from 1 to [`super::INSPECT_LEN_MAX`].
    pub limit: usize,
}

/// Some connections.
#[derive(Clone, Debug)]
pub struct ConnectionsPage {
    /// In no order that means something.
    pub connections: Vec<ConnectionInfo>,
    /// Where the next page begins, if there may be one.
    pub next: Option<ListCursor>,
}

/// One connection. Times are multiples of a quarter of a second.
#[derive(Clone, Debug)]
pub struct ConnectionInfo {
    /// The id of the subscriber.
    pub subscriber: Uuid,
    /// The worker that serves it.
    pub worker: u8,
    /// Whose limits count, if anybody counts.
    pub subject: Option<Arc<str>>,
    /// Where it comes from, if anybody counts.
    pub ip: Option<IpAddr>,
    /// How long it has been there.
    pub age: Duration,
    /// Where it is.
    pub state: ConnectionState,
    /// What it subscribes to: the first [`MATCHERS_SHOWN_MAX`].
    pub matchers: Vec<String>,
    /// How many there are.
    pub matcher_count: usize,
    /// The id after which it would continue now.
    pub cursor: String,
    /// Whether there may be something that it has not taken.
    pub is_behind: bool,
    /// How much older what it has is than the latest of what it subscribes to.
    pub lag: Duration,
    /// Of an update that it has begun to take, how many bytes are left.
    pub bytes_pending: usize,
    /// How long ago something was last written to it.
    pub idle: Duration,
    /// When it ends at the latest; `None`: that is not settled.
    pub ends_in: Option<Duration>,
    /// And as what.
    pub ends_as: CloseReason,
}

impl Node {
    /// Some of the connections of this node.
    pub async fn connections(&self, query: ConnectionsQuery) -> ConnectionsPage {
        let ConnectionsQuery { who, state, after, limit } = query;
        let who = Arc::new(who);
        let look =
            move |seats: &Seats, from: usize, wanted: usize| seats.connections(&who, state, from, wanted);
        let (connections, next) = self.shared.list(after, limit, look).await;
        ConnectionsPage { connections, next }
    }
}

impl Seats {
    fn connections(
        &self,
        who: &KickTarget,
        state: Option<ConnectionState>,
        from: usize,
        wanted: usize,
    ) -> Scanned<ConnectionInfo> {
        self.scan(from, wanted, |_, seat| {
            let is_wanted = state.is_none_or(|state| state == seat.state()) && self.fits(who, seat);
            is_wanted.then(|| self.describe(seat))
        })
    }

    fn describe(&self, seat: &Seat) -> ConnectionInfo {
        let client = seat.holding.as_ref().map(|holding| &holding.client);
        // A matcher that is not a topic has a source per partition; they stand side by side.
        let mut matchers: Vec<_> =
            seat.memberships.iter().map(|m| &self.sources[m.source as usize].matcher).collect();
        matchers.dedup();
        let shown = matchers.iter().take(MATCHERS_SHOWN_MAX).map(|matcher| matcher.text().to_owned());
        let now = self.wheel.now();
        let last_write = if seat.socket.is_some() { seat.last_write } else { seat.since };
        ConnectionInfo {
            subscriber: seat.id,
            worker: self.worker,
            subject: client.map(|client| client.subject.clone()),
            ip: client.map(|client| client.ip),
            age: duration(self.age(seat)),
            state: seat.state(),
            matchers: shown.collect(),
            matcher_count: matchers.len(),
            cursor: seat.cursor.id(self.partitions),
            is_behind: seat.behind,
            lag: Duration::from_micros(self.lag_micros(seat)),
            bytes_pending: seat.partial.len(),
            idle: duration(now.saturating_sub(last_write)),
            ends_in: (seat.ends_at != Tick::MAX).then(|| duration(seat.ends_at.saturating_sub(now))),
            ends_as: seat.ends_as,
        }
    }

    /// Positions are microseconds.
    fn lag_micros(&self, seat: &Seat) -> u64 {
        let sources = seat.memberships.iter().map(|m| &self.sources[m.source as usize]);
        let lag = sources.map(|source| {
            let latest = source.ring.last().as_micros();
            latest.saturating_sub(seat.cursor.position(source.partition).as_micros())
        });
        // A reserved seat gets its cursor when it opens.
        if matches!(seat.phase, Phase::Reserved) { 0 } else { lag.max().unwrap_or(0) }
    }
}

impl Seat {
    fn state(&self) -> ConnectionState {
        match &self.phase {
            _ if self.socket.is_none() => ConnectionState::Reserved,
            Phase::Parting => ConnectionState::Parting,
            _ if self.blocked_since.is_some() => ConnectionState::Blocked,
            Phase::Replaying(_) => ConnectionState::Replaying,
            Phase::Live | Phase::Reserved => ConnectionState::Live,
        }
    }
}

fn duration(ticks: Tick) -> Duration {
    TICK * ticks
}
