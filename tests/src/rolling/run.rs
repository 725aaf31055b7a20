//! A run: pods are started, clients come, publishers publish, all pods are replaced, everybody tells what they saw.

use std::{
    path::PathBuf,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use clap::ValueEnum;
use tokio::task::JoinSet;

use super::{
    client::{Client, Record},
    outcome::{Moments, Outcome},
    publisher::{Press, Publisher},
    stage::{Phase, Stage, WIDE},
};
use crate::{
    redis::RedisServer,
    supervisor::{
        Rules,
        deployment::{Deployment, wait},
        diary::Diary,
        pod::Recipe,
    },
};

/// Publishers of the narrow topics, as long as there are so many topics.
const PUBLISHERS: usize = 50;

/// Clients that come per millisecond at the beginning, which is not judged.
const ARRIVALS: usize = 2;

/// How long all clients may take to be there.
const ARRIVAL_PATIENCE: Duration = Duration::from_secs(60);

/// How long clients may take to come back after the last drain: the longest `retry:` is ten seconds.
const RETURN_PATIENCE: Duration = Duration::from_secs(30);

/// How long everybody may take to have everything once nothing more is published.
const SETTLE_PATIENCE: Duration = Duration::from_secs(30);

/// How a node lets its streams go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drain {
    /// `--drain-delay`.
    pub delay: Duration,
    /// `--drain-period`.
    pub period: Duration,
}

/// What is done wrong on purpose, and must be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Fault {
    /// Nodes end all streams at once when they are asked to stop.
    NoDrain,
    /// Pods are killed when they are deleted.
    Kill,
    /// Load balancers hear of the end of a pod after it has gone.
    Lag,
}

/// What a run is to be.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The program of the pods at first.
    pub program: PathBuf,
    /// The programs by which they are replaced, one rolling update after another.
    pub then: Vec<PathBuf>,
    /// How many pods there are.
    pub nodes: usize,
    /// How many of them each rolling update replaces.
    pub replaced: usize,
    /// How many clients.
    pub clients: usize,
    /// On how many topics they are spread; all of them have one more in common.
    pub topics: usize,
    /// Updates per second on those topics together.
    pub updates_per_second: f64,
    /// Updates per second on the topic of all.
    pub wide_updates_per_second: f64,
    /// How pods are treated.
    pub rules: Rules,
    /// By what the slope is judged.
    pub drain: Drain,
    /// What the nodes are told; the same, unless a fault is wanted.
    pub drain_told: Drain,
    /// `--shed`.
    pub shed_percent: f64,
    /// How long the run goes on after the last update, to see what shedding does.
    pub linger: Duration,
    /// In which windows clients that come back are counted.
    pub window: Duration,
}

impl Plan {
    /// The run of the README with this program.
    pub fn new(program: PathBuf) -> Self {
        let drain = Drain { delay: Duration::from_secs(5), period: Duration::from_secs(20) };
        Self {
            then: vec![program.clone()],
            program,
            nodes: 3,
            replaced: usize::MAX,
            clients: 6_000,
            topics: 100,
            updates_per_second: 500.0,
            wide_updates_per_second: 1.0,
            rules: Rules::default(),
            drain,
            drain_told: drain,
            shed_percent: 0.0,
            linger: Duration::ZERO,
            window: Duration::from_secs(1),
        }
    }

    /// The same with something done wrong.
    #[must_use]
    pub fn with_fault(mut self, fault: Fault) -> Self {
        match fault {
            Fault::NoDrain => {
                self.drain_told = Drain { delay: Duration::ZERO, period: Duration::ZERO };
            }
            Fault::Kill => (self.rules.pre_stop, self.rules.grace) = (Duration::ZERO, Duration::ZERO),
            Fault::Lag => {
                let stop = self.rules.pre_stop + self.drain_told.delay + self.drain_told.period;
                self.rules.endpoint_lag = stop + Duration::from_secs(4);
            }
        }
        self
    }

