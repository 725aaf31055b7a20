//! What a subscriber asks a worker for.

use std::time::Duration;

use rivulet_core::{Grants, LastEventId, Matcher};

use crate::TransportError;

/// A subscription, authorized and checked.
#[derive(Clone, Debug)]
pub struct SubscribeRequest {
    /// What to receive: at least one matcher.
    pub matchers: Vec<Matcher>,
    /// What the subscriber's token allows; the default for anonymous subscribers.
    pub grants: Grants,
    /// Where the subscriber wants to continue.
    pub last_event_id: Option<LastEventId>,
    /// How long the subscriber's token is still valid.
    pub expires_in: Option<Duration>,
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
    /// The transport could not subscribe or read the log.
    #[error(transparent)]
    Transport(#[from] TransportError),
}
