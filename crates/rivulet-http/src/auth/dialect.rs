//! The two dialects of the Mercure protocol.

/// A dialect of the protocol. They are incompatible, and strict each in itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// 0.x: draft-dunglas-mercure-07 and before.
    V0,
    /// 1.0: draft-dunglas-mercure-08.
    V1,
}

/// What a token is to authorize.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Sending updates.
    Publish,
    /// Receiving them.
    Subscribe,
}
