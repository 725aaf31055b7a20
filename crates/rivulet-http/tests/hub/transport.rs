//! The memory transport behind a gate: appends wait while it is closed, or fail.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::SeqCst},
};

use rivulet_core::{EventId, Position, Update};
use rivulet_node::{
    Feed, FeedStatus, Interest, MemoryTransport, Page, Retention, Selection, Transport, TransportError,
};
use tokio::sync::Semaphore;

pub struct Gated {
    memory: Arc<MemoryTransport>,
    /// Whether every call fails.
    pub broken: AtomicBool,
    /// A permit per append that may go on.
    pub permits: Semaphore,
    /// Whether an append has begun.
    pub begun: AtomicBool,
}

impl Gated {
    pub fn start() -> (Arc<Self>, Feed) {
        let (memory, feed) = MemoryTransport::start(Retention::default());
        let (broken, permits, begun) = (AtomicBool::new(false), Semaphore::new(0), AtomicBool::new(false));
        (Arc::new(Self { memory, broken, permits, begun }), feed)
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
    async fn append(&self, update: Update) -> Result<Position, TransportError> {
        self.check()?;
        self.begun.store(true, SeqCst);
        self.permits.acquire().await.unwrap().forget();
        self.memory.append(update).await
    }

    fn retain(&self, interest: &Interest) {
        self.memory.retain(interest);
    }

    async fn confirmed(&self, interest: &Interest) -> Result<Position, TransportError> {
        self.check()?;
        self.memory.confirmed(interest).await
    }

    fn release(&self, interest: &Interest) {
        self.memory.release(interest);
    }

    async fn read(
        &self,
        selection: &Selection,
        after: Position,
        len_max: usize,
    ) -> Result<Page, TransportError> {
        self.check()?;
        self.memory.read(selection, after, len_max).await
    }

    async fn locate(&self, id: &EventId) -> Result<Option<Position>, TransportError> {
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
