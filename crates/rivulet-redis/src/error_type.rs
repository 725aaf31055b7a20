//! What was wrong with a command, in a word of a small fixed set: for metrics.

use redis::{ErrorKind, RedisError, ServerErrorKind};

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ErrorType {
    /// There is no connection to the server: it was not asked.
    Away,
    /// Too much is on its way already: it was not asked.
    TooMuch,
    /// No answer came in time.
    Timeout,
    /// The connection broke, or could not be made.
    Connection,
    /// Fewer replicas than demanded have it.
    Replicas,
    /// The server has no memory for it.
    OutOfMemory,
    /// The server takes no writes: it is a replica, has no master, or cannot save.
    ReadOnly,
    /// The user may not do that, or is not known.
    NoPermission,
    /// The slot is, or will be, on another server. It is tried again there.
    Moved,
    /// The cluster cannot answer now. It is tried again.
    ClusterDown,
    /// The server is loading its data, or is kept by a script.
    Busy,
    /// Anything else that a server says.
    Server,
    /// Anything else.
    Other,
}

impl ErrorType {
    /// All of them, in the order of their counters.
    pub(crate) const ALL: [Self; 13] = [
        Self::Away,
        Self::TooMuch,
        Self::Timeout,
        Self::Connection,
        Self::Replicas,
        Self::OutOfMemory,
        Self::ReadOnly,
        Self::NoPermission,
        Self::Moved,
        Self::ClusterDown,
        Self::Busy,
        Self::Server,
        Self::Other,
    ];

    /// The name in metrics.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Away => "away",
            Self::TooMuch => "too_much",
            Self::Timeout => "timeout",
            Self::Connection => "connection",
            Self::Replicas => "replicas",
            Self::OutOfMemory => "out_of_memory",
            Self::ReadOnly => "read_only",
            Self::NoPermission => "no_permission",
            Self::Moved => "moved",
            Self::ClusterDown => "cluster_down",
            Self::Busy => "busy",
            Self::Server => "server",
            Self::Other => "other",
        }
    }

    pub(crate) fn of(error: &RedisError) -> Self {
        use ServerErrorKind::{Ask, BusyLoading, ClusterDown, MasterDown, Moved, NoPerm, ReadOnly, TryAgain};
        match error.kind() {
            _ if error.is_timeout() => Self::Timeout,
            ErrorKind::Server(Moved | Ask) => Self::Moved,
            ErrorKind::Server(TryAgain | ClusterDown) => Self::ClusterDown,
            ErrorKind::Server(ReadOnly | MasterDown) => Self::ReadOnly,
            ErrorKind::Server(BusyLoading) => Self::Busy,
            ErrorKind::Server(NoPerm) | ErrorKind::AuthenticationFailed => Self::NoPermission,
            _ => match error.code() {
                Some("OOM") => Self::OutOfMemory,
                Some("NOREPLICAS") => Self::Replicas,
                Some("NOAUTH" | "WRONGPASS" | "NOPERM") => Self::NoPermission,
                Some("BUSY" | "LOADING") => Self::Busy,
                Some("MISCONF") => Self::ReadOnly,
                _ if error.is_io_error() => Self::Connection,
                _ if matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension) => Self::Server,
                _ => Self::Other,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_has_a_name() {
        let check = |kind: ServerErrorKind, expected: ErrorType| {
            assert_eq!(
                ErrorType::of(&RedisError::from((ErrorKind::Server(kind), "refused"))),
                expected,
                "{kind:?}"
            );
        };
        check(ServerErrorKind::ReadOnly, ErrorType::ReadOnly);
        check(ServerErrorKind::Moved, ErrorType::Moved);
        check(ServerErrorKind::Ask, ErrorType::Moved);
        check(ServerErrorKind::TryAgain, ErrorType::ClusterDown);
        check(ServerErrorKind::BusyLoading, ErrorType::Busy);
        check(ServerErrorKind::NoPerm, ErrorType::NoPermission);
        check(ServerErrorKind::ResponseError, ErrorType::Server);
    }

    #[test]
    fn what_a_connection_does_has_a_name() {
        let check = |kind: std::io::ErrorKind, expected: ErrorType| {
            assert_eq!(ErrorType::of(&RedisError::from(std::io::Error::from(kind))), expected, "{kind:?}");
        };
        check(std::io::ErrorKind::TimedOut, ErrorType::Timeout);
        check(std::io::ErrorKind::ConnectionRefused, ErrorType::Connection);
        check(std::io::ErrorKind::BrokenPipe, ErrorType::Connection);
        assert_eq!(ErrorType::of(&RedisError::from((ErrorKind::Client, "two"))), ErrorType::Other);
    }

    #[test]
    fn the_list_is_in_the_order_of_the_counters() {
        for (error, place) in ErrorType::ALL.into_iter().zip(0..) {
            assert_eq!(error as usize, place, "{error:?}");
        }
    }
}
