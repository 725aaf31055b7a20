//! What the subscription's connection has received and the feed has not taken yet. It never waits: when it is full it
//! drops what comes, and says so with the first message that fits again; the feed then reads from the log. A tick fits
//! whenever there is room, and one comes every few seconds, so a loss is never said too late.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use redis::{PushInfo, PushKind, Value};
use tokio::sync::{Notify, mpsc};

use crate::announcement::Announcement;

/// How many messages wait at most.
const LEN_MAX: usize = 8192;
/// How many bytes of messages wait at most.
const BYTES_MAX: usize = 64 << 20;

/// The end that the connection writes to.
pub(crate) struct Inbox {
    sender: mpsc::Sender<Item>,
    /// Whether messages were dropped since the last one that fitted. Only the connection's task looks at it: nothing
    /// is shared with the feed but the queue, so there is no moment at which they could disagree.
    dropping: AtomicBool,
    shared: Arc<Shared>,
}

/// The end that the feed reads from.
pub(crate) struct Messages {
    receiver: mpsc::Receiver<Item>,
    shared: Arc<Shared>,
}

/// What the supervisor looks at.
pub(crate) struct Shared {
    bytes: AtomicUsize,
    ticked: Mutex<Instant>,
    /// Told when the connection has ended.
    pub(crate) ended: Notify,
}

enum Item {
    Message(Announcement),
    /// Messages were dropped here.
    Lost,
}

/// What the feed does next.
pub(crate) enum Next {
    Message(Announcement),
    /// Messages were dropped after those that were taken.
    Overflowed,
    /// The connection is gone.
    Ended,
}

pub(crate) fn inbox() -> (Inbox, Messages, Arc<Shared>) {
    let (sender, receiver) = mpsc::channel(LEN_MAX);
    let shared = Arc::new(Shared {
        bytes: AtomicUsize::new(0),
        ticked: Mutex::new(Instant::now()),
        ended: Notify::new(),
    });
    let dropping = AtomicBool::new(false);
    (
        Inbox { sender, dropping, shared: shared.clone() },
        Messages { receiver, shared: shared.clone() },
        shared,
    )
}

impl Inbox {
    /// Takes what the connection's task received.
    pub(crate) fn receive(&self, push: PushInfo) {
        match push.kind {
            PushKind::Message => self.message(push.data),
            PushKind::Disconnection => self.shared.ended.notify_one(),
            _ => {}
        }
    }

    fn message(&self, data: Vec<Value>) {
        let Some(Value::BulkString(message)) = data.into_iter().nth(1) else { return };
        let Some(announcement) = Announcement::parse(message) else {
            tracing::warn!(
                "a message on one of our channels is not an announcement: someone else writes there"
            );
            return;
        };
        if matches!(announcement, Announcement::Tick(_)) {
            *self.shared.ticked.lock() = Instant::now();
        }
        let fits = self.put(announcement);
        self.dropping.store(!fits, Ordering::Relaxed);
    }

    /// Puts a message into the queue, after the news of those that were dropped before it; both or none of them.
    fn put(&self, announcement: Announcement) -> bool {
        let len = len(&announcement);
        let bytes = self.shared.bytes.fetch_add(len, Ordering::AcqRel) + len;
        let lost = self.dropping.load(Ordering::Relaxed).then_some(Item::Lost);
        let items = lost.into_iter().chain([Item::Message(announcement)]);
        match self.sender.try_reserve_many(items.size_hint().0) {
            Ok(places) if bytes <= BYTES_MAX => {
                places.zip(items).for_each(|(place, item)| place.send(item));
                true
            }
            _ => {
                self.shared.bytes.fetch_sub(len, Ordering::AcqRel);
                false
            }
        }
    }
}

impl Messages {
    pub(crate) async fn next(&mut self) -> Next {
        match self.receiver.recv().await {
            Some(Item::Message(announcement)) => {
                self.shared.bytes.fetch_sub(len(&announcement), Ordering::AcqRel);
                Next::Message(announcement)
            }
            Some(Item::Lost) => Next::Overflowed,
            None => Next::Ended,
        }
    }
}

impl Shared {
    /// The connection is made: from now on ticks have to come.
    pub(crate) fn connected(&self) {
        *self.ticked.lock() = Instant::now();
    }

    /// How long ago the last tick was received, or the connection was made.
    pub(crate) fn silent_for(&self) -> Duration {
        self.ticked.lock().elapsed()
    }
}

fn len(announcement: &Announcement) -> usize {
    match announcement {
        Announcement::Update(update) => update.envelope.len(),
        Announcement::Tick(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(message: &str) -> PushInfo {
        let bulk = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        PushInfo { kind: PushKind::Message, data: vec![bulk("channel"), bulk(message)] }
    }

    #[tokio::test]
    async fn what_does_not_fit_is_dropped_and_said_after_what_did() {
        let (inbox, mut messages, _) = inbox();
        for position in 1..=LEN_MAX + 10 {
            inbox.receive(push(&format!("{position} 0 0\n")));
        }
        for position in 1..=LEN_MAX {
            let Next::Message(Announcement::Update(update)) = messages.next().await else { panic!("none") };
            assert_eq!(update.position.as_micros(), position as u64);
        }
        inbox.receive(push("T7"));
        assert!(matches!(messages.next().await, Next::Overflowed));
        assert!(matches!(messages.next().await, Next::Message(Announcement::Tick(_))));
        inbox.receive(push("T8"));
        assert!(matches!(messages.next().await, Next::Message(Announcement::Tick(_))));
    }

    #[tokio::test]
    async fn what_is_dropped_while_the_feed_waits_is_said_with_the_next_message() {
        let (inbox, mut messages, _) = inbox();
        // Biased: the feed waits before anything comes.
        let (next, ()) = tokio::join!(biased; messages.next(), async {
            inbox.receive(push(&format!("1 0 0\n{}", "x".repeat(BYTES_MAX + 1))));
            inbox.receive(push("T7"));
            inbox.receive(push("T8"));
            drop(inbox);
        });
        assert!(matches!(next, Next::Overflowed));
        for expected in [7, 8] {
            let Next::Message(Announcement::Tick(tick)) = messages.next().await else { panic!("no tick") };
            assert_eq!(tick.as_micros(), expected);
        }
    }

    #[tokio::test]
    async fn bytes_are_bounded_too() {
        let (inbox, mut messages, shared) = inbox();
        let large = format!("1 0 0\n{}", "x".repeat(BYTES_MAX / 2));
        for _ in 0..3 {
            inbox.receive(push(&large));
        }
        assert!(matches!(messages.next().await, Next::Message(_)));
        assert!(matches!(messages.next().await, Next::Message(_)));
        inbox.receive(push("T7"));
        assert!(matches!(messages.next().await, Next::Overflowed));
        assert!(matches!(messages.next().await, Next::Message(Announcement::Tick(_))));
        assert_eq!(shared.bytes.load(Ordering::Acquire), 0);
    }
}
