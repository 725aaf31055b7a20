//! The memory transport behind a gate: appends wait while it is closed, or fail.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::SeqCst},
};

use rivulet_core::{Cursor, EventId, IdempotencyKey, Partition, Partitions, Position, Update};
use rivulet_node::{
    AdmitError, AppendError, Feed, FeedStatus, Interest, KickReport, KickTarget, MemoryTransport, Page,
    PageLimits, Peers, Permit, Rate, Retention, Selection, Transport, TransportError, Wanted,
};
use tokio::sync::Semaphore;

pub(crate) struct Gated {
    memory: Arc<MemoryTransport>,
    /// Whether every call fails.
    pub(crate) broken: AtomicBool,
    /// Whether limits cannot be counted.
    pub(crate) limits_away: AtomicBool,
    /// Whether subscriptions need a permit as well.
    pub(crate) gates_subscriptions: AtomicBool,
    /// A permit per append (and subscription) that may go on.
    pub(crate) permits: Semaphore,
    /// Whether a call has come to the gate.
    pub(crate) begun: AtomicBool,
}

impl Gated {
    pub(crate) fn start() -> (Arc<Self>, Feed) {
        let (memory, feed) = MemoryTransport::start(Retention::default());
        let gated = Self {
            memory,
            broken: AtomicBool::new(false),
            limits_away: AtomicBool::new(false),
            gates_subscriptions: AtomicBool::new(false),
            permits: Semaphore::new(0),
            begun: AtomicBool::new(false),
        };
        (Arc::new(gated), feed)
    }

    async fn pass(&self) {
        self.begun.store(true, SeqCst);
        self.permits.acquire().await.unwrap().forget();
    }

    fn check(&self) -> Result<(), TransportError> {
        match self.broken.load(SeqCst) {
            true => Err(TransportError::new("redis-7.internal:6379 refused the connection")),
            false => Ok(()),
        }
    }
}

#[async_trait::async_trait]
impl Transport for Gated {
    fn partitions(&self) -> Partitions {
        self.memory.partitions()
    }

    async fn append(
        &self,
        update: Update,
        key: Option<&IdempotencyKey>,
        rates: &[Rate],
    ) -> Result<Position, AppendError> {
        self.check()?;
        self.pass().await;
        self.memory.append(update, key, rates).await
    }

    async fn admit(&self, wanted: Wanted) -> Result<Permit, AdmitError> {
        if self.limits_away.load(SeqCst) {
            let limit = wanted.quotas.last().expect("a test that sets this has a quota").limit;
            let error = TransportError::new("redis-7.internal:6379 refused the connection");
            return Err(AdmitError::Away { limit, error });
        }
        self.memory.admit(wanted).await
    }

    async fn kick(&self, target: &KickTarget) -> Result<KickReport, TransportError> {
        self.memory.kick(target).await
    }

    fn peers(&self) -> Peers {
        self.memory.peers()
    }

    fn retain(&self, interest: &Interest) {
        self.memory.retain(interest);
    }

    async fn confirmed(&self, interest: &Interest) -> Result<Cursor, TransportError> {
        self.check()?;
        if self.gates_subscriptions.load(SeqCst) {
            self.pass().await;
        }
        self.memory.confirmed(interest).await
    }

    fn release(&self, interest: &Interest) {
        self.memory.release(interest);
    }

    async fn read(
        &self,
        partition: Partition,
        selection: &Selection,
        after: Position,
        limits: PageLimits,
    ) -> Result<Page, TransportError> {
        self.check()?;
        self.memory.read(partition, selection, after, limits).await
    }

    async fn locate(&self, id: &EventId) -> Result<Option<(Partition, Position)>, TransportError> {
        self.check()?;
        self.memory.locate(id).await
    }

    fn feed_status(&self) -> FeedStatus {
        self.memory.feed_status()
    }

    fn name(&self) -> &'static str {
        "gated"
    }
}
