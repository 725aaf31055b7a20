//! A node: one process's share of the hub. It keeps nothing that its death would lose.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use opentelemetry::trace::SpanKind;
use parking_lot::Mutex;
use rivulet_core::{IdempotencyKey, Partitions, Update, cursor::position_id};
use tokio::{
    runtime::Handle,
    sync::{Semaphore, mpsc},
    task::{JoinError, JoinHandle},
};
use uuid::Uuid;

use crate::{
    AdmitError, AppendError, Feed, FeedStatus, Limit, LimitsConfig, NodeConfig, NodePhase, NodeSnapshot,
    Peers, Permit, Rate, Refusal, StreamTimes, Transport, TransportError, TransportStats, Wanted,
    config::{INBOXES_BYTES_MAX, INSPECTIONS_MAX, KICKS_LEN_MAX},
    delivery::{Encoding, Input},
    frame_memory::FrameMemory,
    kicker,
    locations::Locations,
    message_span,
    node_phase::PhaseCell,
    pages::Pages,
    places::Places,
    pump,
    registry::Registry,
    seats::Seats,
    shed,
    trace::Span,
    work_clock::WorkClock,
    worker::Worker,
    workers::Workers,
};

/// How long a stopping node waits until its workers have ended all streams: they only have to close sockets.
const SHUTDOWN_WAIT: Duration = Duration::from_secs(5);

/// See the module's documentation.
pub struct Node {
    pub(crate) shared: Arc<NodeShared>,
    /// What runs in the background, and ends with the node.
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

/// What the workers and the pump share.
pub(crate) struct NodeShared {
    pub(crate) id: Uuid,
    pub(crate) config: NodeConfig,
    /// What of it may change.
    pub(crate) times: Arc<ArcSwap<StreamTimes>>,
    runtime: Handle,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) workers: Workers,
    pub(crate) places: Arc<Places>,
    pub(crate) pages: Arc<Pages>,
    pub(crate) locations: Arc<Locations>,
    pub(crate) partitions: Partitions,
    pub(crate) encoding: Encoding,
    pub(crate) phase: PhaseCell,
    pub(crate) memory_tight: AtomicBool,
    /// The places of those that replay after a last id.
    pub(crate) replays: Arc<Places>,
    /// The bytes that deliveries in inboxes may hold.
    pub(crate) inboxes_budget: Arc<Semaphore>,
    /// The turns of those who look into the workers.
    pub(crate) inspections: Semaphore,
    /// By [`Refusal`].
    pub(crate) refused: [AtomicU64; Refusal::ALL.len()],
    published: AtomicU64,
    pub(crate) received: AtomicU64,
    pub(crate) encoded: AtomicU64,
    /// How often the feed has said that it lacks something.
    pub(crate) lost: AtomicU64,
    /// Where times within the node count from.
    pub(crate) started: Instant,
}

impl Node {
    /// Starts a node on the tokio runtime of the caller, which must outlive it: the pump and all work of the transport
    /// run there.
    pub fn start(transport: Arc<dyn Transport>, feed: Feed, config: NodeConfig) -> Arc<Self> {
        let (runtime, reads) = (Handle::current(), Arc::new(Semaphore::new(config.replay_reads_max)));
        let encoding = Encoding {
            partitions: transport.partitions(),
            exposes_trace: config.expose_trace,
            memory: FrameMemory::default(),
        };
        let shared = Arc::new(NodeShared {
            id: Uuid::new_v4(),
            registry: Arc::new(Registry::new(transport.clone())),
            workers: Workers::default(),
            places: Places::new(config.connections_max),
            pages: Pages::new(transport.clone(), encoding.clone(), runtime.clone(), reads.clone()),
            locations: Locations::new(transport.clone(), runtime.clone(), reads),
            partitions: transport.partitions(),
            encoding,
            phase: PhaseCell::new(),
            memory_tight: AtomicBool::new(false),
            replays: Places::new(config.replays_max),
            inboxes_budget: Arc::new(Semaphore::new(INBOXES_BYTES_MAX as usize)),
            inspections: Semaphore::new(INSPECTIONS_MAX),
            refused: [const { AtomicU64::new(0) }; Refusal::ALL.len()],
            published: AtomicU64::new(0),
            received: AtomicU64::new(0),
            encoded: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            started: Instant::now(),
            times: Arc::new(ArcSwap::from_pointee(config.times())),
            runtime,
            transport,
            config,
        });
        let (kicks, kicked) = mpsc::channel(KICKS_LEN_MAX);
        let tasks = vec![
            tokio::spawn(pump::run(shared.clone(), feed, kicks)),
            tokio::spawn(kicker::run(shared.clone(), kicked)),
            tokio::spawn(shed::run(shared.clone())),
        ];
        Arc::new(Self { shared, tasks: Mutex::new(tasks) })
    }

