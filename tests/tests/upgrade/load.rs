//! Nodes are replaced under load, from this release to the next and back: order and completeness.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use rivulet_tests::{Hub, PATIENCE, Request, Subscriber, eventually, tokens::publisher, wire::form};
use tokio::{sync::RwLock, task::JoinHandle};

use crate::build::{Build, both, unreadable};

/// Updates per publisher at most: a bound for a test that hangs.
const UPDATES_MAX: usize = 20_000;
const PAUSE: Duration = Duration::from_millis(3);
/// How many both releases publish while both are there.
const BOTH_LEN: usize = 20;

/// Publishes to whichever node is to take it, until told to end.
struct Publisher {
    /// The node; `None`: the end. Who changes it knows that nothing is on its way to the one before.
    target: Arc<RwLock<Option<SocketAddr>>>,
    published: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Publisher {
    fn start(name: &'static str, address: SocketAddr) -> Self {
        let target = Arc::new(RwLock::new(Some(address)));
        let published = Arc::<AtomicUsize>::default();
        let task = tokio::spawn(publish(name, target.clone(), published.clone()));
        Self { target, published, task }
    }

    /// Waits until it has published so many more.
    async fn goes_on(&self, count: usize) {
        let end = self.published.load(Relaxed) + count;
        eventually("updates are published", PATIENCE, || async {
            let published = self.published.load(Relaxed);
            if published >= end { Ok(()) } else { Err(published) }
        })
        .await;
    }

    async fn aim(&self, address: SocketAddr) {
        *self.target.write().await = Some(address);
    }

    /// How many it has published.
    async fn end(self) -> usize {
        *self.target.write().await = None;
        self.task.await.expect("every update was taken");
        self.published.load(Relaxed)
    }
}

async fn publish(name: &'static str, target: Arc<RwLock<Option<SocketAddr>>>, published: Arc<AtomicUsize>) {
    for number in 0..UPDATES_MAX {
        let target = target.read().await;
        let Some(address) = *target else { return };
        let data = format!("{name} {number}");
        let request = Request::publish(&[("topic", "a"), ("topic", name), ("data", &data)]);
        let answer = request.bearer(&publisher(&["*"])).send(address).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        drop(target);
        published.store(number + 1, Relaxed);
        tokio::time::sleep(PAUSE).await;
    }
    panic!("nobody has ended it");
}

/// A client that comes back to its node with its last id.
struct Client {
    topic: &'static str,
    last: String,
    data: Vec<String>,
}

impl Client {
    fn new(topic: &'static str) -> Self {
        Self { topic, last: "earliest".to_owned(), data: Vec::new() }
    }

    async fn connect(&self, hub: &Hub) -> Subscriber {
        hub.subscribe(&form(&[("topic", self.topic), ("lastEventID", &self.last)])).await
    }

    fn take(&mut self, event: &rivulet_tests::Event) {
        assert_eq!(event.kind, None, "no gap: {event:?}");
        self.last = event.id().to_owned();
        self.data.push(event.data().to_owned());
    }

    /// Follows a stream to its end.
    async fn follow(mut self, mut stream: Subscriber) -> Self {
        while let Some(event) = stream.event_or_end().await {
            self.take(&event);
        }
        self
    }

    /// Follows a stream until it has seen this update.
    async fn follow_until(mut self, mut stream: Subscriber, end: &str) -> Self {
        while self.data.last().is_none_or(|data| data != end) {
            let event = stream.event().await;
            self.take(&event);
        }
        self
    }
}

/// Both nodes are replaced in turn by the next release, by this one again, and once more by the next.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_nodes_are_upgraded_and_rolled_back_and_nothing_is_lost_or_out_of_order() {
    let (_redis, [mut one, mut two]) = both(&["--retention-count", "100000"]).await;
    two.replace_in(&Build::This.environment()).await;
    let publishers = [Publisher::start("x", one.address()), Publisher::start("y", one.address())];
    let mut clients =
        [[Client::new("a"), Client::new("*")].map(Some), [Client::new("a"), Client::new("*")].map(Some)];
    for build in [Build::Next, Build::This, Build::Next] {
        for at in [0, 1] {
            let (hub, other) = if at == 0 { (&mut one, &two) } else { (&mut two, &one) };
            let mut following = Vec::new();
            for client in clients[at].iter_mut().filter_map(Option::take) {
                let stream = client.connect(hub).await;
                following.push(tokio::spawn(client.follow(stream)));
            }
            // Both releases publish for a while, then the one that stays.
            for (publisher, address) in publishers.iter().zip([hub.address(), other.address()]) {
                publisher.aim(address).await;
            }
            tokio::join!(publishers[0].goes_on(BOTH_LEN), publishers[1].goes_on(BOTH_LEN));
            publishers[0].aim(other.address()).await;
            hub.replace_in(&build.environment()).await;
            for (client, following) in clients[at].iter_mut().zip(following) {
                *client = Some(following.await.expect("a client in order"));
            }
            assert_eq!(unreadable(hub), [0.0, 0.0], "{}", hub.log());
            assert_eq!(unreadable(other), [0.0, 0.0], "{}", other.log());
        }
    }
    let mut published = Vec::new();
    for (publisher, name) in publishers.into_iter().zip(["x", "y"]) {
        let count = publisher.end().await;
        published.extend((0..count).map(|number| format!("{name} {number}")));
    }
    one.publish(&[("topic", "a"), ("data", "end")]).await;
    let mut seen = Vec::new();
    for (hub, clients) in [&one, &two].into_iter().zip(clients) {
        for client in clients.into_iter().flatten() {
            let stream = client.connect(hub).await;
            seen.push(client.follow_until(stream, "end").await.data);
        }
    }
    expect_complete(&published, &seen);
}

/// Everybody has seen everything, in one order, in which each publisher's updates stand in theirs.
fn expect_complete(published: &[String], seen: &[Vec<String>]) {
    for data in seen {
        assert!(*data == seen[0], "two orders: {} and {} updates", data.len(), seen[0].len());
    }
    for name in ["x ", "y "] {
        let of = |all: &[String]| -> Vec<String> {
            all.iter().filter(|data| data.starts_with(name)).cloned().collect()
        };
        let (published, seen) = (of(published), of(&seen[0]));
        assert!(published.len() > 100, "{}", published.len());
        assert!(published == seen, "{name}: {} published, {} seen", published.len(), seen.len());
    }
}
