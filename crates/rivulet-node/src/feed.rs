//! The feed between a transport and the pump: bounded in events and in bytes.
//!
//! A transport that finds it full must not wait where that would stall its connection: it drops the event, and reads it
//! from the log when there is room (a break).

use std::{sync::Arc, time::Instant};

use tokio::sync::{
    OwnedSemaphorePermit, Semaphore,
    mpsc::{
        self,
        error::{SendError, TrySendError},
    },
};

use crate::FeedEvent;

/// How many events may wait between a transport and the pump.
pub const FEED_LEN_MAX: usize = 2048;
/// How many bytes they may have: the largest updates would be two gigabytes.
pub const FEED_BYTES_MAX: u32 = 64 << 20;
/// What an event costs beside its content.
const EVENT_BYTES: usize = 512;

/// An empty feed.
pub fn feed() -> (FeedSender, Feed) {
    let (events, receiver) = mpsc::channel(FEED_LEN_MAX);
    let budget = Arc::new(Semaphore::new(FEED_BYTES_MAX as usize));
    (FeedSender { events, budget }, Feed(receiver))
}

/// The end of a feed that a transport has. Cheap to clone.
#[derive(Clone, Debug)]
pub struct FeedSender {
    events: mpsc::Sender<Weighed>,
    budget: Arc<Semaphore>,
}

/// The receiving end of a feed.
#[derive(Debug)]
pub struct Feed(mpsc::Receiver<Weighed>);

/// An event with what it takes of the budget, for as long as it lives.
#[derive(Debug)]
pub(crate) struct Weighed {
    pub(crate) event: FeedEvent,
    /// When the transport had it, if that is recorded.
    pub(crate) received: Option<Instant>,
    pub(crate) bytes: OwnedSemaphorePermit,
}

impl FeedSender {
    /// Waits until there is room. If the caller is dropped meanwhile, nothing is sent.
    ///
    /// # Errors
    ///
    /// The node has ended.
    pub async fn send(&self, event: FeedEvent) -> Result<(), SendError<FeedEvent>> {
        let received = received(&event);
        let bytes = self.budget.clone().acquire_many_owned(weight(&event)).await;
        let bytes = bytes.expect("the budget is never closed");
        let sent = self.events.send(Weighed { event, received, bytes }).await;
        sent.map_err(|SendError(weighed)| SendError(weighed.event))
    }

    /// Sends an event if there is room.
    ///
    /// # Errors
    ///
    /// There is no room, or the node has ended.
    pub fn try_send(&self, event: FeedEvent) -> Result<(), TrySendError<FeedEvent>> {
        let Ok(bytes) = self.budget.clone().try_acquire_many_owned(weight(&event)) else {
            return Err(TrySendError::Full(event));
        };
        let received = received(&event);
        self.events.try_send(Weighed { event, received, bytes }).map_err(|error| match error {
            TrySendError::Full(weighed) => TrySendError::Full(weighed.event),
            TrySendError::Closed(weighed) => TrySendError::Closed(weighed.event),
        })
    }

    /// Waits until the node has ended.
    pub async fn closed(&self) {
        self.events.closed().await;
    }

    /// Whether the node has ended.
    pub fn is_closed(&self) -> bool {
        self.events.is_closed()
    }
}

impl Feed {
    /// The next event; `None` if the transport has ended.
    pub async fn recv(&mut self) -> Option<FeedEvent> {
        Some(self.0.recv().await?.event)
    }

    /// Waits for events and takes at most so many; none if the transport has ended.
    pub(crate) async fn recv_many(&mut self, events: &mut Vec<Weighed>, len_max: usize) -> usize {
        self.0.recv_many(events, len_max).await
    }
}

/// Only an update that is followed has to know how long it waited.
fn received(event: &FeedEvent) -> Option<Instant> {
    matches!(event, FeedEvent::Update(appended) if appended.update.trace.is_some()).then(Instant::now)
}

fn weight(event: &FeedEvent) -> u32 {
    let content = match event {
        FeedEvent::Update(appended) => {
            let topics = appended.update.topics.iter().map(|topic| topic.as_str().len());
            appended.update.data.len() + topics.sum::<usize>()
        }
        FeedEvent::Verified(..) | FeedEvent::Lost { .. } | FeedEvent::Kick(_) => 0,
    };
    // One that is larger than the budget has the feed for itself.
    u32::try_from(content + EVENT_BYTES).unwrap_or(u32::MAX).min(FEED_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use rivulet_core::{Partition, Position, Topic, Update};

    use super::*;
    use crate::Appended;

    fn event(len: usize) -> FeedEvent {
        let update = Update {
            topics: [Topic::parse("a").unwrap()].into_iter().collect(),
            data: Bytes::from(vec![b'x'; len]),
            private: false,
            id: None,
            event_type: None,
            retry_ms: None,
            trace: None,
        };
        let (partition, position) = (Partition::default(), Position::ZERO);
        FeedEvent::Update(Arc::new(Appended { partition, position, update }))
    }

    #[tokio::test]
    async fn a_feed_is_full_when_its_events_have_too_many_bytes() {
        let (sender, mut feed) = feed();
        let mut sent = 0;
        while sender.try_send(event(4 << 20)).is_ok() {
            sent += 1;
        }
        assert_eq!(sent, 15);
        sender.try_send(event(0)).expect("a small one fits");
        let waiting = sender.send(event(4 << 20));
        tokio::pin!(waiting);
        let early = tokio::time::timeout(std::time::Duration::from_millis(10), &mut waiting).await;
        assert!(early.is_err(), "it waits for room");
        feed.recv().await.unwrap();
        waiting.await.unwrap();
        drop(feed);
        assert!(sender.is_closed());
        assert!(matches!(sender.try_send(event(0)), Err(TrySendError::Closed(_))));
    }

    #[tokio::test]
    async fn a_feed_is_full_when_it_has_too_many_events() {
        let (sender, mut feed) = feed();
        for _ in 0..FEED_LEN_MAX {
            sender.try_send(event(0)).unwrap();
        }
        assert!(matches!(sender.try_send(event(0)), Err(TrySendError::Full(_))));
        feed.recv().await.unwrap();
        sender.try_send(event(0)).unwrap();
    }

    #[tokio::test]
    async fn an_event_that_is_larger_than_the_budget_passes_alone() {
        let (sender, mut feed) = feed();
        sender.send(event(FEED_BYTES_MAX as usize + 1)).await.unwrap();
        assert!(sender.try_send(event(0)).is_err());
        feed.recv().await.unwrap();
        sender.try_send(event(0)).unwrap();
    }
}
