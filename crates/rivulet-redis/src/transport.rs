//! The transport: what a node calls, put together from the parts.

use std::{sync::Arc, time::Duration};

use futures_util::future::try_join_all;
use redis::Value;
use rivulet_core::{Cursor, EventId, IdempotencyKey, Partition, Partitions, Position, Update, envelope};
use rivulet_node::{
    AdmitError, AppendError, Feed, FeedStatus, Interest, KickReport, KickTarget, LimitsConfig, Outdated,
    Page, PageLimits, Peers, Permit, Rate, Selection, StalePartition, Transport, TransportError,
    TransportStats, Verdict, Wanted, trace, transport::IDEMPOTENCY_AGE,
};
use tokio::{runtime::Handle, task::JoinHandle};

use crate::{
    ConnectError, RedisConfig,
    channels::Confirmation,
    commands::Wait,
    connector::Connector,
    entry::unexpected,
    feed_writer::{FeedWriter, topics_in},
    format::Demand,
    keys::Keys,
    kicks::Kicks,
    limits::{Lease, Limits, PublishRates, Spread, Taken, key_and_args, refusal, word},
    link::Parts,
    log::Log,
    opening::{check_clock, open},
    partition_state::PartitionState,
    primaries::{Job, Primaries, Reader},
    script::{Call, Script},
    seen::Proof,
    supervisor::Supervisor,
    ticker::Ticker,
    topology::Topology,
};

/// How long a subscriber waits for its channel: longer than a short interruption of Redis, shorter than a client waits.
const CONFIRMATION_MAX: Duration = Duration::from_secs(5);
/// While the feed of a partition has been stale for so long, nobody waits for new channels there.
const STALE_MAX: Duration = Duration::from_secs(3);
/// How long the first connections may take.
const START_MAX: Duration = Duration::from_secs(10);

/// Where an update stands, and whether this append was the first with its idempotency key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Appending {
    position: Position,
    is_first: bool,
}

/// Log, feed and limits in Redis: one server, a master that Sentinels know, or a cluster.
pub struct RedisTransport {
    pub(crate) primaries: Arc<Primaries>,
    append: Script,
    append_with_rates: Script,
    publish: &'static str,
    retention: [String; 5],
    keys: Keys,
    log: Arc<Log>,
    pub(crate) states: Arc<[PartitionState]>,
    /// Where connections are made: each is driven by the runtime that made it.
    runtime: Handle,
    pub(crate) limits: Arc<Limits>,
    lease: Lease,
    pub(crate) publish_rates: PublishRates,
    kicks: Arc<Kicks>,
    demand: Arc<Demand>,
    tasks: [JoinHandle<()>; 4],
}

