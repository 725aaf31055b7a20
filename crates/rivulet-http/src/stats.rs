//! What the HTTP face counts, for metrics. Shared by all workers; labels come from fixed sets.

use std::{
    sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

use actix_web::ResponseError as _;
use rivulet_node::{Histogram, HistogramSnapshot, Limit, histogram::CALL_BOUNDS};

use crate::{
    auth::{Check, Dialect},
    problem::{Cause, Problem},
    problem_kind::ProblemKind,
};

/// How many slugs there are.
const SLUGS: usize = ProblemKind::ALL.len() + Check::ALL.len();

/// What became of an update that a publisher sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PublishOutcome {
    /// It is in the log.
    Published,
    /// The publisher did something wrong, or too often.
    Refused,
    /// The hub could not do it.
    Failed,
}

impl PublishOutcome {
    /// All of them, in the order of their counters.
    pub const ALL: [Self; 3] = [Self::Published, Self::Refused, Self::Failed];

    /// The name in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Published => "published",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }

    fn of(problem: Option<&Problem>) -> Self {
        match problem {
            None => Self::Published,
            Some(problem) if problem.status_code().is_server_error() => Self::Failed,
            Some(_) => Self::Refused,
        }
    }
}

/// See the module's documentation.
#[derive(Debug)]
pub struct HttpStats {
    admitted: AtomicU64,
    refused: [AtomicU64; SLUGS],
    limited: [AtomicU64; Limit::ALL.len()],
    subscribe: [Histogram; Dialect::ALL.len()],
    publish: [Histogram; PublishOutcome::ALL.len()],
    pub(crate) forwarding_ignored: AtomicU64,
    pub(crate) forwarding_malformed: AtomicU64,
    /// The bytes that bodies hold now; [`crate::bodies`] keeps them within their bound.
    pub(crate) body_bytes: AtomicUsize,
}

impl Default for HttpStats {
    fn default() -> Self {
        Self {
            admitted: AtomicU64::default(),
            refused: [const { AtomicU64::new(0) }; SLUGS],
            limited: [const { AtomicU64::new(0) }; Limit::ALL.len()],
            subscribe: Dialect::ALL.map(|_| Histogram::new(CALL_BOUNDS)),
            publish: PublishOutcome::ALL.map(|_| Histogram::new(CALL_BOUNDS)),
            forwarding_ignored: AtomicU64::default(),
            forwarding_malformed: AtomicU64::default(),
            body_bytes: AtomicUsize::default(),
        }
    }
}

impl HttpStats {
    /// Counts a subscriber that passed all limits.
    pub(crate) fn count_admitted(&self) {
        self.admitted.fetch_add(1, Relaxed);
    }

    /// Counts a stream that has begun, so long after its request had come.
    pub(crate) fn count_subscribe(&self, dialect: Dialect, took: Duration) {
        self.subscribe[dialect as usize].observe(took);
    }

    /// Counts an update whose publisher is answered, so long after the hub had read it.
    pub(crate) fn count_publish(&self, took: Duration, problem: Option<&Problem>) {
        self.publish[PublishOutcome::of(problem) as usize].observe(took);
    }

    /// Counts a refusal, be it of a request or of a line of a batch.
    pub(crate) fn count_refused(&self, problem: &Problem) {
        let place = match problem.cause() {
            Cause::Kind(kind) => kind as usize,
            Cause::Token(check) => ProblemKind::ALL.len() + check as usize,
        };
        self.refused[place].fetch_add(1, Relaxed);
        if let Some(limit) = problem.limit() {
            self.limited[limit as usize].fetch_add(1, Relaxed);
        }
    }

