//! What the memory transport keeps.

use std::time::Duration;

/// What a log keeps. Whatever comes first discards an update, always the oldest one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// For how long an update is kept.
    pub age: Duration,
    /// How many updates of one topic are kept.
    pub count: usize,
    /// How many bytes all updates together may take, roughly, with the log's own bookkeeping.
    pub bytes: usize,
}

impl Default for Retention {
    fn default() -> Self {
        Self { age: Duration::from_secs(24 * 3600), count: 1000, bytes: 256 << 20 }
    }
}
