//! The dialects, as tokens tell them, and what tokens are for.

pub use rivulet_core::Dialect;

/// What a token is to authorize.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Sending updates.
    Publish,
    /// Receiving them.
    Subscribe,
}
