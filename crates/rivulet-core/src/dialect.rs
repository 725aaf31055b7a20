//! The two dialects of the Mercure protocol.

/// A dialect of the protocol. They are incompatible, and strict each in itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// 0.x: draft-dunglas-mercure-07 and before.
    V0,
    /// 1.0: draft-dunglas-mercure-08.
    V1,
}

impl Dialect {
    /// Both, in the order of their counters.
    pub const ALL: [Self; 2] = [Self::V0, Self::V1];

    /// The name in metrics: the major version.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V0 => "0",
            Self::V1 => "1",
        }
    }
}
