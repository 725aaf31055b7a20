//! Which Redis stands behind the node, and what is kept there.

use std::time::Duration;

use rivulet_core::Partitions;
use rivulet_redis::{RedisConfig, TlsFiles};

use super::reader::Reader;
use crate::quantity;

/// More replicas than anybody has.
const REPLICAS_MAX: u32 = 16;

impl Reader<'_> {
    /// `Some(None)`: no Redis. `None`: there is a mistake.
    pub(super) fn redis(&mut self, retention: Option<(Duration, usize)>) -> Option<Option<RedisConfig>> {
        let mistakes_before = self.mistakes.len();
        let url = self.value("redis-url", |text| rivulet_redis::check_url(text).map(|()| text.to_owned()));
        let prefix = self.value("redis-prefix", prefix);
        let partitions = self.value("redis-partitions", partitions);
        let wait_replicas = self.value("redis-wait-replicas", |text| {
            let count = text.parse().ok().filter(|count| *count <= REPLICAS_MAX);
            count.ok_or(format!("must be 0 to {REPLICAS_MAX}"))
        });
        let wait_timeout = self.value("redis-wait-timeout", wait_timeout);
        let lease = self.value("limits-lease", lease);
        if url.is_none() && self.is_given("limits-lease") {
            let text = "--limits-lease needs --redis-url: a node that stands alone counts for itself";
            self.mistakes.push(text.to_owned());
        }
        let ca = self.pem("redis-ca-file", "CERTIFICATE");
        let client = match (
            self.pem("redis-cert-file", "CERTIFICATE"),
            self.pem("redis-key-file", "PRIVATE KEY"),
        ) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => {
                let text = "--redis-cert-file and --redis-key-file go together: one of them is missing or unreadable";
                self.mistakes.push(text.to_owned());
                None
            }
        };
        if self.mistakes.len() > mistakes_before {
            return None;
        }
        let Some(url) = url else { return Some(None) };
        let (age, count) = retention?;
        Some(Some(RedisConfig {
            url,
            prefix: prefix?,
            partitions: partitions?,
            age,
            count,
            wait_replicas: wait_replicas?,
            wait_timeout: wait_timeout?,
            lease: lease?,
            tls: TlsFiles { ca, client },
            ..RedisConfig::default()
        }))
    }

    /// The contents of the PEM file that a setting names. One that holds something else would be taken for an empty one,
    /// and every certificate for that of a stranger.
    fn pem(&mut self, name: &str, label: &str) -> Option<Vec<u8>> {
        self.value(name, |path| {
            let text = std::fs::read(path).map_err(|error| format!("cannot be read: {error}"))?;
            let end = format!("{label}-----");
            let holds = text.windows(end.len()).any(|part| part == end.as_bytes());
            if holds { Ok(text) } else { Err(format!("holds no {label} in PEM form")) }
        })
    }
}

/// Braces would change the hash slot in Redis Cluster, and spaces the commands that people type.
fn prefix(text: &str) -> Result<String, &'static str> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.:".contains(&b);
    let fits = (1..=64).contains(&text.len()) && text.bytes().all(plain);
    if fits { Ok(text.to_owned()) } else { Err("must be 1 to 64 letters, digits and characters of -_.:") }
}

/// `None`: what the deployment usually has.
fn partitions(text: &str) -> Result<Option<Partitions>, &'static str> {
    if text == "auto" {
        return Ok(None);
    }
    let partitions = text.parse().ok().and_then(Partitions::new);
    partitions.map(Some).ok_or("must be auto or 1 to 128")
}

fn wait_timeout(text: &str) -> Result<Duration, String> {
    let timeout = quantity::duration(text)?;
    let fits = (Duration::from_millis(1)..=Duration::from_secs(60)).contains(&timeout);
    if fits { Ok(timeout) } else { Err("must be 1ms to 1m".to_owned()) }
}

/// After which time what a dead node held is free again.
fn lease(text: &str) -> Result<Duration, String> {
    let lease = quantity::duration(text)?;
    let fits = (Duration::from_secs(5)..=Duration::from_secs(300)).contains(&lease);
    if fits { Ok(lease) } else { Err("must be 5s to 5m".to_owned()) }
}
