//! What stands behind a node: log, feed and limits. This page is the contract; `contract` is the same as a suite of tests.
//!
//! **Partitions.** Each topic stands in one partition. An update is appended once to each partition that one of its
//! topics stands in; the copies share nothing but their content. All rules below hold within a partition.
//!
//! **Positions.** A transport gives every appended update a position that is greater than all positions it gave before,
//! also to other nodes. Of two appends, the one acknowledged before the other was begun has the lower position.
//!
//! **Log.** An append that returned `Ok` can be read back, on every node, until retention discards it. Reading never
//! skips: a page says up to which position it is complete, and whether anything between the asked position and there
//! has been discarded.
//!
//! **Feed.** One per node: updates in strictly increasing position order, each at most once. From the moment that
//! [`Transport::confirmed`] answers `Ok(since)` for an interest until it is released, every update that touches it and
//! stands after `since` is in the feed, whatever breaks in between: after a break the transport reads what it missed
//! from the log and delivers it before anything newer. What it cannot read any more, it says ([`FeedEvent::Lost`]). It
//! may also hold updates that nobody asked for.

use std::{sync::Arc, time::Duration};

use rivulet_core::{
    Cursor, EventId, IdempotencyKey, Matcher, Partition, Partitions, Position, Topic, Update,
};

use crate::{
    AdmitError, Kick, KickReport, KickTarget, LimitsConfig, Peers, Permit, Rate, Refused, TransportStats,
    Wanted,
};

/// For how long an idempotency key is remembered, at least.
pub const IDEMPOTENCY_AGE: Duration = Duration::from_secs(600);

/// An update that has its position.
#[derive(Clone, Debug)]
pub struct Appended {
    /// In which partition it stands. One of its topics stands there too.
    pub partition: Partition,
    /// Where it stands there.
    pub position: Position,
    /// What was published.
    pub update: Update,
}

/// What arrives at a node.
#[derive(Debug)]
pub enum FeedEvent {
    /// An update; its position is greater than those of all events of its partition before it.
    Update(Arc<Appended>),
    /// Every update of the partition up to the position that touches an interest confirmed before it has been in the
    /// feed, or was said to be lost.
    Verified(Partition, Position),
    /// The feed may lack updates of the partition up to this position, and cannot find them: who depends on them has to
    /// look in the log, which knows for each reader whether something is missing.
    Lost {
        /// Where.
        partition: Partition,
        /// Up to where. Everything later is in the feed.
        through: Position,
        /// The topics that may lack updates; `None`: all. Interests in all updates are always concerned.
        topics: Option<Arc<[Topic]>>,
    },
    /// Some connections are to be ended.
    Kick(Box<Kick>),
}

/// What a node wants to have in its feed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Interest {
    /// The updates of one topic, be it their canonical one or an alternate.
    Topic(Topic),
    /// All updates of all partitions: what pattern subscribers need.
    All,
}

/// What a client that replays wants to read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Selection {
    /// The updates of these topics, each once. Topics of other partitions than the one that is read select nothing.
    Topics(Arc<[Topic]>),
    /// The updates that one of these matchers selects, each once.
    Matching(Arc<[Matcher]>),
}

/// How much a page may hold.
#[derive(Clone, Copy, Debug)]
pub struct PageLimits {
    /// At most so many entries; at least one.
    pub len: usize,
    /// No further entry once the contents of those before it have so many bytes.
    pub bytes: usize,
}

/// A piece of one partition's log.
#[derive(Clone, Debug)]
pub struct Page {
    /// The selected updates after the asked position, in position order.
    pub entries: Vec<Arc<Appended>>,
    /// Every selected update after the asked position and up to this one is in `entries`, or lost (see `gap`). At the
    /// end of the log this is the log's clock, which may be later than the last entry. Never before the asked position.
    pub through: Position,
    /// Whether there may be more after `through` already.
    pub more: bool,
    /// The log's clock: no position of its history is later. An asked position after it is not of this history.
    pub clock: Position,
    /// Selected updates after the asked position that are not kept any more.
    pub gap: Option<Gap>,
    /// The voids after the asked position: who stands within one lacks what others who take this page have.
    pub voids: Vec<Void>,
}

impl Page {
    /// A page in which nothing has been found yet.
    pub fn at(after: Position) -> Self {
        let (entries, voids) = (Vec::new(), Vec::new());
        Self { entries, through: after, more: false, clock: Position::ZERO, gap: None, voids }
    }
}

/// Between these two, nobody was ever given a position by this log: who has one has it from another, of which this one may
/// be an older copy. What that one held is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Void {
    /// The last position before it.
    pub after: Position,
    /// The first one behind it.
    pub before: Position,
}

impl Void {
    /// Whether a position lies within.
    pub fn holds(&self, position: Position) -> bool {
        self.after < position && position < self.before
    }
}

/// Updates that cannot be read any more, or may have been among what a log has lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The topics that lost updates; `None`: everything that was selected may have.
    pub topics: Option<Arc<[Topic]>>,
    /// From this position on everything of them is kept: what is lost stands before it.
    pub oldest: Position,
}

