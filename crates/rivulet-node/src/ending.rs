//! Why a stream ended: a reason, not an error.

/// Why a stream ended; the values of `close.reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// The client closed, reset or half-closed the connection, or vanished.
    ClientGone,
    /// The client took nothing for the write deadline.
    Stalled,
    /// The connection reached its maximum life.
    Lifetime,
    /// The token's `exp` was reached.
    TokenExpired,
    /// The node stopped.
    NodeShutdown,
    /// The node let its streams go one after another, before it stops or since others hold fewer: the client was told
    /// when to come back.
    Drained,
    /// An operator ended it, or a limit that was exceeded while nobody could count.
    Kicked,
}

impl CloseReason {
    /// All reasons, in the order of their counters.
    pub const ALL: [CloseReason; 7] = [
        Self::ClientGone,
        Self::Stalled,
        Self::Lifetime,
        Self::TokenExpired,
        Self::NodeShutdown,
        Self::Drained,
        Self::Kicked,
    ];

    /// The name in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClientGone => "client_gone",
            Self::Stalled => "stalled",
            Self::Lifetime => "lifetime",
            Self::TokenExpired => "token_expired",
            Self::NodeShutdown => "node_shutdown",
            Self::Drained => "drained",
            Self::Kicked => "kicked",
        }
    }
}
