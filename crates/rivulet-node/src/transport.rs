//! What stands behind a node: log and feed. This page is the contract; `contract` is the same as a suite of tests.
//!
//! **Positions.** A transport gives every appended update a position that is greater than all positions it gave before,
//! also to other nodes. Of two appends, the one acknowledged before the other was begun has the lower position.
//!
//! **Log.** An append that returned `Ok` can be read back, on every node, until retention discards it. Reading never
//! skips: a page says up to which position it is complete, and whether anything between `after` and its entries has
//! been discarded.
//!
//! **Feed.** One per node: updates in strictly increasing position order, each at most once. From the moment that
//! [`Transport::confirmed`] answers `Ok(since)` for an interest until it is released, every update that touches it and
//! stands after `since` is in the feed, whatever breaks in between: after a break the transport reads what it missed
//! from the log and delivers it before anything newer. It may also hold updates that nobody asked for.

use std::{sync::Arc, time::Duration};

use rivulet_core::{EventId, Matcher, Position, Topic, Update};
use tokio::sync::mpsc;

/// How many events may wait between a transport and the pump. A transport that finds the feed full must not wait where
/// that would stall its connection: it drops the event, and reads it from the log when there is room (a break).
pub const FEED_LEN_MAX: usize = 2048;

/// An update that has its position.
#[derive(Clone, Debug)]
pub struct Appended {
    /// Where it stands.
    pub position: Position,
    /// What was published.
    pub update: Update,
}

/// What arrives at a node.
#[derive(Clone, Debug)]
pub enum FeedEvent {
    /// An update; its position is greater than those of all events before it.
    Update(Arc<Appended>),
    /// Every update up to this position that touches an interest confirmed before it has been in the feed.
    Verified(Position),
}

/// The receiving end of a feed.
pub type Feed = mpsc::Receiver<FeedEvent>;

/// What a node wants to have in its feed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Interest {
    /// The updates of one topic, be it their canonical one or an alternate.
    Topic(Topic),
    /// All updates: what pattern subscribers need.
    All,
}

/// What a client that replays wants to read.
#[derive(Clone, Debug)]
pub enum Selection {
    /// The updates of these topics, each once.
    Topics(Arc<[Topic]>),
    /// The updates that one of these matchers selects, each once.
    Matching(Arc<[Matcher]>),
}

/// A piece of the log.
#[derive(Clone, Debug)]
pub struct Page {
    /// The selected updates after the asked position, in position order.
    pub entries: Vec<Arc<Appended>>,
    /// Every selected update after the asked position and up to this one is in `entries` (or discarded, see
    /// `complete`). At the end of the log this is the log's clock, which may be later than the last entry.
    pub through: Position,
    /// Whether there may be more after `through` already.
    pub more: bool,
    /// Whether nothing that was selected has been discarded between the asked position and `through`. Also `false`,
    /// with `through` equal to the asked position, if the log's clock stands before it: then it is no position of this
    /// log's history.
    pub complete: bool,
}

/// Whether the feed is alive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FeedStatus {
    /// In the last seconds this node announced something to itself through the transport and received it.
    Live,
    /// It did not, since `since` ago, because of `reason`.
    Stale {
        /// For how long the feed has been stale.
        since: Duration,
        /// What was seen last, for a person.
        reason: String,
    },
}

/// Why a transport could not do what was asked. It may be tried again; nothing was lost that was acknowledged.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the transport is unavailable: {reason}")]
pub struct TransportError {
    /// For the log; never shown to clients.
    pub reason: String,
}

impl TransportError {
    /// An error for `reason`.
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into() }
    }
}

/// See the module's documentation for what an implementation promises. Every call ends within a bounded time.
#[async_trait::async_trait]
pub trait Transport: Send + Sync + 'static {
    /// Appends an update to the log of each of its topics and announces it. `Ok` means that it is in the log.
    async fn append(&self, update: Update) -> Result<Position, TransportError>;

    /// Counts one more holder of an interest. Never waits; the subscription is made in the background.
    fn retain(&self, interest: &Interest);

    /// Waits until a retained interest is subscribed. Every update after the answered position is in the feed.
    async fn confirmed(&self, interest: &Interest) -> Result<Position, TransportError>;

    /// Gives back one [`Transport::retain`]. The subscription may linger.
    fn release(&self, interest: &Interest);

    /// Reads the first `len_max` (at least one) selected updates after a position.
    async fn read(
        &self,
        selection: &Selection,
        after: Position,
        len_max: usize,
    ) -> Result<Page, TransportError>;

    /// The position of the earliest kept update with this publisher's id, if there is one.
    async fn locate(&self, id: &EventId) -> Result<Option<Position>, TransportError>;

    /// Whether the feed is alive.
    fn feed_status(&self) -> FeedStatus;

    /// `redis` or `memory`: for logs and metrics.
    fn name(&self) -> &'static str;
}
