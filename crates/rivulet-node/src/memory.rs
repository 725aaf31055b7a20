//! The memory transport: log and feed of a single node, without anything behind it. The embedded default, and the
//! reference that the contract suite was written against. What it holds ends with its process.

mod log;
mod retention;

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use hashbrown::HashMap;
use parking_lot::Mutex;
use rivulet_core::{EventId, Position, Topic, Update};
use tokio::{
    sync::{Notify, mpsc},
    task::JoinHandle,
};

use self::log::Log;
pub use self::retention::Retention;
use crate::{
    Appended, Feed, FeedEvent, FeedStatus, Interest, Page, Selection, Transport, TransportError,
    transport::FEED_LEN_MAX,
};

/// How often the clock moves without appends, and quiet topics are looked at. It bounds how stale an idle cursor gets.
const TICK: Duration = Duration::from_secs(1);
/// How many updates are taken from the log at once while a break is healed.
const REFEED_LEN_MAX: usize = 256;

/// Log and feed in this process's memory.
pub struct MemoryTransport {
    shared: Arc<Shared>,
    tasks: [JoinHandle<()>; 2],
}

struct Shared {
    state: Mutex<State>,
    /// Wakes the task that heals a break.
    broke: Notify,
    feed: mpsc::Sender<FeedEvent>,
}

struct State {
    log: Log,
    interests: HashMap<Interest, usize>,
    /// The last position that the feed has dealt with. While it is `Some`, appends do not write to the feed: it was
    /// full, and what comes after this position is read from the log when there is room.
    break_after: Option<Position>,
}

impl MemoryTransport {
    /// Starts an empty hub, in a tokio runtime.
    pub fn start(retention: Retention) -> (Arc<Self>, Feed) {
        let (sender, feed) = mpsc::channel(FEED_LEN_MAX);
        let state = State { log: Log::new(retention, now()), interests: HashMap::new(), break_after: None };
        let shared = Arc::new(Shared { state: Mutex::new(state), broke: Notify::new(), feed: sender });
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
    /// Moves the clock and says up to where the feed is complete.
    async fn tick(self: Arc<Self>) {
        let mut interval = tokio::time::interval(TICK);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            let mut state = self.state.lock();
            let clock = state.log.advance(now());
            if state.break_after.is_none() {
                // A full feed needs no verification to make progress: the next tick says it.
                let _ = self.feed.try_send(FeedEvent::Verified(clock));
            }
        }
    }

    async fn heal_breaks(self: Arc<Self>) {
        loop {
            self.broke.notified().await;
            while let Some(missed) = self.missed() {
                for event in missed {
                    if self.feed.send(event).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// The next updates that the feed missed, or none if it has them all: then appends write to it again.
    fn missed(&self) -> Option<Vec<FeedEvent>> {
        let mut state = self.state.lock();
        let after = state.break_after?;
        let page = state.log.scan(after, REFEED_LEN_MAX, |topics| state.wants(topics));
        if !page.complete {
            tracing::warn!(position = %after, "the node took its feed too slowly: updates were discarded first");
        }
        if page.entries.is_empty() && !page.more {
            state.break_after = None;
            return None;
        }
        state.break_after = Some(page.through);
        Some(page.entries.into_iter().map(FeedEvent::Update).collect())
    }
}

impl State {
    fn wants(&self, topics: &[Topic]) -> bool {
        self.interests.contains_key(&Interest::All)
            || topics.iter().any(|topic| self.interests.contains_key(&Interest::Topic(topic.clone())))
    }
}

#[async_trait::async_trait]
impl Transport for MemoryTransport {
    async fn append(&self, update: Update) -> Result<Position, TransportError> {
        let mut state = self.shared.state.lock();
        let before = state.log.clock();
        let appended: Arc<Appended> = state.log.append(now(), update);
        let position = appended.position;
        // Under the same lock that gave the position, so that the feed has the order of the positions.
        if state.break_after.is_none()
            && state.wants(&appended.update.topics)
            && let Err(mpsc::error::TrySendError::Full(_)) =
                self.shared.feed.try_send(FeedEvent::Update(appended))
        {
            state.break_after = Some(before);
            self.shared.broke.notify_one();
        }
        Ok(position)
    }

    fn retain(&self, interest: &Interest) {
        *self.shared.state.lock().interests.entry(interest.clone()).or_insert(0) += 1;
    }

    async fn confirmed(&self, _interest: &Interest) -> Result<Position, TransportError> {
        Ok(self.shared.state.lock().log.clock())
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
        selection: &Selection,
        after: Position,
        len_max: usize,
    ) -> Result<Page, TransportError> {
        Ok(self.shared.state.lock().log.read(selection, after, len_max))
    }

    async fn locate(&self, id: &EventId) -> Result<Option<Position>, TransportError> {
        Ok(self.shared.state.lock().log.locate(id))
    }

    fn feed_status(&self) -> FeedStatus {
        FeedStatus::Live
    }

    fn name(&self) -> &'static str {
        "memory"
    }
}

fn now() -> Position {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Position::from_micros(u64::try_from(since_epoch.as_micros()).unwrap_or(0)).min(Position::MAX)
}
