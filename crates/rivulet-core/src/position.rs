//! Where an update stands in its partition.

use std::fmt;

/// A strictly increasing 64-bit number: microseconds since the Unix epoch when the update was appended, pushed
/// forward by one where two updates fell into the same microsecond (a hybrid clock).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(u64);

impl Position {
    /// Before every update.
    pub const ZERO: Position = Position(0);

    /// The largest position that Redis' Lua, whose numbers are doubles, can hold exactly: 2^53 − 1, reached in 2255.
    pub const MAX: Position = Position((1 << 53) - 1);

    /// The position that stands at `micros` microseconds since the Unix epoch.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since the Unix epoch.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// The first position after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The last position before this one.
    #[must_use]
    pub const fn before(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
