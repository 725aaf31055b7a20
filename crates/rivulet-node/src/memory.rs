//! The memory transport: log and feed of a single node, without anything behind it. The embedded default, and the
//! reference that the contract suite was written against. What it holds ends with its process.

mod keys;
mod log;
mod missing;
mod retention;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use hashbrown::HashMap;
use parking_lot::Mutex;
use rivulet_core::{Cursor, EventId, IdempotencyKey, Partition, Partitions, Position, Topic, Update};
use tokio::{
    sync::{Notify, mpsc, oneshot},
    task::JoinHandle,
    time::Instant,
};

pub use self::retention::Retention;
use self::{keys::UsedKeys, log::Log};
use crate::{
    AdmitError, AppendError, Appended, Feed, FeedEvent, FeedSender, FeedStatus, Interest, Kick, KickReport,
    KickTarget, LocalLimits, Page, PageLimits, Peers, Permit, Rate, Selection, Share, Transport,
    TransportError, TransportStats, Verdict, Verdicts, Wanted, feed,
};

/// How often the clock moves without appends, and quiet topics are looked at. It bounds how stale an idle cursor gets.
const TICK: Duration = Duration::from_secs(1);
/// How long a node may take to say how many connections it has ended.
const KICK_WAIT: Duration = Duration::from_secs(2);
/// How many updates are taken from the log at once while a break is healed; the feed shares them.
const REFEED_LIMITS: PageLimits = PageLimits { len: 256, bytes: usize::MAX };

/// Log and feed in this process's memory.
pub struct MemoryTransport {
    shared: Arc<Shared>,
    tasks: [JoinHandle<()>; 2],
}

struct Shared {
    partitions: Partitions,
    state: Mutex<State>,
    /// Wakes the task that heals breaks.
    broke: Notify,
    feed: FeedSender,
    limits: Arc<LocalLimits>,
    verdicts: Verdicts,
    backfills: AtomicU64,
    backfilled: AtomicU64,
    started: Instant,
}

struct State {
    parts: Vec<Part>,
    interests: HashMap<Interest, usize>,
    keys: UsedKeys,
}

/// One partition.
struct Part {
    log: Log,
    /// The last position that the feed has dealt with. While it is `Some`, appends do not write to the feed: it was
    /// full, and what comes after this position is read from the log when there is room.
    break_after: Option<Position>,
}

impl MemoryTransport {
    /// Starts an empty hub with one partition, in a tokio runtime.
    pub fn start(retention: Retention) -> (Arc<Self>, Feed) {
        Self::partitioned(retention, Partitions::ONE)
    }

    /// Starts an empty hub with several partitions, which have their own positions: what a cluster is, for tests. Each
    /// has its share of the retention's bytes.
    pub fn partitioned(retention: Retention, partitions: Partitions) -> (Arc<Self>, Feed) {
        let (sender, feed) = feed();
        let retention = Retention { bytes: retention.bytes / usize::from(partitions.count()), ..retention };
        let log = |partition| Log::new(retention, partitions, partition, now());
        let parts = partitions.iter().map(|partition| Part { log: log(partition), break_after: None });
        let state = State { parts: parts.collect(), interests: HashMap::new(), keys: UsedKeys::default() };
        let (state, broke) = (Mutex::new(state), Notify::new());
        let shared = Arc::new(Shared {
            partitions,
            state,
            broke,
            feed: sender,
            limits: Arc::default(),
            verdicts: Verdicts::default(),
            backfills: AtomicU64::default(),
            backfilled: AtomicU64::default(),
            started: Instant::now(),
        });
        let tasks =
            [tokio::spawn(Arc::clone(&shared).heal_breaks()), tokio::spawn(Arc::clone(&shared).tick())];
        (Arc::new(Self { shared, tasks }), feed)
    }
}

