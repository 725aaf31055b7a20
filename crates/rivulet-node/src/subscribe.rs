//! What a subscriber asks a worker for.

use std::time::SystemTime;

use opentelemetry::KeyValue;
use rivulet_core::{Dialect, Grants, LastEventId, Matcher};

use crate::{TransportError, trace::Span};

/// A subscription, authorized and checked.
#[derive(Clone, Debug)]
pub struct SubscribeRequest {
    /// What to receive: at least one matcher.
    pub matchers: Vec<Matcher>,
    /// What the subscriber's token allows; the default for anonymous subscribers.
    pub grants: Grants,
    /// Where the subscriber wants to continue.
    pub last_event_id: Option<LastEventId>,
    /// Until when the subscriber's token is valid. A moment, not what is left of it: until the stream opens, the subscriber
    /// may have to wait for much.
    pub expires_at: Option<SystemTime>,
    /// Which dialect the subscriber speaks: for metrics.
    pub dialect: Dialect,
}

/// What the answer says about the last id that a subscriber sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resumed {
    /// Everything after it follows: the answer repeats it.
    Known,
    /// It is unknown, or something after it has been discarded, or everything was asked for: `earliest`. What is kept
    /// follows.
    Earliest,
}

/// Why a subscriber was not seated. It may try again, elsewhere or later.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SubscribeError {
    /// All places of this node are taken.
    #[error("this node holds as many connections as it may")]
    NodeFull,
    /// The node is stopping.
    #[error("this node is stopping")]
    Closing,
    /// The node has hardly any memory left.
    #[error("this node has hardly any memory left")]
    MemoryTight,
    /// As many subscribers read what they missed as may at the same time.
    #[error("as many subscribers of this node read what they missed as may at the same time")]
    ReplaysBusy,
    /// An operator, or a limit, ended the connection before its stream had begun.
    #[error("the connection was ended before its stream began")]
    Kicked,
    /// The subscriber's token has expired before the stream had begun.
    #[error("the token expired before the stream began")]
    TokenExpired,
    /// The transport could not subscribe or read the log.
    #[error(transparent)]
    Transport(#[from] TransportError),
}

impl SubscribeError {
    /// What the node lacks, if that is why.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Closing => Some(Refusal::Closing),
            Self::NodeFull => Some(Refusal::Full),
            Self::MemoryTight => Some(Refusal::Memory),
            Self::ReplaysBusy => Some(Refusal::Replays),
            Self::Kicked | Self::TokenExpired | Self::Transport(_) => None,
        }
    }

    /// Notes it in the span of the reservation: only what the transport could not do is a failure.
    pub(crate) fn note_in(&self, span: &Span) {
        match (self, self.refusal()) {
            (Self::Transport(error), _) => span.fail("transport-unavailable", error.reason.clone()),
            (_, Some(refusal)) => span.set(|| [KeyValue::new("rivulet.refusal", refusal.as_str())]),
            (_, None) => span.set(|| [KeyValue::new("rivulet.refusal", self.to_string())]),
        }
    }
}

/// Why a node refused subscribers: what it lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// It is stopping: [`SubscribeError::Closing`].
    Closing,
    /// Places: [`SubscribeError::NodeFull`].
    Full,
    /// Memory: [`SubscribeError::MemoryTight`].
    Memory,
    /// Turns to replay: [`SubscribeError::ReplaysBusy`].
    Replays,
}

impl Refusal {
    /// All of them, in the order of their counters.
    pub const ALL: [Self; 4] = [Self::Closing, Self::Full, Self::Memory, Self::Replays];

    /// The name in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closing => "closing",
            Self::Full => "full",
            Self::Memory => "memory",
            Self::Replays => "replays",
        }
    }
}