    /// Appends an update and answers its id on the wire: the publisher's own, or that of its position. Goes on if the
    /// caller is dropped meanwhile. A repeat with the same key is answered as the first one was.
    ///
    /// # Errors
    ///
    /// The transport did not acknowledge the update. It may have been appended all the same, unless the key was used
    /// for another one, or a rate is used up.
    pub async fn publish(
        &self,
        mut update: Update,
        key: Option<IdempotencyKey>,
        rates: Vec<Rate>,
    ) -> Result<String, AppendError> {
        let shared = self.shared.clone();
        let span = message_span::send(&shared, &mut update);
        let recorded = span.clone();
        let append = async move {
            let id = update.id.as_ref().map(|id| id.as_str().to_owned());
            let appended = shared.transport.append(update, key.as_ref(), &rates).await;
            message_span::sent(&shared, &span, id.as_deref(), &appended);
            let position = appended?;
            shared.published.fetch_add(1, Relaxed);
            Ok(id.unwrap_or_else(|| position_id(shared.partitions, position)))
        };
        self.shared.on_runtime(recorded.within(append)).await
    }

    /// Changes how long things take from now on. Streams that are open keep the end that was drawn for them; heartbeats
    /// and the write deadline are theirs when the node looks at them next, after the old ones at the latest.
    pub fn retime(&self, times: StreamTimes) {
        self.shared.times.store(Arc::new(times));
    }

    /// How many connections this node may hold.
    pub fn connections_max(&self) -> usize {
        self.shared.config.connections_max
    }

    /// How many subscribers may replay at the same time.
    pub fn replays_max(&self) -> usize {
        self.shared.config.replays_max
    }

    /// How much memory the process may take, in bytes, if that is limited.
    pub fn memory_max(&self) -> Option<u64> {
        self.shared.config.memory_max
    }

    /// Takes what a connection needs of the hub's limits. Goes on if the caller is dropped meanwhile, and then gives
    /// everything back.
    ///
    /// # Errors
    ///
    /// The limit that is reached, or cannot be counted.
    pub async fn admit(&self, wanted: Wanted) -> Result<Permit, AdmitError> {
        let transport = self.shared.transport.clone();
        let limit = wanted.quotas.first().map(|quota| quota.limit);
        let limit = limit.or_else(|| wanted.rates.first().map(|rate| rate.limit));
        let span = Span::child("admit", SpanKind::Internal, || []);
        let admitting = self.shared.runtime.spawn(span.within(async move { transport.admit(wanted).await }));
        let admitted = admitting.await.unwrap_or_else(|error| {
            let error = TransportError::new(format!("the work was interrupted: {error}"));
            Err(AdmitError::Away { limit: limit.unwrap_or(Limit::ConnectionsTotal), error })
        });
        if let Err(error) = &admitted {
            error.note_in(&span);
        }
        span.end();
        admitted
    }

    /// Says that the limits of the hub have changed: others may admit more than the connections of this node were told.
    pub fn limits_changed(&self, now: &LimitsConfig) {
        self.shared.transport.limits_changed(now);
    }

