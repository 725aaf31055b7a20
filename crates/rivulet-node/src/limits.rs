//! The limits of a hub: who may hold how many connections, and how often who may subscribe or publish.
//!
//! A *quota* bounds how many connections a scope (a subject, an address, a topic, the hub) holds at the same time, a
//! *rate* how often something happens in a scope. Both hold for the hub, not for a node: the transport keeps count.

mod config;
mod local;
mod pace;
mod permit;
mod verdicts;

use std::{fmt, sync::Arc, time::Duration};

use opentelemetry::KeyValue;

pub(crate) use self::config::address;
pub use self::{
    config::{Client, LimitsConfig, Overrides},
    local::{Held, LocalLimits, Share},
    pace::{PACE_COUNT_MAX, PACE_PERIOD_MAX, PACE_PERIOD_MIN, PaceError},
    permit::{Holding, Keeper, Permit},
    verdicts::{Verdict, VerdictCounts, Verdicts},
};
use crate::{TransportError, trace::Span};

/// The limits that hold for the whole hub. Each has one name: in flags, refusals and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Limit {
    /// Connections of the hub.
    ConnectionsTotal,
    /// Connections of one subject.
    ConnectionsPerSubject,
    /// Connections from one address (IPv6: one /64).
    ConnectionsPerIp,
    /// Connections that subscribe to one topic; a pattern counts as a topic of its own.
    ConnectionsPerTopic,
    /// Subscriptions from one address.
    SubscribesPerIp,
    /// Subscriptions of one subject.
    SubscribesPerSubject,
    /// Updates of one subject.
    PublishesPerSubject,
    /// Updates to one topic.
    PublishesPerTopic,
}

impl Limit {
    /// All limits, in the order of their counters.
    pub const ALL: [Self; 8] = [
        Self::ConnectionsTotal,
        Self::ConnectionsPerSubject,
        Self::ConnectionsPerIp,
        Self::ConnectionsPerTopic,
        Self::SubscribesPerIp,
        Self::SubscribesPerSubject,
        Self::PublishesPerSubject,
        Self::PublishesPerTopic,
    ];

    /// The name in flags (with dashes), refusals and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ConnectionsTotal => "connections_total",
            Self::ConnectionsPerSubject => "connections_per_subject",
            Self::ConnectionsPerIp => "connections_per_ip",
            Self::ConnectionsPerTopic => "connections_per_topic",
            Self::SubscribesPerIp => "subscribes_per_ip",
            Self::SubscribesPerSubject => "subscribes_per_subject",
            Self::PublishesPerSubject => "publishes_per_subject",
            Self::PublishesPerTopic => "publishes_per_topic",
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a limit counts: a subject, an address, a topic; empty for the hub. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scope(Arc<str>);

impl Scope {
    /// The scope with this text.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The hub.
    pub fn hub() -> Self {
        Self::new("")
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What becomes of a limit while the transport cannot count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenAway {
    /// This node's share of the limit holds: the limit, divided by the nodes that there were last.
    #[default]
    Open,
    /// Nothing is let through.
    Closed,
}

/// How many connections a scope may hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Which limit this is.
    pub limit: Limit,
    /// Who or what is limited.
    pub scope: Scope,
    /// At most so many; at least one.
    pub max: u32,
    /// Whether a token says so, and not the configuration.
    pub is_of_token: bool,
    /// While the transport cannot count.
    pub when_away: WhenAway,
}

/// How often something may happen in a scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Which limit this is.
    pub limit: Limit,
    /// Who or what is limited.
    pub scope: Scope,
    /// How often.
    pub pace: Pace,
    /// While the transport cannot count.
    pub when_away: WhenAway,
}

/// So many per period, evenly spread (GCRA: the generic cell rate algorithm), and so many at once before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// How many per period; at least one.
    pub count: u32,
    /// At least a second, at most a day.
    pub period: Duration,
    /// How many at once after a pause; at least one.
    pub burst: u32,
}

impl Pace {
    /// The time that each takes, in microseconds: at least one.
    pub fn interval_micros(self) -> u64 {
        let micros = self.period.as_micros() / u128::from(self.count.max(1));
        u64::try_from(micros).unwrap_or(u64::MAX).max(1)
    }

    /// How far ahead of time the burst may be, in microseconds.
    pub fn burst_micros(self) -> u64 {
        self.interval_micros().saturating_mul(u64::from(self.burst.max(1)))
    }
}

/// What a connection needs before it may open: a place in each quota, and each rate must let it through.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// The quotas.
    pub quotas: Vec<Quota>,
    /// The rates.
    pub rates: Vec<Rate>,
}

/// A limit that does not let something through. No place was taken, and by a rate's refusal no rate used; a connection that
/// finds a quota full has used its rates, so that asking again and again is not free.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{limit} is {max}, reached by {:?}", .scope.as_str())]
pub struct Refused {
    /// Which limit.
    pub limit: Limit,
    /// Who or what has reached it.
    pub scope: Scope,
    /// Its value: connections, or how many per period.
    pub max: u32,
    /// Of rates: the period, and how many at once.
    pub pace: Option<Pace>,
    /// Among how many nodes it was divided: while the transport cannot count, each has a share.
    pub nodes: u32,
    /// When it may be tried again. For quotas a guess: somebody has to leave.
    pub retry_after: Duration,
}

/// Why a connection was not admitted.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AdmitError {
    /// A limit has been reached.
    #[error(transparent)]
    Refused(Box<Refused>),
    /// More come than the transport counts: so many may wait for that, and this one would have waited too long, or was one
    /// too many.
    #[error("more connections come than can be counted: at most {0} wait for that")]
    Busy(usize),
    /// The transport cannot count now, and this limit lets nobody through meanwhile.
    #[error("{limit} cannot be counted now: {error}")]
    Away {
        /// Which limit.
        limit: Limit,
        /// Why not.
        error: TransportError,
    },
}

impl AdmitError {
    /// Notes it in the span of the admission: only what could not be counted is a failure.
    pub(crate) fn note_in(&self, span: &Span) {
        match self {
            Self::Refused(refused) => span.set(|| [KeyValue::new("rivulet.limit", refused.limit.as_str())]),
            Self::Busy(_) => span.fail("admissions-busy", self.to_string()),
            Self::Away { error, .. } => span.fail("limits-away", error.reason.clone()),
        }
    }
}

impl From<Refused> for AdmitError {
    fn from(refused: Refused) -> Self {
        Self::Refused(Box::new(refused))
    }
}