/// Whether the feed is alive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FeedStatus {
    /// In the last seconds this node announced something to itself through each partition and received it.
    Live,
    /// In these partitions it did not; at least one, in order.
    Stale(Vec<StalePartition>),
}

/// A partition whose feed is not alive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StalePartition {
    /// Which.
    pub partition: Partition,
    /// For how long it has been so.
    pub since: Duration,
    /// What was seen last, for a person.
    pub reason: String,
}

/// What a node knows too little for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outdated {
    /// The format of what the transport keeps that every node of the hub must know now.
    pub needed: u32,
    /// The newest that this node knows.
    pub knows: u32,
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

/// Why an update was not appended.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AppendError {
    /// The idempotency key was used before, for another update.
    #[error("the idempotency key was used for another update")]
    KeyReused,
    /// A rate does not let it through: nothing was appended, and nothing taken from any rate.
    #[error(transparent)]
    Refused(Box<Refused>),
    /// The update may have been appended all the same.
    #[error(transparent)]
    Transport(#[from] TransportError),
}

impl From<Refused> for AppendError {
    fn from(refused: Refused) -> Self {
        Self::Refused(Box::new(refused))
    }
}

/// See the module's documentation for what an implementation promises. Every call ends within a bounded time.
#[async_trait::async_trait]
pub trait Transport: Send + Sync + 'static {
    /// How many partitions there are. Never changes.
    fn partitions(&self) -> Partitions;

    /// Appends an update to the log of each of its topics and announces it. `Ok` means that it is in the log, in all its
    /// partitions; the answer is its position in the partition of its canonical topic.
    ///
    /// If the same update was appended with the same key in the last [`IDEMPOTENCY_AGE`], nothing is appended where it
    /// stands already, and the answer is the position that it has. Each partition knows the keys of its own updates: a
    /// key that was used for topics of other partitions only is not known as used.
    ///
    /// It is appended only if all `rates` let it through; a repeat with a key is not counted again. The rates of the
    /// update's topics are in step with the append.
    async fn append(
        &self,
        update: Update,
        key: Option<&IdempotencyKey>,
        rates: &[Rate],
    ) -> Result<Position, AppendError>;

    /// Lets the connection through each rate and takes a place in each quota, or takes no place ([`Refused`] says what is
    /// used then). Exact from many nodes at once: no quota is ever exceeded, on the hub as a whole. The places come back when the permit is dropped; those of a
    /// node that died, within the lease time. While the transport cannot count, each limit's [`crate::WhenAway`] holds.
    async fn admit(&self, wanted: Wanted) -> Result<Permit, AdmitError>;

    /// The limits of the hub have changed on this node. A quota that was raised is that of the connections it has, too.
    fn limits_changed(&self, _now: &LimitsConfig) {}

    /// Has all nodes of the hub, this one included, end connections ([`FeedEvent::Kick`]), and waits for what they say,
    /// for some seconds at most. A node that hears nothing now hears of it when it does again, if that is within some
    /// minutes; then only those end who were there when it was told ([`Kick::before`]).
    async fn kick(&self, target: &KickTarget) -> Result<KickReport, TransportError>;

    /// The nodes of the hub, as this one last heard of them.
    fn peers(&self) -> Peers;

    /// Says that no new connections should be sent to this node any more, so that others do not compare themselves with it.
    fn leave(&self) {}

    /// Counts one more holder of an interest. Never waits; the subscription is made in the background.
    fn retain(&self, interest: &Interest);

    /// Waits until a retained interest is subscribed. Every update after the answered position (of the topic's
    /// partition; for all updates, of each partition) is in the feed.
    async fn confirmed(&self, interest: &Interest) -> Result<Cursor, TransportError>;

    /// Gives back one [`Transport::retain`]. The subscription may linger.
    fn release(&self, interest: &Interest);

    /// Reads the first selected updates of a partition after a position.
    async fn read(
        &self,
        partition: Partition,
        selection: &Selection,
        after: Position,
        limits: PageLimits,
    ) -> Result<Page, TransportError>;

    /// Where the earliest kept update with this publisher's id stands, if there is one.
    async fn locate(&self, id: &EventId) -> Result<Option<(Partition, Position)>, TransportError>;

    /// Whether the feed is alive.
    fn feed_status(&self) -> FeedStatus;

    /// What newer nodes of the hub demand of every node and this one lacks: it may not be able to read what they write.
    fn outdated(&self) -> Option<Outdated> {
        None
    }

    /// How much this node's clock is before the one that positions come from, in microseconds: what tells the age of an
    /// update. Asked often, so nothing is waited for.
    fn clock_offset_micros(&self) -> i64 {
        0
    }

    /// What it has counted, for metrics.
    fn stats(&self) -> TransportStats {
        TransportStats::default()
    }

    /// Gives back, as far as it can, what others would wait for, such as a lease. To be called last; dropping the
    /// transport begins the same without waiting for it.
    async fn close(&self) {}

    /// `redis` or `memory`: for logs and metrics.
    fn name(&self) -> &'static str;
}
