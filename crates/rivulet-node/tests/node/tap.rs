//! The memory transport behind a tap: what is read is counted, and the feed can be made to lose updates.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst},
};

use parking_lot::Mutex;
use rivulet_core::{Cursor, EventId, IdempotencyKey, Partition, Partitions, Position, Topic, Update};
use rivulet_node::{
    AdmitError, AppendError, Appended, Feed, FeedEvent, FeedSender, FeedStatus, Interest, KickReport,
    KickTarget, MemoryTransport, Page, PageLimits, Peers, Permit, Rate, Selection, Transport, TransportError,
    Wanted,
};

use crate::harness::memory;

pub(crate) struct Tap {
    memory: Arc<MemoryTransport>,
    feed: FeedSender,
    /// Per partition, nothing up to here passes.
    deaf: Arc<Vec<AtomicU64>>,
    /// Pages read.
    pub(crate) reads: AtomicUsize,
    /// Ids located.
    pub(crate) locates: AtomicUsize,
    /// The largest page, in entries and in bytes.
    pub(crate) largest: Mutex<[usize; 2]>,
    /// Reads wait here.
    pub(crate) gate: tokio::sync::RwLock<()>,
    /// Whether reads fail.
    pub(crate) broken: AtomicBool,
    /// What is said of the nodes, if it is not the truth.
    pub(crate) peers: Mutex<Option<Peers>>,
    /// What is said of the feed.
    pub(crate) status: Mutex<FeedStatus>,
}

impl Tap {
    pub(crate) fn start(partitions: u16, count: usize) -> (Arc<Self>, Feed) {
        let (memory, mut from) = memory(partitions, count);
        let (feed, to) = rivulet_node::feed();
        let deaf: Arc<Vec<AtomicU64>> = Arc::new((0..partitions).map(|_| AtomicU64::new(0)).collect());
        let tap = Self {
            memory,
            feed: feed.clone(),
            deaf: deaf.clone(),
            reads: AtomicUsize::new(0),
            locates: AtomicUsize::new(0),
            largest: Mutex::default(),
            gate: tokio::sync::RwLock::default(),
            broken: AtomicBool::new(false),
            peers: Mutex::new(None),
            status: Mutex::new(FeedStatus::Live),
        };
        tokio::spawn(async move {
            while let Some(event) = from.recv().await {
                let (partition, position) = match &event {
                    FeedEvent::Update(appended) => (appended.partition, appended.position),
                    FeedEvent::Verified(partition, position) => (*partition, *position),
                    FeedEvent::Lost { partition, through, .. } => (*partition, *through),
                    FeedEvent::Kick(_) => (Partition::default(), Position::MAX),
                };
                if position.as_micros() > deaf[partition.index()].load(SeqCst)
                    && feed.send(event).await.is_err()
                {
                    return;
                }
            }
        });
        (Arc::new(tap), to)
    }

    /// From now on nothing of a partition passes.
    pub(crate) fn go_deaf(&self, partition: Partition) {
        self.deaf[partition.index()].store(u64::MAX, SeqCst);
    }

    /// Something passes again, after saying that what was appended meanwhile may be lacking.
    pub(crate) async fn hear_again(&self, partition: Partition, topics: Option<&[&str]>) {
        let limits = PageLimits { len: 1, bytes: 1 };
        let page = self.memory.read(partition, &Selection::Topics([].into()), Position::ZERO, limits).await;
        let through = page.unwrap().clock;
        let topics = topics.map(|names| names.iter().map(|name| Topic::parse(name).unwrap()).collect());
        self.feed.try_send(FeedEvent::Lost { partition, through, topics }).unwrap();
        self.deaf[partition.index()].store(through.as_micros(), SeqCst);
    }

    /// Has the node's feed say something.
    pub(crate) fn say(&self, event: FeedEvent) {
        self.feed.try_send(event).unwrap();
    }

    fn note(&self, entries: &[Arc<Appended>]) {
        self.reads.fetch_add(1, SeqCst);
        let bytes = entries.iter().map(|entry| entry.update.data.len()).sum();
        let mut largest = self.largest.lock();
        *largest = [largest[0].max(entries.len()), largest[1].max(bytes)];
    }
}

#[async_trait::async_trait]
impl Transport for Tap {
    fn partitions(&self) -> Partitions {
        self.memory.partitions()
    }

    async fn append(
        &self,
        update: Update,
        key: Option<&IdempotencyKey>,
        rates: &[Rate],
    ) -> Result<Position, AppendError> {
        self.memory.append(update, key, rates).await
    }

    async fn admit(&self, wanted: Wanted) -> Result<Permit, AdmitError> {
        self.memory.admit(wanted).await
    }

    async fn kick(&self, target: &KickTarget) -> Result<KickReport, TransportError> {
        self.memory.kick(target).await
    }

    fn peers(&self) -> Peers {
        self.peers.lock().unwrap_or_else(|| self.memory.peers())
    }

    fn retain(&self, interest: &Interest) {
        self.memory.retain(interest);
    }

    async fn confirmed(&self, interest: &Interest) -> Result<Cursor, TransportError> {
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
        // As a read over a network, it lets others run.
        tokio::task::yield_now().await;
        let _open = self.gate.read().await;
        if self.broken.load(SeqCst) {
            self.note(&[]);
            return Err(TransportError::new("the tap is closed"));
        }
        let page = self.memory.read(partition, selection, after, limits).await?;
        self.note(&page.entries);
        Ok(page)
    }

    async fn locate(&self, id: &EventId) -> Result<Option<(Partition, Position)>, TransportError> {
        tokio::task::yield_now().await;
        self.locates.fetch_add(1, SeqCst);
        self.memory.locate(id).await
    }

    fn feed_status(&self) -> FeedStatus {
        self.status.lock().clone()
    }

    fn name(&self) -> &'static str {
        "tap"
    }
}
