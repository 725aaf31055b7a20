//! What the rules use to look at a transport: updates that are easy to make, and a feed that is read with a deadline.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use rivulet_core::{Cursor, EventId, Matcher, Partition, Position, Topic, TraceContext, Update};

use super::Member;
use crate::{Appended, FeedEvent, Interest, Page, PageLimits, Selection, Transport};

/// How long a rule waits for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) fn topic(name: &str) -> Topic {
    Topic::parse(name).expect("the rules' topics are valid")
}

/// Where a topic stands.
pub(super) fn partition(transport: &Arc<dyn Transport>, name: &str) -> Partition {
    transport.partitions().of(&topic(name))
}

/// Topics that begin with these names and stand in one partition, that of the first: their positions can be compared.
pub(super) fn neighbours<const N: usize>(transport: &Arc<dyn Transport>, names: [&str; N]) -> [String; N] {
    let home = partition(transport, names[0]);
    names.map(|name| {
        let spellings = std::iter::once(name.to_owned()).chain((0..).map(|n| format!("{name}~{n}")));
        spellings.into_iter().find(|name| partition(transport, name) == home).expect("there are enough names")
    })
}

pub(super) fn interest(name: &str) -> Interest {
    Interest::Topic(topic(name))
}

pub(super) fn topics(names: &[&str]) -> Selection {
    Selection::Topics(names.iter().map(|name| topic(name)).collect())
}

pub(super) fn matching(names: &[&str]) -> Selection {
    Selection::Matching(names.iter().map(|name| Matcher::exact(name).expect("a valid matcher")).collect())
}

pub(super) fn update(names: &[&str], data: &str) -> Update {
    Update {
        topics: names.iter().map(|name| topic(name)).collect(),
        data: Bytes::copy_from_slice(data.as_bytes()),
        private: false,
        id: None,
        event_type: None,
        retry_ms: None,
        trace: None,
    }
}

/// A recorded trace, by its number.
pub(super) fn trace(number: u8) -> Option<Box<TraceContext>> {
    TraceContext::new([number; 16], [number; 8], 1, "vendor=value").map(Box::new)
}

pub(super) fn id(text: &str) -> EventId {
    EventId::parse(text).expect("the rules' ids are valid")
}

pub(super) fn data(appended: &Appended) -> String {
    String::from_utf8_lossy(&appended.update.data).into_owned()
}

pub(super) fn all_data(page: &Page) -> Vec<String> {
    page.entries.iter().map(|entry| data(entry)).collect()
}

pub(super) async fn append(transport: &Arc<dyn Transport>, names: &[&str], data: &str) -> Position {
    append_update(transport, update(names, data)).await
}

/// Appends until it works: a rule that breaks the transport may find it away for a moment.
pub(super) async fn append_update(transport: &Arc<dyn Transport>, update: Update) -> Position {
    let appended = async {
        loop {
            match transport.append(update.clone(), None, &[]).await {
                Ok(position) => break position,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    tokio::time::timeout(PATIENCE, appended).await.expect("an append must work in the end")
}

/// Reads the partition of the topic `a`, or of the topic that is selected.
pub(super) async fn read(
    transport: &Arc<dyn Transport>,
    selection: &Selection,
    after: Position,
    len_max: usize,
) -> Page {
    read_within(transport, selection, after, PageLimits { len: len_max, bytes: usize::MAX }).await
}

pub(super) async fn read_within(
    transport: &Arc<dyn Transport>,
    selection: &Selection,
    after: Position,
    limits: PageLimits,
) -> Page {
    let partition = home(transport, selection);
    let page = transport.read(partition, selection, after, limits).await.expect("a read must work");
    assert!(page.entries.len() <= limits.len, "a page has at most the asked length");
    assert!(page.through >= after, "a page never goes back");
    assert!(
        page.entries.iter().all(|entry| entry.partition == partition),
        "entries stand where they are read"
    );
    let mut last = after;
    for entry in &page.entries {
        assert!(
            entry.position > last && entry.position <= page.through,
            "a page is in order and within its end"
        );
        last = entry.position;
    }
    page
}

/// The partition of what is selected, by its first topic.
fn home(transport: &Arc<dyn Transport>, selection: &Selection) -> Partition {
    let first = match selection {
        Selection::Topics(topics) => topics.first(),
        Selection::Matching(matchers) => matchers.iter().find_map(|matcher| match matcher {
            Matcher::Exact(topic) => Some(topic),
            _ => None,
        }),
    };
    first.map_or_else(|| partition(transport, "a"), |topic| transport.partitions().of(topic))
}

/// Reads to the end of the log, in pages.
pub(super) async fn read_all(
    transport: &Arc<dyn Transport>,
    selection: &Selection,
    mut after: Position,
    len_max: usize,
) -> Vec<Arc<Appended>> {
    let mut entries = Vec::new();
    loop {
        let page = read(transport, selection, after, len_max).await;
        assert_eq!(page.gap, None, "nothing was discarded after {after}");
        assert!(page.through > after || !page.more, "a page that is not the last one gets on");
        after = page.through;
        entries.extend(page.entries);
        if !page.more {
            return entries;
        }
    }
}

/// Waits until a condition holds.
pub(super) async fn eventually<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    let held = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, held).await.is_ok(), "{what}");
}

impl Member {
    /// Retains an interest and waits for its confirmation.
    pub(super) async fn subscribe(&self, interest: &Interest) -> Cursor {
        self.transport.retain(interest);
        self.transport.confirmed(interest).await.expect("an interest must be confirmed")
    }

    /// The next event.
    pub(super) async fn event(&mut self) -> FeedEvent {
        let event = tokio::time::timeout(PATIENCE, self.feed.recv()).await;
        event.expect("an event must come").expect("the feed must not end")
    }

    /// The next updates of a topic, in the feed's order, which is checked for all events on the way.
    pub(super) async fn updates(&mut self, name: &str, len: usize) -> Vec<Arc<Appended>> {
        let (topic, home) = (topic(name), partition(&self.transport, name));
        let mut updates = Vec::with_capacity(len);
        let mut lasts: HashMap<Partition, Position> = HashMap::new();
        // Ticks keep events coming while an update is missing: so all of this has a deadline too.
        let deadline = Instant::now() + PATIENCE * 2;
        while updates.len() < len {
            assert!(Instant::now() < deadline, "{} of {len} updates of {name} came", updates.len());
            match self.event().await {
                FeedEvent::Verified(partition, position) => {
                    let last = lasts.entry(partition).or_default();
                    assert!(position >= *last, "verified {position} after {last}");
                    *last = position;
                }
                FeedEvent::Update(appended) => {
                    let last = lasts.entry(appended.partition).or_default();
                    assert!(appended.position > *last, "{} after {last}", appended.position);
                    *last = appended.position;
                    if appended.partition == home && appended.update.topics.contains(&topic) {
                        updates.push(appended);
                    }
                }
                FeedEvent::Kick(_) => {}
                FeedEvent::Lost { partition, through, .. } => {
                    panic!("nothing was lost, but the feed says so for {partition} up to {through}")
                }
            }
        }
        updates
    }
}