impl RedisTransport {
    /// Connects, checks what is there, and starts the feed. To be called on the multi-threaded runtime that is to drive
    /// the connections; the transport may then be used from any other.
    ///
    /// # Errors
    ///
    /// See [`ConnectError`].
    pub async fn connect(config: RedisConfig) -> Result<(Arc<Self>, Feed), ConnectError> {
        let deployment = config.check()?;
        let keys = Keys::new(&config.prefix, deployment.redis.db(), config.partitions_of(&deployment));
        let (address, publish) = (deployment.address(), deployment.publish());
        let connector = Connector::new(deployment, &config)?;
        let topology = Topology::discover(connector.clone(), keys.clone()).await;
        let topology = Arc::new(topology.map_err(|reason| ConnectError::unreachable(&address, reason))?);
        open(&connector, &config, &keys, &topology.map()).await?;
        topology.take_over().await.map_err(|reason| ConnectError::unreachable(&address, reason))?;
        let wait = (config.wait_replicas > 0).then(|| Wait {
            replicas: config.wait_replicas,
            timeout_ms: u32::try_from(config.wait_timeout.as_millis()).unwrap_or(u32::MAX).max(1),
        });
        let primaries = Arc::new(Primaries::new(connector.clone(), topology.clone(), wait));
        primaries.follow();
        let ticker = Arc::new(Ticker::new(primaries.clone(), keys.clone(), publish));
        let proof = if wait.is_some() { Proof::Acknowledgement } else { Proof::Announcement };
        let states = ticker
            .start(proof, START_MAX)
            .await
            .map_err(|error| ConnectError::unreachable(&address, error))?;
        topology.knows(&states);
        for state in states.iter() {
            check_clock(&config, state.sent())?;
        }
        let log = |reader| Arc::new(Log::new(primaries.clone(), keys.clone(), config.age, reader));
        let (feed, receiver) = rivulet_node::feed();
        let (limits, lease) =
            Limits::start(primaries.clone(), keys.clone(), config.lease, feed.clone(), START_MAX)
                .await
                .map_err(|error| ConnectError::unreachable(&address, error))?;
        let node = limits.node().to_owned();
        let kicks = Arc::new(Kicks::new(primaries.clone(), keys.clone(), publish, node));
        let catch_up = kicks.clone().catch_up(feed.clone());
        let writer = FeedWriter {
            feed,
            log: log(Reader::Feed),
            keys: keys.clone(),
            states: states.clone(),
            kicks: kicks.clone(),
            outage: Arc::default(),
        };
        let parts = Parts { connector, topology: topology.clone(), ticker, writer };
        let demand = Demand::new(primaries.clone(), &keys);
        let tasks = [
            tokio::spawn(async move { topology.watch().await }),
            tokio::spawn(Supervisor::new(parts).run(primaries.clone())),
            tokio::spawn(catch_up),
            tokio::spawn(demand.clone().watch()),
        ];
        let transport = Self {
            log: log(Reader::Replay),
            primaries,
            append: Script::append(),
            append_with_rates: Script::append_with_rates(),
            publish,
            retention: config.retention_args(),
            keys,
            states,
            runtime: Handle::current(),
            limits,
            lease,
            publish_rates: PublishRates::new(),
            kicks,
            demand,
            tasks,
        };
        Ok((Arc::new(transport), receiver))
    }

    /// Appends an update to one of its partitions.
    async fn append_to(
        &self,
        partition: Partition,
        update: &Update,
        content: &[u8],
        key: Option<(&IdempotencyKey, &str)>,
        rates: &[&Rate],
    ) -> Result<Appending, AppendError> {
        let names = self.keys.of(partition);
        let topics = topics_in(&self.keys, partition, update);
        let listed = topics.iter().map(rivulet_core::Topic::as_str).collect::<Vec<_>>().join("\n");
        let or_clock = |name: Option<String>| name.unwrap_or_else(|| names.clock.clone());
        let id = or_clock(update.id.as_ref().map(|id| names.id(id)));
        let idempotency = or_clock(key.map(|(key, _)| names.idempotency(key)));
        let streams: Vec<String> = topics.iter().map(|topic| names.stream(topic)).collect();
        let lasts: Vec<String> = topics.iter().map(|topic| names.last(topic)).collect();
        let keys = [&names.clock, &names.birth, &names.index, &id, &idempotency];
        let seen = &self.states[partition.index()].seen;
        let (least, hash) = (seen.next(), key.map_or("", |(_, hash)| hash));
        let key_ms = IDEMPOTENCY_AGE.as_millis().to_string();
        let mut args: Vec<&[u8]> = vec![content, listed.as_bytes(), least.as_bytes()];
        args.extend([&names.firehose, &names.control].map(String::as_bytes));
        args.extend([self.publish, hash, &key_ms].map(str::as_bytes));
        args.extend(self.retention.iter().map(String::as_bytes));
        let (rate_keys, rate_args) = key_and_args(&self.keys, partition, rates);
        args.extend(rate_args.iter().map(String::as_bytes));
        let keys = keys.into_iter().chain(&streams).chain(&lasts).chain(&rate_keys);
        let keys = keys.map(String::as_bytes).collect();
        let script = if rates.is_empty() { &self.append } else { &self.append_with_rates };
        let answer = self.primaries.append(partition, script, &Call { keys, args }).await?;
        if answer == Value::BulkString(b"reused".to_vec()) {
            return Err(AppendError::KeyReused);
        }
        let appending = match answer {
            Value::Array(answer) if word(&answer) == Some("again") => {
                let position = seen.answer(answer.get(1).unwrap_or(&Value::Nil))?;
                Appending { position, is_first: false }
            }
            Value::Array(answer) => {
                let refused = refusal(rates, &answer).ok_or_else(|| unexpected("an append"))?;
                self.publish_rates.verdicts.note(refused.limit, Verdict::Refused);
                return Err(refused.into());
            }
            answer => {
                self.publish_rates.verdicts.note_rates(rates.iter().copied(), Verdict::Admitted);
                Appending { position: seen.answer(&answer)?, is_first: true }
            }
        };
        seen.acknowledged(appending.position);
        Ok(appending)
    }

