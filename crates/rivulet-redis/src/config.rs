//! What a Redis transport has to be told.

use std::{fmt, time::Duration};

use rivulet_core::Partitions;

use crate::{ConnectError, deployment::Deployment};

/// The longest prefix, in bytes: it stands in front of every key and channel.
const PREFIX_LEN_MAX: usize = 64;
/// The shortest age that is worth a log.
const AGE_MIN: Duration = Duration::from_secs(1);
/// The longest age: expiries must stay below what Redis can add to its clock.
const AGE_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// The longest wait for replicas: a publisher waits for it.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// How many partitions a cluster has unless another number is asked for: some for each of many primaries.
const PARTITIONS_OF_CLUSTER: u16 = 64;

/// The shortest lease: it is renewed three times in its time, and Redis may be away for some seconds.
const LEASE_MIN: Duration = Duration::from_secs(5);
/// The longest lease: for so long the places of a node that died are missing.
const LEASE_MAX: Duration = Duration::from_secs(300);

/// Where Redis is, and what is kept there.
#[derive(Clone, Debug)]
pub struct RedisConfig {
    /// `redis://[user:password@]host[:port][/database]`, `redis+unix:///path`,
    /// `redis+sentinel://[user:password@]host[:port][,host[:port]…]/master[/database]` or
    /// `redis+cluster://[user:password@]host[:port][,host[:port]…]`; `rediss` instead of `redis` is TLS.
    pub url: String,
    /// Stands in front of all keys and channels: hubs with different prefixes share a Redis without meeting. So do hubs
    /// in different databases: the number of one other than 0 stands behind the prefix, as `<prefix>@<database>`.
    pub prefix: String,
    /// Into how many parts the topics are hashed. Never changes below a prefix. `None`: 64 on a cluster, else 1.
    pub partitions: Option<Partitions>,
    /// For how long an update is kept, at least; trimming may leave it there a little longer.
    pub age: Duration,
    /// How many updates of one topic are kept, at least; trimming may leave some more.
    pub count: usize,
    /// How many entries the index of all updates of a partition keeps. What is older than them cannot be replayed to
    /// pattern subscribers, nor read by a node that was away from Redis.
    pub index_count: usize,
    /// How long one command may take.
    pub deadline: Duration,
    /// How many replicas must have an update before it is acknowledged (`WAIT`).
    pub wait_replicas: u32,
    /// How long they may take for it. After that the update is not acknowledged.
    pub wait_timeout: Duration,
    /// For how long what a node holds of the limits is counted after it was last heard of. 5 s to 5 min.
    pub lease: Duration,
    /// For TLS.
    pub tls: TlsFiles,
}

/// What TLS connections use instead of the system's certificates: the contents of PEM files.
#[derive(Clone, Default)]
pub struct TlsFiles {
    /// The authority that signed the servers' certificates.
    pub ca: Option<Vec<u8>>,
    /// Our own certificate and its key, for servers that ask for one.
    pub client: Option<(Vec<u8>, Vec<u8>)>,
}

impl fmt::Debug for TlsFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsFiles")
    }
}

impl Default for RedisConfig {
    fn default() -> Self {
        Self {
            url: "redis://127.0.0.1:6379".to_owned(),
            prefix: "rivulet".to_owned(),
            partitions: None,
            age: Duration::from_secs(24 * 3600),
            count: 1000,
            index_count: 1_000_000,
            deadline: Duration::from_secs(2),
            wait_replicas: 0,
            wait_timeout: Duration::from_secs(1),
            lease: Duration::from_secs(15),
            tls: TlsFiles::default(),
        }
    }
}

/// Checks a URL as [`RedisConfig::url`] wants it.
///
/// # Errors
///
/// What is wrong with it, without repeating it: it may hold a password.
pub fn check_url(url: &str) -> Result<(), String> {
    Deployment::parse(url).map(drop)
}

impl RedisConfig {
    /// Checks everything that can be wrong without asking Redis.
    pub(crate) fn check(&self) -> Result<Deployment, ConnectError> {
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
        if self.wait_replicas > 0 && (self.wait_timeout.is_zero() || self.wait_timeout > WAIT_MAX) {
            return invalid(
                "wait_timeout",
                format!("is longer than 0 and at most {WAIT_MAX:?}, got {:?}", self.wait_timeout),
            );
        }
        if self.lease < LEASE_MIN || self.lease > LEASE_MAX {
            return invalid("lease", format!("is {LEASE_MIN:?} to {LEASE_MAX:?}, got {:?}", self.lease));
        }
        Deployment::parse(&self.url).map_err(|rule| ConnectError::Config { field: "url", rule })
    }

    /// How many partitions a deployment has.
    pub(crate) fn partitions_of(&self, deployment: &Deployment) -> Partitions {
        let usual = if deployment.is_cluster() { PARTITIONS_OF_CLUSTER } else { 1 };
        self.partitions.or(Partitions::new(usual)).unwrap_or(Partitions::ONE)
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
        check(RedisConfig { lease: Duration::from_secs(4), ..config() }, "lease is 5s to 300s, got 4s");
        let wait = RedisConfig { wait_replicas: 1, wait_timeout: Duration::ZERO, ..config() };
        check(wait, "wait_timeout");
    }
}