    /// The nodes of the hub.
    pub fn peers(&self) -> Peers {
        self.shared.transport.peers()
    }

    /// How many partitions the hub has: what its ids are read and written by.
    pub fn partitions(&self) -> Partitions {
        self.shared.partitions
    }

    /// Starts a worker on this thread, which must be able to spawn local tasks (`tokio::task::LocalSet`, an actix
    /// worker).
    ///
    /// # Panics
    ///
    /// If the node has [`crate::WORKERS_MAX`] workers already.
    pub fn enter(&self) -> Worker {
        let (number, inbox, stats) = self.shared.workers.join();
        let clock = WorkClock::new(self.shared.started);
        let (times, registry) = (self.shared.times.clone(), self.shared.registry.clone());
        let seats = Seats::new(number, times, registry, stats, clock);
        Worker::start(self.shared.clone(), seats, inbox)
    }

    /// Refuses new subscribers and ends all streams (`node_shutdown`). Returns when they have ended, or after five
    /// seconds.
    pub async fn shutdown(&self) {
        self.shared.phase.advance(NodePhase::Closed);
        for worker in self.shared.workers.all().iter() {
            if let Some(inbox) = self.shared.workers.inbox(worker) {
                // Fails only if the worker has ended already.
                let _ = tokio::time::timeout(SHUTDOWN_WAIT, inbox.send(Input::Close)).await;
            }
        }
        if tokio::time::timeout(SHUTDOWN_WAIT, self.shared.places.emptied()).await.is_err() {
            tracing::warn!(
                connections = self.shared.places.taken(),
                "streams were still open when the node stopped"
            );
        }
        self.end_tasks();
    }

    fn end_tasks(&self) {
        self.tasks.lock().drain(..).for_each(|task| task.abort());
    }

    /// Whether the feed is alive.
    pub fn feed_status(&self) -> FeedStatus {
        self.shared.transport.feed_status()
    }

    /// What the node has counted.
    pub fn stats(&self) -> NodeSnapshot {
        let mut snapshot = NodeSnapshot {
            connections: self.shared.places.taken(),
            published: self.shared.published.load(Relaxed),
            received: self.shared.received.load(Relaxed),
            encoded: self.shared.encoded.load(Relaxed),
            lost: self.shared.lost.load(Relaxed),
            frame_bytes: self.shared.encoding.memory.bytes(),
            replaying: self.shared.replays.taken(),
            refused: self.shared.refused(),
            draining: !self.is_open(),
            ..NodeSnapshot::default()
        };
        self.shared.workers.add_to(&mut snapshot);
        snapshot
    }

    /// What the transport has counted.
    pub fn transport_stats(&self) -> TransportStats {
        self.shared.transport.stats()
    }

    /// `node.id` in logs: drawn at start.
    pub fn id(&self) -> Uuid {
        self.shared.id
    }

    /// Whether clients are told which trace their updates belong to.
    pub fn exposes_trace(&self) -> bool {
        self.shared.config.expose_trace
    }

    /// The transport's name: `redis` or `memory`.
    pub fn transport_name(&self) -> &'static str {
        self.shared.transport.name()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.end_tasks();
    }
}

impl NodeShared {
    /// Runs work of the transport on the node's runtime: connections made on a worker's thread would die with it. The
    /// work goes on if the caller is dropped.
    pub(crate) async fn on_runtime<T: Send + 'static, E: From<TransportError> + Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, E>> + Send + 'static,
    ) -> Result<T, E> {
        finished(self.runtime.spawn(work).await)
    }
}

fn finished<T, E: From<TransportError>>(done: Result<Result<T, E>, JoinError>) -> Result<T, E> {
    done.unwrap_or_else(|error| Err(TransportError::new(format!("the work was interrupted: {error}")).into()))
}

const _: fn() = || {
    fn shared_between_threads<T: Send + Sync>() {}
    shared_between_threads::<Node>();
};