impl Drop for MemoryTransport {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Shared {
    /// A clock for limits: it never goes back.
    fn micros(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Moves the clocks and says up to where the feed is complete.
    async fn tick(self: Arc<Self>) {
        let mut interval = tokio::time::interval(TICK);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            let mut state = self.state.lock();
            state.keys.expire(now());
            for (partition, part) in self.partitions.iter().zip(&mut state.parts) {
                let clock = part.log.advance(now());
                if part.break_after.is_none() {
                    // A full feed needs no verification to make progress: the next tick says it.
                    let _ = self.feed.try_send(FeedEvent::Verified(partition, clock));
                }
            }
        }
    }

    async fn heal_breaks(self: Arc<Self>) {
        loop {
            self.broke.notified().await;
            for partition in self.partitions.iter() {
                while let Some(missed) = self.missed(partition) {
                    for event in missed {
                        if self.feed.send(event).await.is_err() {
                            return;
                        }
                    }
                }
            }
        }
    }

    /// What the feed missed next, or none if it has everything: then appends write to it again.
    fn missed(&self, partition: Partition) -> Option<Vec<FeedEvent>> {
        let mut state = self.state.lock();
        let State { parts, interests, .. } = &mut *state;
        let part = &mut parts[partition.index()];
        let after = part.break_after?;
        let page = part.log.scan(after, REFEED_LIMITS, |topic| wants(interests, [topic]));
        if page.gap.is_some() {
            tracing::warn!(%partition, position = %after, "the node took its feed too slowly: updates were discarded first");
            // What of it is kept would follow a hole: whoever is concerned reads it from the log, where holes are seen.
            part.break_after = Some(page.clock);
            return Some(vec![FeedEvent::Lost { partition, through: page.clock, topics: None }]);
        }
        if page.entries.is_empty() && !page.more {
            part.break_after = None;
            self.backfills.fetch_add(1, Relaxed);
            return None;
        }
        part.break_after = Some(page.through);
        self.backfilled.fetch_add(page.entries.len() as u64, Relaxed);
        Some(page.entries.into_iter().map(FeedEvent::Update).collect())
    }

    /// Writes an update to the feed, in the order of positions: under the lock that gave it its own.
    fn announce(&self, state: &mut State, before: Position, appended: Arc<Appended>) {
        let topics = appended.update.topics.iter();
        let here = topics.filter(|topic| self.partitions.of(topic) == appended.partition);
        let part = &mut state.parts[appended.partition.index()];
        if part.break_after.is_none()
            && wants(&state.interests, here)
            && let Err(mpsc::error::TrySendError::Full(_)) = self.feed.try_send(FeedEvent::Update(appended))
        {
            part.break_after = Some(before);
            self.broke.notify_one();
        }
    }
}

/// Whether one of these topics is to be in the feed.
fn wants<'a>(interests: &HashMap<Interest, usize>, topics: impl IntoIterator<Item = &'a Topic>) -> bool {
    interests.contains_key(&Interest::All)
        || topics.into_iter().any(|topic| interests.contains_key(&Interest::Topic(topic.clone())))
}

#[async_trait::async_trait]
impl Transport for MemoryTransport {
    fn partitions(&self) -> Partitions {
        self.shared.partitions
    }

    async fn append(
        &self,
        update: Update,
        key: Option<&IdempotencyKey>,
        rates: &[Rate],
    ) -> Result<Position, AppendError> {
        let shared = &self.shared;
        let mut state = shared.state.lock();
        if let Some(key) = key
            && let Some(position) = state.keys.find(key, &update)?
        {
            return Ok(position);
        }
        if let Err(refused) = shared.limits.pass(rates, Share::WHOLE, shared.micros()) {
            shared.verdicts.note(refused.limit, Verdict::Refused);
            return Err(refused.into());
        }
        shared.verdicts.note_rates(rates, Verdict::Admitted);
        let canonical = shared.partitions.of(update.canonical_topic());
        let mut others: Vec<Partition> =
            update.topics.iter().map(|topic| shared.partitions.of(topic)).collect();
        others.sort_unstable();
        others.dedup();
        let mut answer = Position::ZERO;
        for partition in others {
            let log = &mut state.parts[partition.index()].log;
            let before = log.clock();
            let appended = log.append(now(), update.clone());
            if partition == canonical {
                answer = appended.position;
            }
            shared.announce(&mut state, before, appended);
        }
        if let Some(key) = key {
            state.keys.remember(now(), key, &update, answer);
        }
        Ok(answer)
    }

