//! What the log says of a collector: once when it fails, rarely while it does, and once when it takes spans again.

use std::time::{Duration, Instant};

use opentelemetry_sdk::error::OTelSdkError;
use parking_lot::Mutex;
use tracing::{info, warn};

/// How often a collector that goes on failing is worth a line.
const REPEATED: Duration = Duration::from_secs(60);

/// What was said of the collector. The SDK's own lines (its feature `internal-logs`) are off: they repeat themselves with
/// every batch.
#[derive(Debug, Default)]
pub(super) struct Report(Mutex<Option<Failing>>);

/// It fails.
#[derive(Clone, Copy, Debug)]
struct Failing {
    said: Instant,
    /// Spans that were lost since it began to fail.
    dropped: u64,
}

impl Report {
    /// A batch was lost. The error names a status or what the network said, never headers or spans.
    pub(super) fn failed(&self, spans: u64, error: &OTelSdkError, now: Instant) {
        let mut state = self.0.lock();
        let before = *state;
        let dropped = before.map_or(0, |failing| failing.dropped) + spans;
        let said = before.map(|failing| failing.said);
        let is_due = said.is_none_or(|said| now.saturating_duration_since(said) >= REPEATED);
        *state = Some(Failing { said: said.filter(|_| !is_due).unwrap_or(now), dropped });
        drop(state);
        if is_due {
            warn!(%error, dropped, "Spans cannot be exported, and are dropped; the hub goes on without");
        }
    }

    /// A batch was taken.
    pub(super) fn went_well(&self) {
        if let Some(Failing { dropped, .. }) = self.0.lock().take() {
            info!(dropped, "Spans are exported again");
        }
    }
}
