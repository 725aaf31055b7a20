//! What a Redis transport has to be told.

use std::time::Duration;

use redis::{ConnectionInfo, IntoConnectionInfo, ProtocolVersion, io::tcp::TcpSettings};

use crate::ConnectError;

/// The longest prefix, in bytes: it stands in front of every key and channel.
const PREFIX_LEN_MAX: usize = 64;
/// The shortest age that is worth a log.
const AGE_MIN: Duration = Duration::from_secs(1);
/// The longest age: expiries must stay below what Redis can add to its clock.
const AGE_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// When the kernel gives a silent connection up. Ticks find a dead feed sooner; this is for the other connections.
const USER_TIMEOUT: Duration = Duration::from_secs(15);
/// When the kernel asks a silent peer whether it is there.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// Where Redis is, and what is kept there.
#[derive(Clone, Debug)]
pub struct RedisConfig {
    /// `redis://[user:password@]host[:port][/database]`, or `redis+unix:///path`.
    pub url: String,
    /// Stands in front of all keys and channels: hubs with different prefixes share a Redis without meeting. So do hubs
    /// in different databases: the number of one other than 0 stands behind the prefix, as `<prefix>@<database>`.
    pub prefix: String,
    /// For how long an update is kept, at least; trimming may leave it there a little longer.
    pub age: Duration,
    /// How many updates of one topic are kept, at least; trimming may leave some more.
    pub count: usize,
    /// How many entries the index of all updates keeps. What is older than them cannot be replayed to pattern
    /// subscribers, nor read by a node that was away from Redis.
    pub index_count: usize,
    /// How long one command may take.
    pub deadline: Duration,
}

impl Default for RedisConfig {
    fn default() -> Self {
        Self {
            url: "redis://127.0.0.1:6379".to_owned(),
            prefix: "rivulet".to_owned(),
            age: Duration::from_secs(24 * 3600),
            count: 1000,
            index_count: 1_000_000,
            deadline: Duration::from_secs(2),
        }
    }
}

impl RedisConfig {
    /// Checks everything that can be wrong without asking Redis.
    pub(crate) fn check(&self) -> Result<ConnectionInfo, ConnectError> {
        let invalid = |field, rule: String| Err(ConnectError::Config { field, rule });
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
        if self.prefix.is_empty() || self.prefix.len() > PREFIX_LEN_MAX || !self.prefix.chars().all(plain) {
            return invalid(
                "prefix",
                format!(
                    "has 1 to {PREFIX_LEN_MAX} ASCII letters, digits, '-', '_', '.' or ':', got {:?}",
                    self.prefix
                ),
            );
        }
        if self.age < AGE_MIN || self.age > AGE_MAX {
            return invalid("age", format!("is {AGE_MIN:?} to {AGE_MAX:?}, got {:?}", self.age));
        }
        if self.count == 0 || self.index_count == 0 {
            return invalid("count", "and index_count are at least 1, got 0".to_owned());
        }
        if self.deadline.is_zero() {
            return invalid("deadline", "is longer than 0".to_owned());
        }
        self.connection_info()
    }

    fn connection_info(&self) -> Result<ConnectionInfo, ConnectError> {
        // The error of the library may repeat the URL, which may hold a password.
        let info = self.url.as_str().into_connection_info().map_err(|_| ConnectError::Config {
            field: "url",
            rule: "looks like redis://[user:password@]host[:port][/database]".to_owned(),
        })?;
        let redis = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let keepalive = socket2::TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 2);
        let tcp = TcpSettings::default().set_nodelay(true).set_keepalive(keepalive);
        #[cfg(target_os = "linux")]
        let tcp = tcp.set_user_timeout(USER_TIMEOUT);
        Ok(info.set_redis_settings(redis).set_tcp_settings(tcp))
    }

    /// The arguments of `append.lua` that never change.
    pub(crate) fn retention_args(&self) -> [String; 5] {
        let age = self.age.as_micros();
        let slice = (age / 64).max(1_000_000);
        // Longer than age and slice, and than a tick: a topic that expired between two ticks is not taken for complete.
        let expiry_ms = (age + slice) / 1000 + 5000;
        [
            self.count.to_string(),
            self.index_count.to_string(),
            age.to_string(),
            slice.to_string(),
            expiry_ms.to_string(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_named_without_showing_the_password() {
        let check = |config: RedisConfig, expected: &str| {
            let error = config.check().unwrap_err().to_string();
            assert!(error.contains(expected) && !error.contains("secret"), "{error}");
        };
        let config = RedisConfig::default;
        assert!(config().check().is_ok());
        check(RedisConfig { prefix: "{x}".into(), ..config() }, "prefix");
        check(RedisConfig { url: "http://:secret@x".into(), ..config() }, "url");
        check(RedisConfig { age: Duration::ZERO, ..config() }, "age");
        check(RedisConfig { count: 0, ..config() }, "count");
        check(RedisConfig { deadline: Duration::ZERO, ..config() }, "deadline");
    }
}
