//! Why a transport could not be started.

/// Says what was wrong and what would be right. Never contains the password of the URL.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// A value of the configuration cannot be right.
    #[error("{field} {rule}")]
    Config {
        /// The field of `RedisConfig`.
        field: &'static str,
        /// What it must be.
        rule: String,
    },
    /// Redis did not answer, or refused.
    #[error("no connection to Redis at {address}: {reason}")]
    Unreachable {
        /// Host and port.
        address: String,
        /// What happened.
        reason: String,
    },
    /// Redis knows nobody of this name or password, or is of another kind than the URL says.
    #[error("no connection to Redis at {address}: {reason}")]
    Refused {
        /// Host and port.
        address: String,
        /// What it said.
        reason: String,
    },
    /// The user may not do what is needed.
    #[error("the user of the URL may not {missing} at {address}; what it needs is: {rules}")]
    Permissions {
        /// Host and port.
        address: String,
        /// What it lacks.
        missing: String,
        /// The rules of a user of Redis that lacks nothing.
        rules: String,
    },
    /// The server is too old.
    #[error(
        "Redis at {address} has version {version}, but at least {}.{} is needed: update it", needed.0, needed.1
    )]
    Version {
        /// Host and port.
        address: String,
        /// What it says it is.
        version: String,
        /// The oldest that will do: 6.2 (SET with GET, XTRIM with MINID), in a cluster 7.0 (sharded channels).
        needed: (u32, u32),
    },
    /// A newer version writes below this prefix what this one could not read.
    #[error(
        "the prefix {prefix:?} is for nodes that know format {needed}, this program knows {knows}: run a newer version of it"
    )]
    TooOld {
        /// The prefix.
        prefix: String,
        /// The oldest format that a node must know there.
        needed: u32,
        /// The newest that this program knows.
        knows: u32,
    },
    /// An older version of this program, or none, wrote below this prefix what this one cannot read any more.
    #[error(
        "the prefix {prefix:?} holds data with format {found}, this program needs {expected} or newer: choose another prefix"
    )]
    Layout {
        /// The prefix.
        prefix: String,
        /// What Redis says.
        found: String,
        /// The oldest that this program can read.
        expected: u32,
    },
    /// The data below this prefix have another number of partitions.
    #[error(
        "the prefix {prefix:?} holds data in {found} partitions, and {asked} were asked for: the number never changes; \
         ask for {found}, or choose another prefix"
    )]
    Partitions {
        /// The prefix.
        prefix: String,
        /// What Redis says.
        found: String,
        /// What this program was told, or the default.
        asked: String,
    },
    /// The log's clock is wrong.
    #[error(
        "the log below the prefix {prefix:?} stands {} s before the time: it was written while the time of Redis was \
         wrong, and would keep updates too long; wait until then, or choose another prefix",
        ahead.as_secs()
    )]
    Clock {
        /// The prefix.
        prefix: String,
        /// How far.
        ahead: std::time::Duration,
    },
}

impl ConnectError {
    pub(crate) fn unreachable(server: impl std::fmt::Display, reason: impl std::fmt::Display) -> Self {
        Self::Unreachable { address: server.to_string(), reason: reason.to_string() }
    }
}
