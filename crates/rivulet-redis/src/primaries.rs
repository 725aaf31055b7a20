//! The primaries, each with its connections: for appends, for ticks, for reading the log. Calls find the primary of
//! their partition, follow it when it moves, and end within one deadline.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use deadpool_redis::Pool;
use hashbrown::HashMap;
use parking_lot::Mutex;
use redis::{Pipeline, Value};
use rivulet_core::Partition;
use rivulet_node::TransportError;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    task::JoinHandle,
};

use crate::{
    command_stats::{CommandStats, PIPELINE},
    commands::{Commands, Wait},
    connector::{Connector, close_idle},
    deployment::Server,
    error_type::ErrorType,
    refusal::Refusal,
    script::{Asking, Call, Script},
    topology::Topology,
    traced,
    unreadable::Unreadable,
};

/// How many bytes of appends may be on their way. What comes when they are is refused at once.
const IN_FLIGHT_BYTES_MAX: usize = 64 << 20;
/// What an append without payload counts for.
const APPEND_LEN: usize = 1024;
/// How many connections append where each append waits for replicas: a connection waits for one at a time.
const WAITING_APPENDERS: usize = 16;
/// How many connections read the log of a primary for who replays.
const READERS_MAX: usize = 4;
/// How long to wait before a call is tried again that the cluster could not take.
const LATER: Duration = Duration::from_millis(20);

/// See the module.
pub(crate) struct Primaries {
    pub(crate) connector: Connector,
    pub(crate) topology: Arc<Topology>,
    wait: Option<Wait>,
    known: Mutex<HashMap<Server, Arc<Primary>>>,
    in_flight: Semaphore,
    /// What was read there and could not be understood.
    pub(crate) unreadable: Unreadable,
}

/// One server with its connections; they end with it.
struct Primary {
    appenders: Vec<Arc<Commands>>,
    /// Where appends wait for replicas: a turn at each appender, since the wait of one holds up all behind it.
    waits: Option<Vec<Semaphore>>,
    turn: AtomicUsize,
    /// Ticks do not stand in line behind appends: a tick that is late because publishers are busy would look like a
    /// broken feed. Nor does what counts, which is as short.
    ticker: Arc<Commands>,
    readers: Pool,
    /// The feed reads what it missed on a connection of its own: a storm of replays, which a break brings about, must
    /// not keep it waiting.
    feed_reader: Pool,
    keepers: Vec<JoinHandle<()>>,
}

