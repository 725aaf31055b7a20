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
    /// The server is too old.
    #[error(
        "Redis at {address} has version {version}, but at least 6.2 is needed (SET with GET, XTRIM with MINID)"
    )]
    Version {
        /// Host and port.
        address: String,
        /// What it says it is.
        version: String,
    },
    /// Another version of this program wrote below this prefix.
    #[error(
        "the prefix {prefix:?} holds data with {field} {found}, this program needs {expected}: choose another prefix"
    )]
    Layout {
        /// The prefix.
        prefix: String,
        /// `format` or `partitions`.
        field: &'static str,
        /// What Redis says.
        found: String,
        /// What this program writes.
        expected: String,
    },
}
