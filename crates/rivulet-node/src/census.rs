//! How many seats are in which state, counted as they change, so that nobody has to look through them.

use rivulet_core::Dialect;

use crate::seat::{Phase, Seat};

/// Where a stream is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StreamState {
    /// It has not begun.
    Reserved,
    /// It reads from the log what it missed.
    Replaying,
    /// It receives updates as they come.
    Live,
    /// It has been told to come back later, and is about to end.
    Parting,
}

impl StreamState {
    /// All of them, in the order of their counters.
    pub const ALL: [Self; 4] = [Self::Reserved, Self::Replaying, Self::Live, Self::Parting];

    /// The name in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reserved => "reserved",
            Self::Replaying => "replaying",
            Self::Live => "live",
            Self::Parting => "parting",
        }
    }

    pub(crate) fn of(seat: &Seat) -> Self {
        match seat.phase {
            _ if seat.socket.is_none() => Self::Reserved,
            Phase::Reserved => Self::Reserved,
            Phase::Replaying(_) => Self::Replaying,
            Phase::Live => Self::Live,
            Phase::Parting => Self::Parting,
        }
    }
}

/// Counts by [`StreamState`] and [`Dialect`].
pub type StreamCounts = [[usize; Dialect::ALL.len()]; StreamState::ALL.len()];

/// See the module's documentation.
#[derive(Clone, Debug, Default)]
pub(crate) struct Census(StreamCounts);

impl Census {
    /// One more in this state.
    pub(crate) fn enters(&mut self, state: StreamState, dialect: Dialect) {
        self.0[state as usize][dialect as usize] += 1;
    }

    /// One less.
    pub(crate) fn leaves(&mut self, state: StreamState, dialect: Dialect) {
        self.0[state as usize][dialect as usize] -= 1;
    }

    /// One goes from one state to another.
    pub(crate) fn moves(&mut self, dialect: Dialect, from: StreamState, to: StreamState) {
        self.leaves(from, dialect);
        self.enters(to, dialect);
    }

    pub(crate) fn counts(&self) -> &StreamCounts {
        &self.0
    }
}
