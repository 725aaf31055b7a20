//! Puts what arrives on one connection into the node's feed: per partition in order, once, and without holes.
//!
//! One connection delivers in the order in which the scripts published, and they publish in the order of positions. So a
//! position that is not later than the last one is a copy (another topic of the update, or the firehose), and a hole
//! is what the chain of previous positions shows. What is missing is read from the log before anything newer is sent:
//! while a partition waits for that, what its channels bring is left to the log as well.

use std::{sync::Arc, time::Instant};

use rivulet_core::{
    Partition, Position, Topic, Update, envelope,
    fault::{self, Fault},
};
use rivulet_node::{Appended, FeedEvent, FeedSender, Kick, KickTarget, PageLimits, TransportError};
use smallvec::SmallVec;

use crate::{
    announcement::{AnnouncedUpdate, Announcement},
    backfill::Backfill,
    entry::Clock,
    history::History,
    inbox::{Messages, Next},
    index_entry::{IndexEntry, batches},
    keys::Keys,
    kicks::{HOME, Kicks},
    log::Log,
    missed::Missed,
    outage::Outage,
    partition_state::PartitionState,
};

/// How much is held at once while missed updates are read.
const FETCH_MAX: PageLimits = PageLimits { len: 256, bytes: 4 << 20 };

/// See the module. All partitions' states are shared with the writers of other connections, which serve other ones.
#[derive(Clone)]
pub(crate) struct FeedWriter {
    pub(crate) feed: FeedSender,
    pub(crate) log: Arc<Log>,
    pub(crate) keys: Keys,
    pub(crate) states: Arc<[PartitionState]>,
    pub(crate) kicks: Arc<Kicks>,
    pub(crate) outage: Arc<Outage>,
}

impl FeedWriter {
    /// Feeds the node from a connection on which the channels of `partitions` are subscribed, until the node has ended or
    /// the connection has.
    pub(crate) async fn run(&self, partitions: &[Partition], mut messages: Messages) -> TransportError {
        let mut missed = self.miss_all(partitions);
        loop {
            while let Some(partition) = missed.due(Instant::now()) {
                match self.read_missed(partition).await {
                    Ok(()) => missed.found(partition),
                    Err(error) if self.feed.is_closed() => return error,
                    Err(error) => {
                        tracing::debug!(%partition, %error, "what the feed missed could not be read; trying again");
                        missed.defer(partition);
                    }
                }
            }
            let next = match missed.next_due() {
                None => messages.next().await,
                Some(due) => match tokio::time::timeout_at(due.into(), messages.next()).await {
                    Ok(next) => next,
                    Err(_) => continue,
                },
            };
            match next {
                Next::Message(partition, announcement)
                    if missed.contains(partition) && !matches!(announcement, Announcement::Kick(..)) => {}
                Next::Message(partition, announcement) => {
                    if let Err(error) = self.take(partition, announcement).await {
                        if self.feed.is_closed() {
                            return error;
                        }
                        missed.add(partition);
                    }
                }
                Next::Overflowed => {
                    tracing::warn!("the node takes its feed too slowly: it reads on from the log");
                    missed = self.miss_all(partitions);
                }
                Next::Ended => return TransportError::new("the connection ended"),
            }
        }
    }

    /// What is to be read before anything that arrives: updates of all partitions, and kicks. The channels are subscribed.
    fn miss_all(&self, partitions: &[Partition]) -> Missed {
        if partitions.contains(&HOME) {
            self.kicks.hearing.missed();
        }
        Missed::all(partitions)
    }

    /// Lets the node end connections, once: those that began before it was told.
    async fn kick(
        &self,
        kick: u64,
        target: KickTarget,
        told: Option<tokio::time::Instant>,
    ) -> Result<(), TransportError> {
        let Some(ended) = self.kicks.hear(kick) else { return Ok(()) };
        let Some(told) = told else {
            // Nobody has been here for longer than the machine. Who has kicked may have given up.
            let _ = ended.send(0);
            return Ok(());
        };
        let event = FeedEvent::Kick(Box::new(Kick { target, count_max: None, before: Some(told), ended }));
        self.feed.send(event).await.map_err(|_| TransportError::new("the node has ended"))
    }

    fn state(&self, partition: Partition) -> &PartitionState {
        &self.states[partition.index()]
    }

