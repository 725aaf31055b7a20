//! The two builds that run side by side: this release, and one that writes what the next might (see `rivulet_core::fault`).

use std::sync::Arc;

use rivulet_tests::{Hub, redis::RedisServer};

/// Which release a node is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Build {
    This,
    /// It adds to everything what older nodes may pass over.
    Next,
    /// It adds to every update what older nodes must not pass over.
    NextFormat,
}

impl Build {
    pub(crate) fn environment(self) -> Vec<(String, String)> {
        let fault = match self {
            Self::This => return Vec::new(),
            Self::Next => "next-version",
            Self::NextFormat => "next-format",
        };
        vec![("RIVULET_FAULT".to_owned(), fault.to_owned())]
    }

    /// Starts a node of this release.
    pub(crate) async fn start(self, redis: &Arc<RedisServer>, flags: &[&str]) -> Hub {
        Hub::start_in(&self.environment(), Some(redis.clone()), flags).await
    }
}

/// A node of this release and one of the next, on one Redis.
pub(crate) async fn both(flags: &[&str]) -> (Arc<RedisServer>, [Hub; 2]) {
    let redis = Arc::new(RedisServer::start().await);
    let this = Build::This.start(&redis, flags).await;
    let next = Build::Next.start(&redis, flags).await;
    (redis, [this, next])
}

/// How much a node could not read, by cause: newer, damaged.
pub(crate) fn unreadable(hub: &Hub) -> [f64; 2] {
    ["newer", "damaged"].map(|cause| {
        let label = format!("cause=\"{cause}\"");
        hub.metrics().sum("rivulet_unreadable_total", &label).expect("a counter")
    })
}