    async fn admit(&self, wanted: Wanted) -> Result<Permit, AdmitError> {
        let (limits, verdicts) = (&self.shared.limits, &self.shared.verdicts);
        if let Err(refused) = limits.admit(&wanted, Share::WHOLE, self.shared.micros()) {
            verdicts.note(refused.limit, Verdict::Refused);
            return Err(refused.into());
        }
        verdicts.note_all(&wanted, Verdict::Admitted);
        Ok(LocalLimits::permit(limits.clone(), wanted))
    }

    async fn kick(&self, target: &KickTarget) -> Result<KickReport, TransportError> {
        let (ended, answer) = oneshot::channel();
        let kick = Kick { target: target.clone(), count_max: None, before: None, ended };
        let kick = FeedEvent::Kick(Box::new(kick));
        let asked = async {
            self.shared.feed.send(kick).await.ok()?;
            answer.await.ok()
        };
        let ended = tokio::time::timeout(KICK_WAIT, asked).await.ok().flatten();
        let nodes = usize::from(ended.is_some());
        Ok(KickReport { ended: ended.unwrap_or(0), nodes, nodes_unanswered: 1 - nodes })
    }

    fn peers(&self) -> Peers {
        let connections = self.shared.limits.connections() as u64;
        Peers { nodes: 1, connections, open_nodes: 1, open_connections: connections }
    }

    fn retain(&self, interest: &Interest) {
        *self.shared.state.lock().interests.entry(interest.clone()).or_insert(0) += 1;
    }

    async fn confirmed(&self, _interest: &Interest) -> Result<Cursor, TransportError> {
        let state = self.shared.state.lock();
        let clocks = || state.parts.iter().map(|part| part.log.clock());
        let mut since = Cursor::at(clocks().min().unwrap_or_default());
        self.shared
            .partitions
            .iter()
            .zip(clocks())
            .for_each(|(partition, clock)| since.advance(partition, clock));
        Ok(since)
    }

    fn release(&self, interest: &Interest) {
        let mut state = self.shared.state.lock();
        let interests = &mut state.interests;
        if let Some(holders) = interests.get_mut(interest) {
            *holders -= 1;
            if *holders == 0 {
                interests.remove(interest);
            }
        }
        if interests.len() < interests.capacity() / 4 {
            let capacity = interests.len() * 2;
            interests.shrink_to(capacity);
        }
    }

    async fn read(
        &self,
        partition: Partition,
        selection: &Selection,
        after: Position,
        limits: PageLimits,
    ) -> Result<Page, TransportError> {
        Ok(self.shared.state.lock().parts[partition.index()].log.read(selection, after, limits))
    }

    async fn locate(&self, id: &EventId) -> Result<Option<(Partition, Position)>, TransportError> {
        let state = self.shared.state.lock();
        let found = self.shared.partitions.iter().zip(&state.parts);
        Ok(found
            .filter_map(|(partition, part)| Some((partition, part.log.locate(id)?)))
            .min_by_key(|(_, position)| *position))
    }

    fn feed_status(&self) -> FeedStatus {
        FeedStatus::Live
    }

    fn stats(&self) -> TransportStats {
        let mut stats = TransportStats {
            backfills_done: self.shared.backfills.load(Relaxed),
            backfilled_updates: self.shared.backfilled.load(Relaxed),
            ..TransportStats::default()
        };
        self.shared.verdicts.add_to(&mut stats.verdicts);
        stats
    }

    fn name(&self) -> &'static str {
        "memory"
    }
}

fn now() -> Position {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Position::from_micros(u64::try_from(since_epoch.as_micros()).unwrap_or(0)).min(Position::MAX)
}
