//! What the subscription's connection has received and the feed has not taken yet. It never waits: when it is full it
//! drops what comes, and says so with the first message that fits again; the feed then reads from the log. A tick fits
//! whenever there is room, and one comes every few seconds, so a loss is never said too late.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use hashbrown::HashSet;
use parking_lot::Mutex;
use redis::{PushInfo, PushKind, Value};
use rivulet_core::Partition;
use tokio::sync::{Notify, mpsc};

use crate::{announcement::Announcement, keys::Keys, partition_state::PartitionState};

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
    keys: Keys,
    states: Arc<[PartitionState]>,
}

/// The end that the feed reads from.
pub(crate) struct Messages {
    receiver: mpsc::Receiver<Item>,
    shared: Arc<Shared>,
}

/// What the link looks at.
pub(crate) struct Shared {
    bytes: AtomicUsize,
    /// Sharded channels that are being unsubscribed by us.
    leaving: Mutex<HashSet<String>>,
    /// Told when the connection has ended.
    pub(crate) ended: Notify,
    /// Told when the server has unsubscribed us: the slot of a channel has moved.
    pub(crate) unsubscribed: Notify,
}

enum Item {
    Message(Partition, Announcement),
    /// Messages were dropped here.
    Lost,
}

/// What the feed does next.
pub(crate) enum Next {
    Message(Partition, Announcement),
    /// Messages were dropped after those that were taken.
    Overflowed,
    /// The connection is gone.
    Ended,
}

pub(crate) fn inbox(keys: Keys, states: Arc<[PartitionState]>) -> (Inbox, Messages, Arc<Shared>) {
    let (sender, receiver) = mpsc::channel(LEN_MAX);
    let shared = Arc::new(Shared {
        bytes: AtomicUsize::new(0),
        leaving: Mutex::default(),
        ended: Notify::new(),
        unsubscribed: Notify::new(),
    });
    let dropping = AtomicBool::new(false);
    (
        Inbox { sender, dropping, shared: shared.clone(), keys, states },
        Messages { receiver, shared: shared.clone() },
        shared,
    )
}

impl Inbox {
    /// Takes what the connection's task received.
    pub(crate) fn receive(&self, push: PushInfo) {
        match push.kind {
            PushKind::Message | PushKind::SMessage => self.message(push.data),
            PushKind::SUnsubscribe => self.unsubscribed(push.data),
            PushKind::Disconnection => self.shared.ended.notify_one(),
            _ => {}
        }
    }

    /// The server confirms that we left a channel, or says that we cannot have it any more.
    fn unsubscribed(&self, data: Vec<Value>) {
        let Some(Value::BulkString(channel)) = data.into_iter().next() else { return };
        let is_ours = std::str::from_utf8(&channel).is_ok_and(|name| self.shared.leaving.lock().remove(name));
        if !is_ours {
            self.shared.unsubscribed.notify_one();
        }
    }

    fn message(&self, data: Vec<Value>) {
        let mut data = data.into_iter();
        let (Some(Value::BulkString(channel)), Some(Value::BulkString(message))) = (data.next(), data.next())
        else {
            return;
        };
        let Some(partition) = self.keys.partition_of(&channel) else {
            tracing::warn!("a message came on a channel that is none of ours");
            return;
        };
        let Some(announcement) = Announcement::parse(message) else { return };
        if matches!(announcement, Announcement::Tick(_)) {
            self.states[partition.index()].tick_heard();
        }
        let fits = self.put(partition, announcement);
        self.dropping.store(!fits, Ordering::Relaxed);
    }

    /// Puts a message into the queue, after the news of those that were dropped before it; both or none of them.
    fn put(&self, partition: Partition, announcement: Announcement) -> bool {
        let len = len(&announcement);
        let bytes = self.shared.bytes.fetch_add(len, Ordering::AcqRel) + len;
        let lost = self.dropping.load(Ordering::Relaxed).then_some(Item::Lost);
        let items = lost.into_iter().chain([Item::Message(partition, announcement)]);
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
            Some(Item::Message(partition, announcement)) => {
                self.shared.bytes.fetch_sub(len(&announcement), Ordering::AcqRel);
                Next::Message(partition, announcement)
            }
            Some(Item::Lost) => Next::Overflowed,
            None => Next::Ended,
        }
    }
}

impl Shared {
    /// We are about to leave sharded channels.
    pub(crate) fn leave(&self, channels: &[String]) {
        self.leaving.lock().extend(channels.iter().cloned());
    }
}

fn len(announcement: &Announcement) -> usize {
    match announcement {
        Announcement::Update(update) => update.envelope.len(),
        Announcement::Kick(_, target, _) => {
            let scope = target.scope.as_ref().map_or(0, |(_, scope)| scope.as_str().len());
            [&target.subject, &target.topic].into_iter().flatten().map(String::len).sum::<usize>() + scope
        }
        Announcement::Tick(_)
        | Announcement::Birth(_)
        | Announcement::UnreadableKick(_)
        | Announcement::Unreadable(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn push(message: &str) -> PushInfo {
        PushInfo { kind: PushKind::Message, data: vec![bulk("{rivulet:0}firehose"), bulk(message)] }
    }

    fn inbox() -> (Inbox, Messages, Arc<Shared>) {
        let zero = rivulet_core::Position::ZERO;
        let seen = crate::seen::Seen::new(crate::seen::Proof::Announcement);
        let state = PartitionState::starting_after(Partition::default(), seen, zero);
        super::inbox(Keys::new("rivulet", 0, rivulet_core::Partitions::ONE), Arc::new([state]))
    }

    #[tokio::test]
    async fn who_did_not_leave_is_told_that_the_channel_has_moved() {
        let (inbox, _messages, shared) = inbox();
        let left =
            |name: &str| PushInfo { kind: PushKind::SUnsubscribe, data: vec![bulk(name), Value::Int(0)] };
        shared.leave(&["a".to_owned()]);
        inbox.receive(left("a"));
        let told = std::time::Duration::ZERO;
        assert!(tokio::time::timeout(told, shared.unsubscribed.notified()).await.is_err());
        inbox.receive(left("a"));
        shared.unsubscribed.notified().await;
    }

    #[tokio::test]
    async fn what_does_not_fit_is_dropped_and_said_after_what_did() {
        let (inbox, mut messages, _) = inbox();
        for position in 1..=LEN_MAX + 10 {
            inbox.receive(push(&format!("{position} 0 0\n")));
        }
        for position in 1..=LEN_MAX {
            let Next::Message(_, Announcement::Update(update)) = messages.next().await else {
                panic!("none")
            };
            assert_eq!(update.position.as_micros(), position as u64);
        }
        inbox.receive(push("T7"));
        assert!(matches!(messages.next().await, Next::Overflowed));
        assert!(matches!(messages.next().await, Next::Message(_, Announcement::Tick(_))));
        inbox.receive(push("T8"));
        assert!(matches!(messages.next().await, Next::Message(_, Announcement::Tick(_))));
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
            let Next::Message(_, Announcement::Tick(tick)) = messages.next().await else { panic!("no tick") };
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
        assert!(matches!(messages.next().await, Next::Message(..)));
        assert!(matches!(messages.next().await, Next::Message(..)));
        inbox.receive(push("T7"));
        assert!(matches!(messages.next().await, Next::Overflowed));
        assert!(matches!(messages.next().await, Next::Message(_, Announcement::Tick(_))));
        assert_eq!(shared.bytes.load(Ordering::Acquire), 0);
    }
}
