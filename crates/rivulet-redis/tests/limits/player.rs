//! A node as far as limits see one: it holds permits, and ends the youngest of those that a kick fits.

use std::sync::Arc;

use parking_lot::Mutex;
use rivulet_node::{AdmitError, Feed, FeedEvent, Limit, Permit, Quota, Scope, Transport, Wanted, WhenAway};
use rivulet_redis::{RedisConfig, RedisTransport};
use rivulet_tests::{PATIENCE, eventually, redis::RedisServer};
use tokio::time::Instant;

/// The shortest lease.
pub(crate) const LEASE: std::time::Duration = std::time::Duration::from_secs(5);

/// See the module.
pub(crate) struct Player {
    pub(crate) transport: Arc<RedisTransport>,
    pub(crate) held: Arc<Mutex<Vec<Held>>>,
    task: tokio::task::JoinHandle<()>,
}

/// A connection.
pub(crate) struct Held {
    pub(crate) number: usize,
    pub(crate) quotas: Vec<Quota>,
    since: Instant,
    _permit: Permit,
}

impl Player {
    pub(crate) async fn start(url: String) -> Self {
        let config = RedisConfig { url, lease: LEASE, ..RedisConfig::default() };
        let (transport, feed) = RedisTransport::connect(config).await.unwrap();
        let held: Arc<Mutex<Vec<Held>>> = Arc::default();
        let task = tokio::spawn(play(feed, held.clone()));
        Self { transport, held, task }
    }

    /// Admits one, and holds it.
    pub(crate) async fn admit(&self, quotas: &[Quota]) -> Result<(), AdmitError> {
        let permit = self.transport.admit(Wanted { quotas: quotas.to_vec(), rates: Vec::new() }).await?;
        let mut held = self.held.lock();
        let number = held.last().map_or(0, |held| held.number + 1);
        held.push(Held { number, quotas: quotas.to_vec(), since: Instant::now(), _permit: permit });
        Ok(())
    }

    /// Admits so many, each of which finds a place in the end.
    pub(crate) async fn fill(&self, quotas: &[Quota], count: usize) {
        for _ in 0..count {
            eventually("there is a place", PATIENCE, || self.admit(quotas)).await;
        }
    }

    /// How many connections it has.
    pub(crate) fn len(&self) -> usize {
        self.held.lock().len()
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn play(mut feed: Feed, held: Arc<Mutex<Vec<Held>>>) {
    while let Some(event) = feed.recv().await {
        let FeedEvent::Kick(kick) = event else { continue };
        let mut held = held.lock();
        let (mut left, mut ended) = (kick.count_max.unwrap_or(usize::MAX), 0);
        for at in (0..held.len()).rev() {
            let fits = kick.target.scope.as_ref().is_none_or(|(limit, scope)| {
                held[at].quotas.iter().any(|quota| (quota.limit, &quota.scope) == (*limit, scope))
            });
            let is_meant = kick.before.is_none_or(|before| held[at].since < before);
            if fits && is_meant && left > 0 {
                held.remove(at);
                (left, ended) = (left - 1, ended + 1);
            }
        }
        // Whoever kicked may have gone.
        let _ = kick.ended.send(ended);
    }
}

pub(crate) fn quota(limit: Limit, scope: &str, max: u32) -> Quota {
    Quota { limit, scope: Scope::new(scope), max, is_of_token: false, when_away: WhenAway::Closed }
}

pub(crate) fn open(limit: Limit, scope: &str, max: u32) -> Quota {
    Quota { when_away: WhenAway::Open, ..quota(limit, scope, max) }
}

/// How many connections of a scope all nodes whose leases run have told Redis of.
pub(crate) fn told(redis: &RedisServer, place: &str) -> Result<usize, String> {
    let script = "local now, sum = redis.call('TIME'), 0 \
        for _, node in ipairs(redis.call('ZRANGEBYSCORE', '{rivulet:0}q:nodes', '(' .. now[1] * 1000, '+inf')) do \
        sum = sum + (redis.call('HGET', '{rivulet:0}q:n:' .. node, ARGV[1]) or 0) end return sum";
    redis.command(&["EVAL", script, "0", place])?.parse().map_err(|error| format!("{error}"))
}

/// Waits until Redis has been told of so many.
pub(crate) async fn told_in_the_end(redis: &RedisServer, place: &str, expected: usize) {
    eventually(format!("{expected} connections in {place}"), 2 * PATIENCE, || async {
        match told(redis, place)? {
            found if found == expected => Ok(()),
            found => Err(format!("{found} connections")),
        }
    })
    .await;
}