    /// Whether an idempotency key was used in a partition.
    async fn is_used(
        &self,
        partition: Partition,
        key: Option<&IdempotencyKey>,
    ) -> Result<bool, TransportError> {
        let Some(key) = key else { return Ok(false) };
        let mut pipeline = redis::pipe();
        pipeline.get(self.keys.of(partition).idempotency(key));
        let (primaries, job) = (self.primaries.clone(), pipeline);
        let read = async move { primaries.run(partition, Job::Pipeline(Reader::Replay, &job)).await };
        Ok(self.on_runtime(read).await?.values.pop().is_some_and(|used| used != Value::Nil))
    }

    async fn confirmed_in(
        &self,
        partition: Partition,
        interest: &Interest,
    ) -> Result<Position, TransportError> {
        let state = &self.states[partition.index()];
        let since = match state.channels.confirmation(interest) {
            Confirmation::Since(since) => since,
            Confirmation::NotRetained => return Err(TransportError::new("the interest is not retained")),
            Confirmation::Wait(_) if state.stale_for().is_some_and(|stale| stale > STALE_MAX) => {
                return Err(TransportError::new("the feed is stale, no channel can be subscribed now"));
            }
            Confirmation::Wait(confirmed) => tokio::time::timeout(CONFIRMATION_MAX, confirmed)
                .await
                .map_err(|_| TransportError::new(format!("not subscribed within {CONFIRMATION_MAX:?}")))?
                .map_err(|_| TransportError::new("the interest was released"))?,
        };
        Ok(since.max(state.sent()))
    }

    /// The partitions in which an interest is.
    fn partitions_of(&self, interest: &Interest) -> Vec<Partition> {
        match interest {
            Interest::Topic(topic) => vec![self.keys.partitions().of(topic)],
            Interest::All => self.keys.partitions().iter().collect(),
        }
    }

    /// Runs work that may make connections, which are to be driven by our runtime. It ends with its caller.
    async fn on_runtime<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, TransportError>> + Send + 'static,
    ) -> Result<T, TransportError> {
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn_on(trace::carried(work), &self.runtime);
        let done = tasks.join_next().await.expect("a task was put in");
        done.unwrap_or_else(|error| Err(TransportError::new(error.to_string())))
    }
}

impl Drop for RedisTransport {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

#[async_trait::async_trait]
impl Transport for RedisTransport {
    fn partitions(&self) -> Partitions {
        self.keys.partitions()
    }

    async fn admit(&self, wanted: Wanted) -> Result<Permit, AdmitError> {
        self.limits.admit(wanted).await
    }

    fn limits_changed(&self, now: &LimitsConfig) {
        self.limits.configure(now);
    }

    async fn kick(&self, target: &KickTarget) -> Result<KickReport, TransportError> {
        self.kicks.kick(target).await
    }

    fn peers(&self) -> Peers {
        self.limits.peers()
    }

    fn leave(&self) {
        self.limits.leave();
    }

