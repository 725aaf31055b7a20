//! Counters of what happens to connections before HTTP.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rivulet_node::{Histogram, histogram::CALL_BOUNDS};

/// Since the server started, over all its workers.
#[derive(Debug)]
pub struct ListenerStats {
    /// Connections accepted, whatever became of them.
    pub accepted: AtomicU64,
    /// Of them, those that are in a request or between two now, or on the way there. Streams do not count.
    pub open: AtomicU64,
    /// Connections refused because [`crate::HttpConfig::requests_max`] was reached.
    pub refused_busy: AtomicU64,
    /// TLS handshakes that were not done in time.
    pub handshakes_timed_out: AtomicU64,
    /// TLS handshakes that were slow and gave way because others waited.
    pub handshakes_crowded_out: AtomicU64,
    /// TLS handshakes that failed: no common version or cipher, garbage, the client hung up or does not trust us.
    pub handshakes_failed: AtomicU64,
    /// How long TLS handshakes took that were done, from the first byte on.
    pub handshake: Histogram,
    /// Connections of trusted proxies that did not begin with a valid PROXY header, or not in time.
    pub proxy_headers_refused: AtomicU64,
    /// Connections of peers that are no trusted proxies where only those may connect.
    pub proxies_untrusted: AtomicU64,
}

impl Default for ListenerStats {
    fn default() -> Self {
        Self {
            accepted: AtomicU64::default(),
            open: AtomicU64::default(),
            refused_busy: AtomicU64::default(),
            handshakes_timed_out: AtomicU64::default(),
            handshakes_crowded_out: AtomicU64::default(),
            handshakes_failed: AtomicU64::default(),
            handshake: Histogram::new(CALL_BOUNDS),
            proxy_headers_refused: AtomicU64::default(),
            proxies_untrusted: AtomicU64::default(),
        }
    }
}

/// One more.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}
