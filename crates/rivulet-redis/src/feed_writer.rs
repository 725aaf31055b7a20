//! Puts what arrives into the node's feed: in order, once, and without holes.
//!
//! One connection delivers in the order in which the scripts published, and they publish in the order of positions. So a
//! position that is not later than the last one is a copy (another topic of the update, or the firehose), and a hole
//! is what the chain of previous positions shows. What is missing is read from the log before anything newer is sent.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use rivulet_core::{Position, Topic, Update, envelope};
use rivulet_node::{Appended, FeedEvent, Selection, TransportError};
use smallvec::SmallVec;
use tokio::sync::mpsc;

use crate::{
    announcement::{AnnouncedUpdate, Announcement},
    channels::Channels,
    inbox::{Messages, Next},
    log::Log,
    status::Status,
    ticker::Seen,
};

/// How many payloads are held at once while missed updates are read.
const FETCH_LEN: usize = 64;
/// Of how many topics the own streams are read, if the index has lost something: of each some payloads are held.
const TOPICS_MAX: usize = 64;

/// See the module. It lives longer than any connection.
pub(crate) struct FeedWriter {
    pub(crate) feed: mpsc::Sender<FeedEvent>,
    pub(crate) log: Arc<Log>,
    pub(crate) channels: Arc<Channels>,
    pub(crate) status: Arc<Status>,
    pub(crate) seen: Arc<Seen>,
    /// The position of the last event that is in the feed.
    pub(crate) last: Position,
    /// Up to here the log was read: what is missing before it cannot be found there.
    pub(crate) verified: Position,
    /// The same as `last`, for other tasks.
    pub(crate) sent: Arc<AtomicU64>,
}

impl FeedWriter {
    /// Feeds the node from a connection whose channels are subscribed, until that breaks.
    pub(crate) async fn run(&mut self, mut messages: Messages) -> TransportError {
        let mut missed = true;
        loop {
            if missed {
                if let Err(error) = self.read_missed().await {
                    return error;
                }
                missed = false;
            }
            let fed = match messages.next().await {
                Next::Message(Announcement::Update(update)) => self.update(update).await,
                Next::Message(Announcement::Tick(position)) => {
                    // Only when it is through: a feed that the node does not take is not live.
                    self.verify(position).await.inspect(|()| self.status.live())
                }
                Next::Overflowed => {
                    tracing::warn!("the node takes its feed too slowly: it reads on from the log");
                    missed = true;
                    Ok(())
                }
                Next::Ended => return TransportError::new("the connection ended"),
            };
            if let Err(error) = fed {
                return error;
            }
        }
    }

    async fn update(&mut self, announced: AnnouncedUpdate) -> Result<(), TransportError> {
        if announced.position <= self.last {
            return Ok(());
        }
        let Ok(update) = envelope::decode(announced.envelope.clone()) else {
            tracing::warn!(position = %announced.position, "an announced update cannot be read");
            return Ok(());
        };
        if self.channels.misses(&announced, &distinct_topics(&update), self.verified) {
            tracing::warn!(position = %announced.position, "updates before this one did not arrive: reading the log");
            self.read_missed().await?;
            if announced.position <= self.last {
                return Ok(());
            }
        }
        self.send(Arc::new(Appended { position: announced.position, update })).await
    }

    async fn send(&mut self, appended: Arc<Appended>) -> Result<(), TransportError> {
        self.put(appended.position, FeedEvent::Update(appended.clone())).await?;
        self.channels.delivered(appended.position, &appended.update.topics);
        Ok(())
    }

    async fn verify(&mut self, position: Position) -> Result<(), TransportError> {
        if position > self.last {
            self.put(position, FeedEvent::Verified(position)).await?;
        }
        Ok(())
    }

    /// The position moves only after the event is in the feed: this future may be dropped while it waits for room.
    async fn put(&mut self, position: Position, event: FeedEvent) -> Result<(), TransportError> {
        self.feed.send(event).await.map_err(|_| TransportError::new("the node has ended"))?;
        self.last = position;
        self.sent.store(position.as_micros(), Ordering::Release);
        self.seen.saw(position);
        Ok(())
    }

    /// Reads from the log what comes after the last event, up to its end. The channels are subscribed already, so what
    /// is appended meanwhile arrives there.
    async fn read_missed(&mut self) -> Result<(), TransportError> {
        let mut after = self.last;
        loop {
            let mut page = self.log.index(after).await?;
            if !page.complete {
                let first = page.entries.first().map(|entry| entry.position);
                self.read_missed_of_topics(after, first, page.clock.now).await?;
            }
            let end = page.entries.last().map_or(after, |entry| entry.position);
            page.entries.retain(|entry| self.channels.wants(&entry.topics));
            for entries in page.entries.chunks(FETCH_LEN) {
                let fetched = self.log.fetch(entries).await?;
                if fetched.len() < entries.len() {
                    tracing::warn!(position = %after, "updates that this node missed are not kept any more");
                }
                for appended in fetched {
                    self.send(appended).await?;
                }
            }
            after = end;
            if !page.more {
                let end = page.clock.now.max(end);
                self.verified = end;
                return self.verify(end).await;
            }
        }
    }

    /// Reads what the index has lost before its entry at `first` (or up to its clock) from the streams of the topics
    /// that are wanted, if they are few: a stream keeps a quiet topic longer than the index of a busy hub does. Nothing
    /// later is taken from there, since topics that are wanted from now on are not among them.
    async fn read_missed_of_topics(
        &mut self,
        mut after: Position,
        first: Option<Position>,
        clock: Position,
    ) -> Result<(), TransportError> {
        let is_lost = |position: Position| first.map_or(position <= clock, |first| position < first);
        let topics = self.channels.few_topics(TOPICS_MAX);
        let mut complete = topics.is_some();
        if let Some(topics) = topics.filter(|topics| !topics.is_empty()) {
            let selection = Selection::Topics(topics);
            let mut more = true;
            while more {
                let page = self.log.read(&selection, after, FETCH_LEN).await?;
                complete &= page.complete;
                (after, more) = (page.through, page.more && is_lost(page.through));
                for appended in page.entries.into_iter().filter(|appended| is_lost(appended.position)) {
                    self.send(appended).await?;
                }
            }
        }
        if !complete {
            tracing::warn!(position = %after, "updates that this node missed may not be kept any more");
        }
        Ok(())
    }
}

/// The topics of an update, each once: `append.lua` knows them so.
pub(crate) fn distinct_topics(update: &Update) -> SmallVec<[Topic; 1]> {
    let mut distinct: SmallVec<[Topic; 1]> = SmallVec::new();
    for topic in &update.topics {
        if !distinct.contains(topic) {
            distinct.push(topic.clone());
        }
    }
    distinct
}