    async fn append(
        &self,
        update: Update,
        key: Option<&IdempotencyKey>,
        rates: &[Rate],
    ) -> Result<Position, AppendError> {
        let content = envelope::encode(&update);
        let hash = key.map(|_| sha1_smol::Sha1::from(envelope::encode_content(&update)).digest().to_string());
        let key = key.zip(hash.as_deref());
        let home = self.keys.partitions().of(update.canonical_topic());
        let mut partitions = vec![home];
        for topic in &update.topics[1..] {
            let partition = self.keys.partitions().of(topic);
            if !partitions.contains(&partition) {
                partitions.push(partition);
            }
        }
        let spread = Spread::new(&self.keys, &update, rates);
        let (primaries, keys) = (&*self.primaries, &self.keys);
        let taken = match self.publish_rates.take(primaries, keys, &spread, self.limits.peers()).await {
            // What is there already is answered as it was, whatever rates are used up meanwhile.
            Err(AppendError::Refused(_)) if self.is_used(home, key.map(|(key, _)| key)).await? => {
                Taken::default()
            }
            taken => taken?,
        };
        // The home partition first: where a key was used for another update, nothing is appended elsewhere.
        let appending = self.append_to(home, &update, &content, key, &spread.here).await;
        if matches!(
            appending,
            Ok(Appending { is_first: false, .. }) | Err(AppendError::KeyReused | AppendError::Refused(_))
        ) {
            self.publish_rates.give_back(primaries, keys, taken).await;
        }
        let position = appending?.position;
        let others = partitions[1..].iter();
        try_join_all(others.map(|partition| self.append_to(*partition, &update, &content, key, &[]))).await?;
        Ok(position)
    }

    fn retain(&self, interest: &Interest) {
        for partition in self.partitions_of(interest) {
            self.states[partition.index()].channels.retain(interest);
        }
    }

    async fn confirmed(&self, interest: &Interest) -> Result<Cursor, TransportError> {
        let partitions = self.partitions_of(interest);
        let since = partitions.iter().map(|partition| self.confirmed_in(*partition, interest));
        let since = try_join_all(since).await?;
        let mut cursor = Cursor::at(since.iter().copied().min().unwrap_or_default());
        for (partition, since) in partitions.into_iter().zip(since) {
            cursor.advance(partition, since);
        }
        Ok(cursor)
    }

    fn release(&self, interest: &Interest) {
        for partition in self.partitions_of(interest) {
            self.states[partition.index()].channels.release(interest);
        }
    }

    async fn read(
        &self,
        partition: Partition,
        selection: &Selection,
        after: Position,
        limits: PageLimits,
    ) -> Result<Page, TransportError> {
        let (log, selection) = (self.log.clone(), selection.clone());
        self.on_runtime(async move { log.read(partition, &selection, after, limits).await }).await
    }

    async fn locate(&self, id: &EventId) -> Result<Option<(Partition, Position)>, TransportError> {
        let (log, id) = (self.log.clone(), id.clone());
        self.on_runtime(async move { log.locate(&id).await }).await
    }

    fn feed_status(&self) -> FeedStatus {
        let stale = |state: &PartitionState| {
            let away = || self.primaries.away(state.partition);
            let (since, reason) = state.status.stale().or_else(away)?;
            Some(StalePartition { partition: state.partition, since, reason })
        };
        let stale: Vec<StalePartition> = self.states.iter().filter_map(stale).collect();
        if stale.is_empty() { FeedStatus::Live } else { FeedStatus::Stale(stale) }
    }

    fn outdated(&self) -> Option<Outdated> {
        self.demand.outdated()
    }

    fn clock_offset_micros(&self) -> i64 {
        // Of several servers one stands for all: they have to agree on the time anyway.
        self.states[Partition::default().index()].clock.micros()
    }

    fn stats(&self) -> TransportStats {
        self.told()
    }

    async fn close(&self) {
        self.lease.close().await;
    }

    fn name(&self) -> &'static str {
        "redis"
    }
}
