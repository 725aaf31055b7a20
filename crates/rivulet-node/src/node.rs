//! A node: one process's share of the hub. It keeps nothing that its death would lose.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Acquire, Ordering::Relaxed},
    },
    time::Duration,
};

use parking_lot::Mutex;
use rivulet_core::{Position, Update, cursor::position_id};
use tokio::{
    runtime::Handle,
    sync::Semaphore,
    task::{JoinError, JoinHandle},
};
use uuid::Uuid;

use crate::{
    Feed, FeedStatus, NodeConfig, NodeSnapshot, Page, Selection, Transport, TransportError,
    config::{PAGE_LEN, READ_WAIT_MAX},
    delivery::Input,
    places::Places,
    pump,
    registry::Registry,
    seats::Seats,
    worker::Worker,
    workers::Workers,
};

/// How long a stopping node waits until its workers have ended all streams: they only have to close sockets.
const SHUTDOWN_WAIT: Duration = Duration::from_secs(5);

/// See the module's documentation.
pub struct Node {
    shared: Arc<NodeShared>,
    pump: Mutex<Option<JoinHandle<()>>>,
}

/// What the workers and the pump share.
pub(crate) struct NodeShared {
    id: Uuid,
    config: NodeConfig,
    runtime: Handle,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) workers: Workers,
    pub(crate) places: Arc<Places>,
    pub(crate) replay_reads: Semaphore,
    open: AtomicBool,
    published: AtomicU64,
    pub(crate) received: AtomicU64,
    pub(crate) encoded: AtomicU64,
}

impl Node {
    /// Starts a node on the tokio runtime of the caller, which must outlive it: the pump and all work of the transport
    /// run there.
    pub fn start(transport: Arc<dyn Transport>, feed: Feed, config: NodeConfig) -> Arc<Self> {
        let shared = Arc::new(NodeShared {
            id: Uuid::new_v4(),
            runtime: Handle::current(),
            registry: Arc::new(Registry::new(transport.clone())),
            workers: Workers::default(),
            places: Places::new(config.connections_max),
            replay_reads: Semaphore::new(config.replay_reads_max),
            open: AtomicBool::new(true),
            published: AtomicU64::new(0),
            received: AtomicU64::new(0),
            encoded: AtomicU64::new(0),
            transport,
            config,
        });
        let pump = tokio::spawn(pump::run(shared.clone(), feed));
        Arc::new(Self { shared, pump: Mutex::new(Some(pump)) })
    }

    /// Appends an update and answers its id on the wire: the publisher's own, or `#<position>`. Goes on if the caller is
    /// dropped meanwhile.
    ///
    /// # Errors
    ///
    /// The transport did not acknowledge the update. It may have been appended all the same.
    pub async fn publish(&self, update: Update) -> Result<String, TransportError> {
        let shared = self.shared.clone();
        let append = async move {
            let id = update.id.as_ref().map(|id| id.as_str().to_owned());
            let position = shared.transport.append(update).await?;
            shared.published.fetch_add(1, Relaxed);
            Ok(id.unwrap_or_else(|| position_id(position)))
        };
        self.shared.on_runtime(append).await
    }

    /// Starts a worker on this thread, which must be able to spawn local tasks (`tokio::task::LocalSet`, an actix
    /// worker).
    ///
    /// # Panics
    ///
    /// If the node has [`crate::WORKERS_MAX`] workers already.
    pub fn enter(&self) -> Worker {
        let (number, inbox, stats) = self.shared.workers.join();
        let seats = Seats::new(number, self.shared.config.clone(), self.shared.registry.clone(), stats);
        Worker::start(self.shared.clone(), seats, inbox)
    }

    /// Whether new subscribers are accepted.
    pub fn is_open(&self) -> bool {
        self.shared.is_open()
    }

    /// Refuses new subscribers and ends all streams (`node_shutdown`). Returns when they have ended, or after five
    /// seconds.
    pub async fn shutdown(&self) {
        self.shared.open.store(false, std::sync::atomic::Ordering::Release);
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
        if let Some(pump) = self.pump.lock().take() {
            pump.abort();
        }
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
            ..NodeSnapshot::default()
        };
        self.shared.workers.add_to(&mut snapshot);
        snapshot
    }

    /// `node.id` in logs: drawn at start.
    pub fn id(&self) -> Uuid {
        self.shared.id
    }

    /// The transport's name: `redis` or `memory`.
    pub fn transport_name(&self) -> &'static str {
        self.shared.transport.name()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(pump) = self.pump.lock().take() {
            pump.abort();
        }
    }
}

impl NodeShared {
    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Acquire)
    }

    /// Reads one page of the log, with at most so many reads at the same time on this node.
    pub(crate) async fn read(
        self: &Arc<Self>,
        selection: Selection,
        after: Position,
    ) -> Result<Page, TransportError> {
        let permit = tokio::time::timeout(READ_WAIT_MAX, self.replay_reads.acquire()).await;
        let Ok(Ok(_permit)) = permit else {
            return Err(TransportError::new(format!(
                "no read of the log came free within {READ_WAIT_MAX:?}"
            )));
        };
        let transport = self.transport.clone();
        self.while_wanted(async move { transport.read(&selection, after, PAGE_LEN).await }).await
    }

    /// Runs work of the transport on the node's runtime: connections made on a worker's thread would die with it. The
    /// work goes on if the caller is dropped.
    pub(crate) async fn on_runtime<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, TransportError>> + Send + 'static,
    ) -> Result<T, TransportError> {
        finished(self.runtime.spawn(work).await)
    }

    /// The same, but the work ends with its caller: nobody waits for a page whose client has gone.
    pub(crate) async fn while_wanted<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, TransportError>> + Send + 'static,
    ) -> Result<T, TransportError> {
        let mut work = AbortOnDrop(self.runtime.spawn(work));
        finished((&mut work.0).await)
    }
}

struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn finished<T>(done: Result<Result<T, TransportError>, JoinError>) -> Result<T, TransportError> {
    done.unwrap_or_else(|error| Err(TransportError::new(format!("the work was interrupted: {error}"))))
}

const _: fn() = || {
    fn shared_between_threads<T: Send + Sync>() {}
    shared_between_threads::<Node>();
};
