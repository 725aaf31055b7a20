//! The transport: what a node calls, put together from the parts.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rivulet_core::{EventId, Position, Topic, Update, envelope};
use rivulet_node::{Feed, FeedStatus, Interest, Page, Selection, Transport, TransportError};
use tokio::{runtime::Handle, sync::mpsc, task::JoinHandle};

use crate::{
    ConnectError, RedisConfig,
    channels::{Channels, Confirmation},
    commands::Commands,
    connector::Connector,
    feed_writer::{FeedWriter, distinct_topics},
    keys::Keys,
    log::Log,
    opening::open,
    script::{Call, Script},
    status::Status,
    supervisor::Supervisor,
    ticker::{Seen, Ticker},
};

/// How long a subscriber waits for its channel: longer than a short interruption of Redis, shorter than a client waits.
const CONFIRMATION_MAX: Duration = Duration::from_secs(5);

/// How many connections read the log for who replays.
const READERS_MAX: usize = 4;

/// Log and feed in a standalone Redis.
pub struct RedisTransport {
    commands: Arc<Commands>,
    seen: Arc<Seen>,
    append: Script,
    retention: [String; 5],
    keys: Keys,
    log: Arc<Log>,
    channels: Arc<Channels>,
    status: Arc<Status>,
    sent: Arc<AtomicU64>,
    /// Where connections are made: each is driven by the runtime that made it.
    runtime: Handle,
    tasks: [JoinHandle<()>; 2],
}

impl RedisTransport {
    /// Connects, checks what is there, and starts the feed. To be called on the multi-threaded runtime that is to drive
    /// the connections; the transport may then be used from any other.
    ///
    /// # Errors
    ///
    /// See [`ConnectError`].
    pub async fn connect(config: RedisConfig) -> Result<(Arc<Self>, Feed), ConnectError> {
        let connector = Connector::new(config.check()?, config.deadline)?;
        let keys = Keys::new(&config.prefix, connector.database());
        open(&connector, &config, &keys).await?;
        let unreachable = |reason: String| ConnectError::Unreachable { address: connector.address(), reason };
        let commands = Commands::connect(connector.clone()).await;
        let commands = Arc::new(commands.map_err(|error| unreachable(error.to_string()))?);
        let seen = Arc::new(Seen::default());
        let ticker = Arc::new(Ticker::new(commands.clone(), seen.clone(), &keys));
        let start = ticker.tick().await.map_err(|error| unreachable(error.reason))?;

        let log = |readers: usize| {
            let pool = connector.readers(readers)?;
            Ok(Arc::new(Log { pool, keys: keys.clone(), age: config.age, deadline: config.deadline }))
        };
        // The feed reads what it missed on a connection of its own: a storm of replays, which a break brings about, must
        // not keep it waiting.
        let (log_of_feed, log) = (log(1)?, log(READERS_MAX)?);
        let (channels, status) = (Arc::new(Channels::default()), Arc::new(Status::starting()));
        let (feed, receiver) = mpsc::channel(rivulet_node::transport::FEED_LEN_MAX);
        let sent = Arc::new(AtomicU64::new(start.as_micros()));
        let writer = FeedWriter {
            feed,
            log: log_of_feed,
            channels: channels.clone(),
            status: status.clone(),
            seen: seen.clone(),
            last: start,
            verified: start,
            sent: sent.clone(),
        };
        let supervisor = Supervisor {
            connector,
            keys: keys.clone(),
            channels: channels.clone(),
            ticker,
            status: status.clone(),
            writer,
        };
        let keeper = commands.clone();
        let tasks = [tokio::spawn(async move { keeper.keep().await }), tokio::spawn(supervisor.run())];
        let transport = Self {
            commands,
            seen,
            append: Script::append(),
            retention: config.retention_args(),
            keys,
            log,
            channels,
            status,
            sent,
            runtime: Handle::current(),
            tasks,
        };
        Ok((Arc::new(transport), receiver))
    }
}

impl Drop for RedisTransport {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

#[async_trait::async_trait]
impl Transport for RedisTransport {
    async fn append(&self, update: Update) -> Result<Position, TransportError> {
        let topics = distinct_topics(&update);
        let names = topics.iter().map(Topic::as_str).collect::<Vec<_>>().join("\n");
        let id = update.id.as_ref().map(|id| self.keys.id(id)).unwrap_or_default();
        let streams: Vec<String> = topics.iter().map(|topic| self.keys.stream(topic)).collect();
        let lasts: Vec<String> = topics.iter().map(|topic| self.keys.last(topic)).collect();
        let keys = [&self.keys.clock, &self.keys.birth, &self.keys.index, &id];
        let (envelope, least) = (envelope::encode(&update), self.seen.next());
        let mut args: Vec<&[u8]> =
            vec![&envelope, names.as_bytes(), least.as_bytes(), self.keys.firehose.as_bytes()];
        args.extend(self.retention.iter().map(String::as_bytes));
        let keys = keys.into_iter().chain(&streams).chain(&lasts).map(String::as_bytes).collect();
        self.seen.answer(&self.commands.run(&self.append, &Call { keys, args }).await?)
    }

    fn retain(&self, interest: &Interest) {
        self.channels.retain(interest);
    }

    async fn confirmed(&self, interest: &Interest) -> Result<Position, TransportError> {
        let since = match self.channels.confirmation(interest) {
            Confirmation::Since(since) => since,
            Confirmation::NotRetained => return Err(TransportError::new("the interest is not retained")),
            Confirmation::Wait(confirmed) => tokio::time::timeout(CONFIRMATION_MAX, confirmed)
                .await
                .map_err(|_| TransportError::new(format!("not subscribed within {CONFIRMATION_MAX:?}")))?
                .map_err(|_| TransportError::new("the interest was released"))?,
        };
        // What stands before the last event of the feed has been in it: for who asks now, the feed begins after that.
        Ok(since.max(Position::from_micros(self.sent.load(Ordering::Acquire))))
    }

    fn release(&self, interest: &Interest) {
        self.channels.release(interest);
    }

    async fn read(
        &self,
        selection: &Selection,
        after: Position,
        len_max: usize,
    ) -> Result<Page, TransportError> {
        let (log, selection) = (self.log.clone(), selection.clone());
        let read = async move { log.read(&selection, after, len_max).await };
        self.runtime.spawn(read).await.map_err(|error| TransportError::new(error.to_string()))?
    }

    async fn locate(&self, id: &EventId) -> Result<Option<Position>, TransportError> {
        let (log, id) = (self.log.clone(), id.clone());
        let locate = async move { log.locate(&id).await };
        self.runtime.spawn(locate).await.map_err(|error| TransportError::new(error.to_string()))?
    }

    fn feed_status(&self) -> FeedStatus {
        self.status.get()
    }

    fn name(&self) -> &'static str {
        "redis"
    }
}