    async fn take(&self, partition: Partition, announcement: Announcement) -> Result<(), TransportError> {
        match announcement {
            Announcement::Update(update) => self.update(partition, update).await,
            Announcement::Birth(birth) => self.born(partition, birth).await,
            Announcement::Kick(kick, target, told) => self.kick(kick, *target, told).await,
            Announcement::UnreadableKick(cause) => {
                self.kicks.primaries.unreadable.note(
                    cause,
                    "a kick",
                    "it has a target that is not known here",
                );
                Ok(())
            }
            // What it announced may stand in the log.
            Announcement::Unreadable(cause) => {
                let error = "it is of a kind that is not known here";
                self.kicks.primaries.unreadable.note(cause, "an announcement", error);
                Err(TransportError::new("an announcement cannot be read"))
            }
            Announcement::Tick(position) => {
                self.verify(partition, position).await?;
                if partition == HOME {
                    self.kicks.hearing.ticked();
                }
                // Only when it is through: a feed that the node does not take is not live.
                if self.state(partition).status.live().is_some() {
                    self.say_if_live();
                }
                Ok(())
            }
        }
    }

    /// Says once that the feed is live: when no partition is stale any more.
    fn say_if_live(&self) {
        if self.states.iter().all(|state| state.status.stale().is_none()) {
            self.outage.ends();
            tracing::info!("the feed from Redis is live");
        }
    }

    async fn update(&self, partition: Partition, announced: AnnouncedUpdate) -> Result<(), TransportError> {
        let state = self.state(partition);
        let place = *state.place.lock();
        if announced.position <= place.last {
            return Ok(());
        }
        let Ok(update) = envelope::decode(announced.envelope.clone()) else {
            // The log tells whose it is, and counts it.
            return Err(TransportError::new("an announced update cannot be read"));
        };
        let topics = self.topics_in(partition, &update);
        let missing = state.channels.missing(&announced, &topics, place.verified);
        if let Some(missing) = missing.filter(|_| !fault::is(Fault::SkipBackfill)) {
            tracing::warn!(position = %announced.position, "updates before this one did not arrive: reading the log");
            if missing <= place.last {
                // The feed is past it, by updates of other topics or by a tick: its subscribers have to look for it.
                self.lose(partition, place.last, Some(topics.as_slice().into())).await?;
            }
            // Up to the clock, which is not before this update.
            return self.read_missed(partition).await;
        }
        if fault::is(Fault::DropAnnouncement) && announced.position.as_micros().is_multiple_of(1000) {
            state.channels.delivered(announced.position, &topics);
            return Ok(());
        }
        self.send(Arc::new(Appended { partition, position: announced.position, update })).await
    }

    /// The topics of an update that stand in a partition, each once, in order: `append.lua` knows them so.
    fn topics_in(&self, partition: Partition, update: &Update) -> SmallVec<[Topic; 1]> {
        topics_in(&self.keys, partition, update)
    }

    async fn send(&self, appended: Arc<Appended>) -> Result<(), TransportError> {
        let (partition, position) = (appended.partition, appended.position);
        self.put(partition, position, FeedEvent::Update(appended.clone())).await?;
        let state = self.state(partition);
        state.seen.saw_announced(position);
        state.channels.delivered(position, &self.topics_in(partition, &appended.update));
        Ok(())
    }

    async fn verify(&self, partition: Partition, position: Position) -> Result<(), TransportError> {
        if position > self.state(partition).place.lock().last {
            self.put(partition, position, FeedEvent::Verified(partition, position)).await?;
        }
        Ok(())
    }

    /// The log is not the one that it was: what stands before `birth` may be lost, for everyone. The birth is known only
    /// when the node has been told: this future may be dropped while it waits for room.
    async fn born(&self, partition: Partition, birth: Position) -> Result<(), TransportError> {
        let place = *self.state(partition).place.lock();
        if place.birth.is_some_and(|known| known < birth) {
            tracing::warn!(%partition, %birth, "the log in Redis has lost updates: subscribers are told");
            self.lose(partition, birth.max(place.last), None).await?;
        }
        let known = &mut self.state(partition).place.lock().birth;
        *known = (*known).max(Some(birth));
        Ok(())
    }

    /// If the log has never been where this feed is, it is another one, an older copy perhaps: what is missing in it is not
    /// known.
    async fn leave_void(&self, partition: Partition, clock: &Clock) -> Result<(), TransportError> {
        let last = self.state(partition).place.lock().last;
        let Some(void) = clock.void_at(last) else { return Ok(()) };
        tracing::warn!(%partition, position = %last, "Redis came back with another log than before, an older copy perhaps: subscribers are told");
        self.lose(partition, void.before, None).await
    }

