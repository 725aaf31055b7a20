//! What the limits tell about themselves, for metrics.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use rivulet_node::{AdmitError, Permit, Refused, TransportError, TransportStats, Verdict, Verdicts, Wanted};

use super::{Limits, Phase};

/// What is counted.
#[derive(Debug, Default)]
pub(super) struct LimitStats {
    pub(super) verdicts: Verdicts,
    /// How often what Redis counts of this node became uncertain.
    pub(super) lapses: AtomicU64,
}

impl Limits {
    /// Redis has refused a connection.
    pub(super) fn refused(&self, refused: Refused) -> AdmitError {
        self.stats.verdicts.note(refused.limit, Verdict::Refused);
        refused.into()
    }

    /// Decides without Redis, and counts what each limit says.
    pub(super) fn decide_alone(
        self: &Arc<Self>,
        wanted: Wanted,
        error: TransportError,
    ) -> Result<Permit, AdmitError> {
        let asked = wanted.clone();
        let decided = self.admit_alone(wanted, error);
        let verdicts = &self.stats.verdicts;
        match &decided {
            Ok(_) => verdicts.note_all(&asked, Verdict::Degraded),
            Err(AdmitError::Away { limit, .. }) => verdicts.note(*limit, Verdict::Degraded),
            Err(AdmitError::Refused(refused)) => verdicts.note(refused.limit, Verdict::Degraded),
            // Said before anything is decided alone.
            Err(AdmitError::Busy(_)) => {}
        }
        decided
    }

    /// Adds what has been counted.
    pub(crate) fn add_to(&self, stats: &mut TransportStats) {
        self.stats.verdicts.add_to(&mut stats.verdicts);
        stats.counting_lapses = self.stats.lapses.load(Relaxed);
        stats.is_counted = matches!(self.state.lock().phase, Phase::Counted | Phase::Settling);
    }
}