    /// What has been counted.
    pub fn snapshot(&self) -> HttpSnapshot {
        let slugs = ProblemKind::ALL.iter().map(|kind| kind.slug());
        let slugs = slugs.chain(Check::ALL.iter().map(|check| check.slug()));
        HttpSnapshot {
            admitted: self.admitted.load(Relaxed),
            token_refusals: Check::ALL
                .into_iter()
                .zip(self.refused[ProblemKind::ALL.len()..].iter().map(|count| count.load(Relaxed)))
                .collect(),
            refused: slugs.zip(self.refused.iter().map(|count| count.load(Relaxed))).collect(),
            subscribe: Dialect::ALL.into_iter().zip(self.subscribe.iter().map(Histogram::snapshot)).collect(),
            publish: PublishOutcome::ALL
                .into_iter()
                .zip(self.publish.iter().map(Histogram::snapshot))
                .collect(),
            limited: Limit::ALL
                .into_iter()
                .zip(self.limited.iter().map(|count| count.load(Relaxed)))
                .collect(),
            forwarding_headers_ignored: self.forwarding_ignored.load(Relaxed),
            forwarding_headers_malformed: self.forwarding_malformed.load(Relaxed),
            body_bytes: self.body_bytes.load(Relaxed),
        }
    }
}

/// What [`HttpStats`] has counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpSnapshot {
    /// Subscribers that passed all limits.
    pub admitted: u64,
    /// Refusals by the last segment of their problem's type, zeros included: requests, and lines of batches.
    pub refused: Vec<(&'static str, u64)>,
    /// Those of them because of a token, by the check that failed.
    pub token_refusals: Vec<(Check, u64)>,
    /// How long it took from a subscriber's request to the beginning of its stream, by dialect; only of those that began.
    pub subscribe: Vec<(Dialect, HistogramSnapshot)>,
    /// How long it took from an update's having been read to its outcome; each line of a batch is one.
    pub publish: Vec<(PublishOutcome, HistogramSnapshot)>,
    /// Those because of a limit of the hub, by limit.
    pub limited: Vec<(Limit, u64)>,
    /// Requests with forwarding headers from peers that are not trusted.
    pub forwarding_headers_ignored: u64,
    /// Requests whose forwarding headers, though from a trusted peer, could not be read to their end.
    pub forwarding_headers_malformed: u64,
    /// Bytes that bodies hold now.
    pub body_bytes: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_counted_under_their_slug_and_limit() {
        let stats = HttpStats::default();
        for kind in ProblemKind::ALL {
            stats.count_refused(&Problem::new(*kind, ""));
        }
        stats.count_refused(&Problem::new(ProblemKind::NotFound, ""));
        for (check, place) in Check::ALL.into_iter().zip(0..) {
            assert_eq!(check as usize, place, "the order of the list is that of the counters");
        }
        for (limit, place) in Limit::ALL.into_iter().zip(0..) {
            assert_eq!(limit as usize, place, "the order of the list is that of the counters");
        }
        let snapshot = stats.snapshot();
        assert_eq!(snapshot.refused.len(), SLUGS);
        for (slug, count) in snapshot.refused {
            let is_token = Check::ALL.iter().any(|check| check.slug() == slug);
            let expected = if is_token { 0 } else { 1 + u64::from(slug == "not-found") };
            assert_eq!(count, expected, "{slug}");
        }
    }

    #[test]
    fn an_update_is_published_refused_or_failed() {
        let stats = HttpStats::default();
        let took = Duration::from_millis(3);
        stats.count_publish(took, None);
        stats.count_publish(took, Some(&Problem::new(ProblemKind::TopicMissing, "")));
        stats.count_publish(took, Some(&Problem::new(ProblemKind::RateExceeded, "")));
        for kind in [ProblemKind::TransportUnavailable, ProblemKind::NodeClosing, ProblemKind::MemoryTight] {
            stats.count_publish(took, Some(&Problem::new(kind, "")));
        }
        let found = stats.snapshot().publish;
        let found: Vec<_> = found.iter().map(|(outcome, took)| (outcome.as_str(), took.total())).collect();
        assert_eq!(found, [("published", 1), ("refused", 2), ("failed", 3)]);
    }
}