    /// Runs it.
    ///
    /// # Errors
    /// When it could not be carried out: pods that do not start or do not end, clients that never came.
    pub async fn run(self) -> Result<Outcome, String> {
        let redis = RedisServer::start().await;
        let diary = Diary::default();
        let recipe = Recipe { program: self.program.clone(), flags: self.flags(&redis.url()) };
        let mut deployment = Deployment::start(self.rules, recipe, self.nodes, &diary).await?;
        let stage = Arc::new(Stage::new(diary, deployment.balancer()));
        let clients = self.admit(&stage).await?;
        let publishers = self.publish(&stage);
        let replaced = self.replaced;
        let begun = stage.now();
        for program in &self.then {
            deployment.roll(program, replaced).await?;
        }
        let back = wait("all clients are back", RETURN_PATIENCE, || {
            Ok(stage.connected.load(Relaxed) == self.clients)
        });
        // Whoever stays away is seen by the judge.
        let _ = back.await;
        let rolled = stage.now();
        tokio::time::sleep(self.linger).await;
        let moments = Moments { begun, rolled, lingered: stage.now() };
        let presses = settle(&stage, publishers).await;
        let records = gather(&stage, clients).await;
        let (reads, pods) = (deployment.reads(), deployment.pods_ever());
        Ok(Outcome::new(self, &stage, moments, &presses, &records, reads, pods))
    }

    fn flags(&self, redis_url: &str) -> Vec<String> {
        let ms = |time: Duration| format!("{}ms", time.as_millis());
        let pairs = [
            ("--redis-url", redis_url.to_owned()),
            ("--workers", "1".to_owned()),
            ("--drain-delay", ms(self.drain_told.delay)),
            ("--drain-period", ms(self.drain_told.period)),
            ("--shed", self.shed_percent.to_string()),
        ];
        pairs.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect()
    }

    /// Lets all clients come, and waits until they are there.
    async fn admit(&self, stage: &Arc<Stage>) -> Result<JoinSet<Record>, String> {
        let mut clients = JoinSet::new();
        for number in 0..self.clients {
            clients.spawn(Client::new(stage, 1 + number % self.topics).run());
            if number % ARRIVALS == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        wait("all clients are there", ARRIVAL_PATIENCE, || Ok(stage.connected.load(Relaxed) == self.clients))
            .await?;
        Ok(clients)
    }

    fn publish(&self, stage: &Arc<Stage>) -> JoinSet<Press> {
        let count = PUBLISHERS.min(self.topics);
        #[expect(clippy::cast_precision_loss, reason = "few publishers")]
        let interval = Duration::from_secs_f64(count as f64 / self.updates_per_second);
        let narrow = (0..count).map(|nth| (1 + nth..=self.topics).step_by(count).collect());
        let mut publishers = JoinSet::new();
        for topics in narrow {
            publishers.spawn(Publisher::new(stage, topics, interval).run());
        }
        let interval = Duration::from_secs_f64(1.0 / self.wide_updates_per_second);
        publishers.spawn(Publisher::new(stage, vec![WIDE], interval).run());
        publishers
    }
}

/// Ends the publishers and tells the clients what there was.
async fn settle(stage: &Stage, publishers: JoinSet<Press>) -> Vec<Press> {
    stage.phase.send_replace(Phase::Ending);
    let presses = publishers.join_all().await;
    let published: Vec<(usize, u64)> = presses
        .iter()
        .flat_map(|press| press.published.iter().map(|(topic, last)| (*topic, *last)))
        .collect();
    let topics = published.iter().map(|(topic, _)| topic + 1).max().unwrap_or_default();
    let mut lasts = vec![0; topics];
    published.into_iter().for_each(|(topic, last)| lasts[topic] = last);
    stage.phase.send_replace(Phase::Settling(Arc::new(lasts)));
    presses
}

/// Waits until all clients have everything, or for so long that they never will.
async fn gather(stage: &Stage, mut clients: JoinSet<Record>) -> Vec<Record> {
    let mut records = Vec::with_capacity(clients.len());
    let deadline = tokio::time::Instant::now() + SETTLE_PATIENCE;
    while let Ok(Some(record)) = tokio::time::timeout_at(deadline, clients.join_next()).await {
        records.push(record.expect("a client does not panic"));
    }
    stage.phase.send_replace(Phase::Over);
    records.extend(clients.join_all().await);
    records
}
