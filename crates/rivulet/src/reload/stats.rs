//! What has become of reading the configuration again, for metrics.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    time::{SystemTime, UNIX_EPOCH},
};

/// See the module's documentation. A start counts as a success.
#[derive(Debug)]
pub(crate) struct ReloadStats {
    /// Something has changed, and is in force.
    pub(crate) applied: AtomicU64,
    /// Nothing had changed.
    pub(crate) unchanged: AtomicU64,
    /// There was a mistake, and nothing has changed.
    pub(crate) refused: AtomicU64,
    /// Whether the last one was no refusal.
    pub(crate) last_successful: AtomicBool,
    /// When the last one was that was no refusal, in Unix time.
    pub(crate) last_success: AtomicU64,
    /// Whether something has changed that counts at the next start only.
    pub(crate) restart_needed: AtomicBool,
}

impl Default for ReloadStats {
    fn default() -> Self {
        let stats = Self {
            applied: AtomicU64::new(0),
            unchanged: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            last_successful: AtomicBool::new(true),
            last_success: AtomicU64::new(0),
            restart_needed: AtomicBool::new(false),
        };
        stats.succeeded();
        stats
    }
}

impl ReloadStats {
    pub(super) fn applied(&self, restart_needed: bool) {
        self.applied.fetch_add(1, Relaxed);
        self.restart_needed.store(restart_needed, Relaxed);
        self.succeeded();
    }

    pub(super) fn unchanged(&self) {
        self.unchanged.fetch_add(1, Relaxed);
        self.succeeded();
    }

    pub(super) fn refused(&self) {
        self.refused.fetch_add(1, Relaxed);
        self.last_successful.store(false, Relaxed);
    }

    fn succeeded(&self) {
        // A clock before 1970 is wrong in any case.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        self.last_success.store(now, Relaxed);
        self.last_successful.store(true, Relaxed);
    }
}
