//! What limits have said, counted by limit.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::{Limit, Rate, Wanted};

/// What a limit says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It lets something through.
    Admitted,
    /// It has been reached.
    Refused,
    /// The transport cannot count, so [`super::WhenAway`] has decided, either way.
    Degraded,
}

impl Verdict {
    /// All of them, in the order of their counters.
    pub const ALL: [Self; 3] = [Self::Admitted, Self::Refused, Self::Degraded];

    /// The name in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admitted => "admitted",
            Self::Refused => "refused",
            Self::Degraded => "degraded",
        }
    }
}

/// Counts by [`Limit`] and [`Verdict`].
pub type VerdictCounts = [[u64; Verdict::ALL.len()]; Limit::ALL.len()];

/// See the module's documentation. What stands for a limit counts once for each scope that was looked at: each topic, for
/// example.
#[derive(Debug, Default)]
pub struct Verdicts([[AtomicU64; Verdict::ALL.len()]; Limit::ALL.len()]);

impl Verdicts {
    /// Counts what one limit has said.
    pub fn note(&self, limit: Limit, verdict: Verdict) {
        self.0[limit as usize][verdict as usize].fetch_add(1, Relaxed);
    }

    /// Counts what all limits of a connection have said.
    pub fn note_all(&self, wanted: &Wanted, verdict: Verdict) {
        wanted.quotas.iter().for_each(|quota| self.note(quota.limit, verdict));
        self.note_rates(&wanted.rates, verdict);
    }

    /// Counts what all these rates have said.
    pub fn note_rates<'a>(&self, rates: impl IntoIterator<Item = &'a Rate>, verdict: Verdict) {
        rates.into_iter().for_each(|rate| self.note(rate.limit, verdict));
    }

    /// Adds what has been counted.
    pub fn add_to(&self, counts: &mut VerdictCounts) {
        for (sums, verdicts) in counts.iter_mut().zip(&self.0) {
            for (sum, verdict) in sums.iter_mut().zip(verdicts) {
                *sum += verdict.load(Relaxed);
            }
        }
    }
}