/// What is to be done on a primary.
#[derive(Clone, Copy)]
pub(crate) enum Job<'a> {
    /// An append: with the connection that appends share, and the wait for replicas.
    Append(&'a Script, &'a Call<'a>),
    /// A tick.
    Tick(&'a Script, &'a Call<'a>),
    /// What counts connections, rates and nodes. Replicas are not waited for: what a failover loses is told again.
    Count(&'a Script, &'a Call<'a>),
    /// A script that reads.
    Read(Reader, &'a Script, &'a Call<'a>),
    /// Commands that read; their keys stand in one slot.
    Pipeline(Reader, &'a Pipeline),
}

impl Job<'_> {
    /// What it is counted as.
    fn name(self) -> &'static str {
        match self {
            Self::Append(script, _)
            | Self::Tick(script, _)
            | Self::Count(script, _)
            | Self::Read(_, script, _) => script.name,
            Self::Pipeline(..) => PIPELINE,
        }
    }
}

/// For whom the log is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reader {
    Replay,
    Feed,
}

/// What a job answered.
pub(crate) struct Done {
    pub(crate) values: Vec<Value>,
    /// The primary of the partition. Answers of two primaries tell of two histories.
    pub(crate) primary: Server,
    /// Whether it was not the primary that did the job: while a slot is being moved, the server that will be does, and
    /// nobody is subscribed there.
    pub(crate) asking: Asking,
}

impl Primaries {
    pub(crate) fn new(connector: Connector, topology: Arc<Topology>, wait: Option<Wait>) -> Self {
        let in_flight = Semaphore::new(IN_FLIGHT_BYTES_MAX / APPEND_LEN);
        let (known, unreadable) = (Mutex::default(), Unreadable::default());
        Self { connector, topology, wait, known, in_flight, unreadable }
    }

    pub(crate) fn deadline(&self) -> Duration {
        self.connector.deadline()
    }

    /// Connects to all primaries, without waiting for it, and forgets servers that are none any more.
    pub(crate) fn follow(&self) {
        let servers = self.topology.map().servers();
        for server in &servers {
            self.primary(server);
        }
        self.known.lock().retain(|server, _| servers.contains(server));
    }

    fn primary(&self, server: &Server) -> Arc<Primary> {
        let mut known = self.known.lock();
        known.entry_ref(server).or_insert_with(|| Arc::new(self.connect(server))).clone()
    }

    fn connect(&self, server: &Server) -> Primary {
        let mut keepers = Vec::new();
        let mut commands = |wait| {
            let (connector, topology) = (self.connector.clone(), self.topology.clone());
            let commands = Arc::new(Commands::new(connector, server.clone(), topology, wait));
            let keeper = commands.clone();
            keepers.push(tokio::spawn(async move { keeper.keep().await }));
            commands
        };
        let appenders = if self.wait.is_some() { WAITING_APPENDERS } else { 1 };
        let appenders: Vec<_> = (0..appenders).map(|_| commands(self.wait)).collect();
        let ticker = commands(None);
        let readers = self.connector.readers(server, READERS_MAX);
        keepers.push(tokio::spawn(close_idle(readers.clone())));
        Primary {
            appenders,
            waits: self.wait.map(|_| (0..WAITING_APPENDERS).map(|_| Semaphore::new(1)).collect()),
            turn: AtomicUsize::new(0),
            ticker,
            readers,
            feed_reader: self.connector.readers(server, 1),
            keepers,
        }
    }

    /// Since when nothing can be appended in a partition, and why; `None` if it can.
    pub(crate) fn away(&self, partition: Partition) -> Option<(Duration, String)> {
        let primary = self.known.lock().get(&self.topology.server(partition)).cloned();
        let away = primary?.appenders.iter().map(|appender| appender.away()).collect::<Option<Vec<_>>>();
        away?.into_iter().min()
    }

    /// How many primaries cannot be appended to now.
    pub(crate) fn away_len(&self) -> usize {
        let primaries: Vec<_> = self.known.lock().values().cloned().collect();
        let is_away = |primary: &&Arc<Primary>| primary.appenders.iter().all(|one| one.away().is_some());
        primaries.iter().filter(is_away).count()
    }

    /// How many bytes of appends have not been answered yet.
    pub(crate) fn in_flight_bytes(&self) -> usize {
        (IN_FLIGHT_BYTES_MAX / APPEND_LEN).saturating_sub(self.in_flight.available_permits()) * APPEND_LEN
    }

    pub(crate) fn stats(&self) -> &CommandStats {
        &self.connector.stats
    }

    /// Counts a failure that is not the server's, and says it in the current span, that of the call.
    fn failed(&self, script: &Script, kind: ErrorType, reason: String) -> TransportError {
        self.stats().note_error(script.name, kind);
        let error = TransportError::new(reason);
        traced::fail_current(kind, &error);
        error
    }

    /// Appends: refused at once when too much is on its way already.
    pub(crate) async fn append(
        &self,
        partition: Partition,
        script: &Script,
        call: &Call<'_>,
    ) -> Result<Value, TransportError> {
        let (primary, job) = (self.topology.server(partition), Job::Append(script, call));
        let span = traced::begin(job, &primary, self.connector.deployment.redis.db());
        let appended = span.within(self.append_on(primary, partition, script, call)).await;
        span.end();
        appended
    }

    async fn append_on(
        &self,
        primary: Server,
        partition: Partition,
        script: &Script,
        call: &Call<'_>,
    ) -> Result<Value, TransportError> {
        let bytes: usize = call.args.iter().chain(&call.keys).map(|part| part.len()).sum();
        let permits = u32::try_from(bytes / APPEND_LEN + 1).unwrap_or(u32::MAX);
        let _permit = self.in_flight.try_acquire_many(permits).map_err(|_| {
            self.failed(script, ErrorType::TooMuch, "too many commands wait for Redis".into())
        })?;
        let done = self.run_from(primary, partition, None, Job::Append(script, call)).await?;
        let mut values = done.values.into_iter();
        let answer = values.next().unwrap_or(Value::Nil);
        if matches!(&answer, Value::Array(said) if said.first() == Some(&Value::BulkString(b"fast".to_vec())))
        {
            // A rate refused it: there is nothing that replicas should have.
            return Ok(answer);
        }
        match (self.wait, values.next()) {
            (None, _) => Ok(answer),
            (Some(wait), Some(Value::Int(replicas))) if replicas >= i64::from(wait.replicas) => Ok(answer),
            (Some(wait), replicas) => {
                let (wanted, timeout_ms) = (wait.replicas, wait.timeout_ms);
                let reason = format!(
                    "{wanted} replicas should have it within {timeout_ms} ms, WAIT answered {replicas:?}"
                );
                Err(self.failed(script, ErrorType::Replicas, reason))
            }
        }
    }

    /// Does a job on the primary of a partition, whichever that is.
    pub(crate) async fn run(&self, partition: Partition, job: Job<'_>) -> Result<Done, TransportError> {
        self.run_on(partition, None, job).await
    }

    /// Does a job on this server, or nowhere; without one on the primary of the partition.
    pub(crate) async fn run_on(
        &self,
        partition: Partition,
        only: Option<&Server>,
        job: Job<'_>,
    ) -> Result<Done, TransportError> {
        let primary = only.cloned().unwrap_or_else(|| self.topology.server(partition));
        let span = traced::begin(job, &primary, self.connector.deployment.redis.db());
        let done = span.within(self.run_from(primary, partition, only, job)).await;
        span.end();
        done
    }

    async fn run_from(
        &self,
        mut primary: Server,
        partition: Partition,
        only: Option<&Server>,
        job: Job<'_>,
    ) -> Result<Done, TransportError> {
        let until = Instant::now() + self.deadline();
        let primary_now = || only.cloned().unwrap_or_else(|| self.topology.server(partition));
        let (mut server, mut asking) = (primary.clone(), Asking::No);
        loop {
            let begun = Instant::now();
            let ran = self.primary(&server).run(job, asking, self.deadline()).await;
            self.stats().note(job.name(), begun.elapsed(), ran.as_ref().err().map(Refusal::error_type));
            let refusal = match ran {
                Ok(values) => return Ok(Done { values, primary, asking }),
                Err(refusal) => refusal,
            };
            if Instant::now() > until {
                return Err(given_up(refusal));
            }
            match refusal {
                Refusal::Ask(to) if asking == Asking::No => {
                    (server, asking) = (to, Asking::Yes);
                    continue;
                }
                Refusal::Failed(_, error) => return Err(error),
                Refusal::Moved(error) => {
                    self.topology.suspect();
                    if only.is_some() {
                        return Err(given_up(Refusal::Moved(error)));
                    }
                }
                Refusal::Ask(_) | Refusal::Later(_) => {}
            }
            tokio::time::sleep(LATER).await;
            primary = primary_now();
            (server, asking) = (primary.clone(), Asking::No);
        }
    }
}

impl Primary {
    async fn run(&self, job: Job<'_>, asking: Asking, deadline: Duration) -> Result<Vec<Value>, Refusal> {
        match job {
            Job::Append(script, call) => {
                let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.appenders.len();
                let _turn = match &self.waits {
                    Some(waits) => Some(take_turn(&waits[turn], deadline).await?),
                    None => None,
                };
                self.appenders[turn].run(script, call, asking).await
            }
            Job::Tick(script, call) | Job::Count(script, call) => self.ticker.run(script, call, asking).await,
            Job::Read(reader, script, call) => {
                let reading = async |connection: &mut deadpool_redis::Connection| {
                    script.run(connection, call, asking).await.map(|value| vec![value])
                };
                self.read(reader, deadline, reading).await
            }
            Job::Pipeline(reader, pipeline) => {
                let reading = async |connection: &mut deadpool_redis::Connection| {
                    if asking == Asking::No {
                        return pipeline.query_async(connection).await;
                    }
                    let mut asked = redis::pipe();
                    for command in pipeline.cmd_iter() {
                        asked.cmd("ASKING").ignore().add_command(command.clone());
                    }
                    asked.query_async(connection).await
                };
                self.read(reader, deadline, reading).await
            }
        }
    }

    /// Reads with a connection of the pool, within the deadline.
    async fn read(
        &self,
        reader: Reader,
        deadline: Duration,
        reading: impl AsyncFnOnce(&mut deadpool_redis::Connection) -> Result<Vec<Value>, redis::RedisError>,
    ) -> Result<Vec<Value>, Refusal> {
        let pool = if reader == Reader::Feed { &self.feed_reader } else { &self.readers };
        let connected = pool.get().await;
        let mut connection =
            connected.map_err(|error| traced::failed(no_connection(&error), error.to_string()))?;
        match tokio::time::timeout(deadline, reading(&mut connection)).await {
            Ok(answer) => answer.map_err(traced::refused),
            Err(_) => {
                // What this connection answers late must not meet the next one who takes it.
                drop(deadpool_redis::Connection::take(connection));
                Err(traced::failed(ErrorType::Timeout, format!("no answer within {deadline:?}")))
            }
        }
    }
}

/// The error of a call that has been redirected for too long. (One that failed has said so in its span already.)
fn given_up(refusal: Refusal) -> TransportError {
    let (has_failed, kind) = (matches!(refusal, Refusal::Failed(..)), refusal.error_type());
    let error = TransportError::from(refusal);
    if !has_failed {
        traced::fail_current(kind, &error);
    }
    error
}

/// Why there is no connection of a pool.
fn no_connection(error: &deadpool_redis::PoolError) -> ErrorType {
    match error {
        deadpool_redis::PoolError::Timeout(deadpool_redis::TimeoutType::Wait) => ErrorType::TooMuch,
        deadpool_redis::PoolError::Timeout(_) => ErrorType::Timeout,
        deadpool_redis::PoolError::Backend(error) => ErrorType::of(error),
        _ => ErrorType::Other,
    }
}

async fn take_turn(wait: &Semaphore, deadline: Duration) -> Result<SemaphorePermit<'_>, Refusal> {
    match tokio::time::timeout(deadline, wait.acquire()).await {
        Ok(Ok(turn)) => Ok(turn),
        _ => Err(traced::failed(ErrorType::TooMuch, "too many publishers wait for replicas of Redis")),
    }
}

impl Drop for Primary {
    fn drop(&mut self) {
        self.keepers.iter().for_each(JoinHandle::abort);
    }
}