    /// Tells the node that the feed lacks updates up to a position, which must not be before the last event.
    async fn lose(
        &self,
        partition: Partition,
        through: Position,
        topics: Option<Arc<[Topic]>>,
    ) -> Result<(), TransportError> {
        self.put(partition, through, FeedEvent::Lost { partition, through, topics }).await
    }

    /// The position moves only after the event is in the feed: this future may be dropped while it waits for room.
    async fn put(
        &self,
        partition: Partition,
        position: Position,
        event: FeedEvent,
    ) -> Result<(), TransportError> {
        self.feed.send(event).await.map_err(|_| TransportError::new("the node has ended"))?;
        let state = self.state(partition);
        state.put(position);
        state.seen.saw(position);
        Ok(())
    }

    /// Reads from the log what comes after the last event, up to its end. The channels are subscribed already, so what
    /// is appended meanwhile arrives there.
    async fn read_missed(&self, partition: Partition) -> Result<(), TransportError> {
        let backfill = Backfill::begin(partition);
        let read = backfill.span.within(self.read_on(partition, &backfill)).await;
        backfill.end(&read);
        self.state(partition).stats.backfill_ended(&read);
        read
    }

    async fn read_on(&self, partition: Partition, backfill: &Backfill) -> Result<(), TransportError> {
        let state = self.state(partition);
        let mut after = state.place.lock().last;
        let mut history = History::default();
        loop {
            let mut page = self.log.index(partition, after, &mut history).await?;
            if page.clock.birth == Position::MAX {
                // An empty Redis. The next script that runs there is its birth, and says so.
                return Ok(());
            }
            self.born(partition, page.clock.birth).await?;
            self.leave_void(partition, &page.clock).await?;
            after = after.max(state.place.lock().last);
            let end = page.entries.last().map_or(after, |entry| entry.position.max(after));
            if page.is_trimmed && page.clock.birth <= after {
                let first = page.entries.first().map_or(page.clock.now, |entry| entry.position.before());
                tracing::warn!(%partition, position = %after, "the index has lost updates that this node missed");
                self.lose(partition, first.max(after), None).await?;
                backfill.lost();
            }
            let wants = |topics: &[Topic]| state.channels.wants(topics);
            page.entries.retain(|entry| entry.position > after && entry.concerns(wants));
            if fault::is(Fault::SkipBackfill) {
                page.entries.clear();
            }
            for batch in batches(&page.entries, FETCH_MAX) {
                self.send_missed(partition, batch, &mut history, backfill).await?;
            }
            after = end;
            if !page.more {
                let end = page.clock.now.max(end);
                state.place.lock().verified = end;
                return self.verify(partition, end).await;
            }
        }
    }

    /// Sends a batch of updates that were missed, and says which of them are not kept any more.
    async fn send_missed(
        &self,
        partition: Partition,
        batch: &[IndexEntry],
        history: &mut History,
        backfill: &Backfill,
    ) -> Result<(), TransportError> {
        let fetched = self.log.fetch(partition, batch, history).await?;
        let mut missing = fetched.missing.into_iter().peekable();
        let mut found = fetched.found.into_iter().peekable();
        loop {
            let is_lost = match (missing.peek(), found.peek()) {
                (Some(entry), Some(appended)) => entry.position < appended.position,
                (lost, found) => lost.is_some() && found.is_none(),
            };
            if is_lost {
                let Some(entry) = missing.next() else { return Ok(()) };
                self.lose(partition, entry.position, entry.lost_topics().map(Into::into)).await?;
                backfill.lost();
            } else {
                let Some(appended) = found.next() else { return Ok(()) };
                self.send(appended).await?;
                backfill.found();
                self.state(partition).stats.backfilled();
            }
        }
    }
}

/// The topics of an update that stand in a partition, each once, in the update's order.
pub(crate) fn topics_in(keys: &Keys, partition: Partition, update: &Update) -> SmallVec<[Topic; 1]> {
    let mut topics: SmallVec<[Topic; 1]> = SmallVec::new();
    for topic in &update.topics {
        if keys.partitions().of(topic) == partition && !topics.contains(topic) {
            topics.push(topic.clone());
        }
    }
    topics
}
