//! What a load cost: wall time, and the CPU time of server, Redis and client.

use std::time::{Duration, Instant};

use crate::{process, servers::Server};

/// The clocks at one moment.
pub(crate) struct Usage {
    at: Instant,
    server: Duration,
    redis: Option<Duration>,
    client: Duration,
}

/// The difference of two moments.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spent {
    pub(crate) wall: Duration,
    pub(crate) server: Duration,
    /// `None` without Redis.
    pub(crate) redis: Option<Duration>,
    pub(crate) client: Duration,
}

impl Usage {
    /// Reads the clocks.
    pub(crate) fn now(server: &Server) -> anyhow::Result<Self> {
        Ok(Self {
            at: Instant::now(),
            server: server.cpu()?,
            redis: server.redis_cpu()?,
            client: process::own_cpu()?,
        })
    }

    /// What was spent from this moment to `later`.
    pub(crate) fn until(&self, later: &Usage) -> Spent {
        Spent {
            wall: later.at.duration_since(self.at),
            server: later.server.saturating_sub(self.server),
            redis: self.redis.zip(later.redis).map(|(before, after)| after.saturating_sub(before)),
            client: later.client.saturating_sub(self.client),
        }
    }
}
