//! One client on one connection through everything that can happen to its Redis.

use std::{collections::HashSet, net::SocketAddr, time::Duration};

use rivulet_tests::{
    Event, Hub, PATIENCE, Request, Subscriber, eventually, port, redis::RedisServer,
    redis_cluster::RedisCluster, sentinel::SentinelSetup, tokens::publisher,
};
use tokio::{sync::watch, task::JoinHandle};

/// How many updates are acknowledged between two breaks, so that each is felt and survived.
const STEP: usize = 30;
/// Between two publications: a journey of half a minute is some thousand updates.
const PAUSE: Duration = Duration::from_millis(5);
/// How long a failover may take until publishing goes on.
const FAILOVER: Duration = Duration::from_secs(40);

/// A publisher that goes on until it is told to stop, and a client that reads all the time.
struct Journey {
    acknowledged: watch::Receiver<Vec<String>>,
    stop: watch::Sender<bool>,
    publishing: JoinHandle<()>,
    reading: JoinHandle<Vec<Event>>,
}

impl Journey {
    async fn begin(hub: &Hub) -> Self {
        let stream = hub.subscribe("topic=journey").await;
        let (acknowledge, acknowledged) = watch::channel(Vec::new());
        let (stop, stopped) = watch::channel(false);
        let publishing = tokio::spawn(publish(hub.address(), acknowledge, stopped));
        Self { acknowledged, stop, publishing, reading: tokio::spawn(read(stream)) }
    }

    /// Waits until some more updates are acknowledged.
    async fn go_on(&self, after: &str) {
        let begun = self.acknowledged.borrow().len();
        eventually(format!("updates after {after}"), FAILOVER, || async {
            let len = self.acknowledged.borrow().len();
            if len >= begun + STEP { Ok(()) } else { Err(format!("{} of {STEP}", len - begun)) }
        })
        .await;
    }

    /// Stops publishing and compares what was acknowledged with what was seen.
    async fn end(self) {
        self.stop.send_replace(true);
        self.publishing.await.expect("the publisher ends well");
        let events = self.reading.await.expect("the client ends well");
        let acknowledged = self.acknowledged.borrow().clone();
        let gap = events.iter().find(|event| event.kind.as_deref() == Some("rivulet-gap"));
        assert_eq!(gap, None, "nothing was lost, so no gap may be told");
        let seen: Vec<&str> = events.iter().map(Event::id).collect();
        assert_eq!(seen.iter().collect::<HashSet<_>>().len(), seen.len(), "nothing came twice");
        assert!(seen.is_sorted_by_key(|id| position(id)), "in the order of positions: {seen:?}");
        // One that was refused may have been appended all the same, before its repeat.
        let known: HashSet<&str> = acknowledged.iter().map(String::as_str).collect();
        let seen: Vec<&str> = seen.into_iter().filter(|id| known.contains(id)).collect();
        let missing = acknowledged.iter().find(|id| !seen.contains(&id.as_str()));
        assert_eq!(seen, acknowledged, "the first that is missing: {missing:?}");
    }
}

/// `#<position>` or `#<partitions>:<position>`.
fn position(id: &str) -> u64 {
    let text = id.trim_start_matches('#');
    text.rsplit(':').next().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{id:?}"))
}

/// Publishes one update after the other, each until it is acknowledged; the last one says so.
async fn publish(hub: SocketAddr, acknowledge: watch::Sender<Vec<String>>, stopped: watch::Receiver<bool>) {
    let (token, mut number) = (publisher(&["*"]), 0);
    loop {
        let is_last = *stopped.borrow();
        let data = if is_last { "end".to_owned() } else { number.to_string() };
        let request = Request::publish(&[("topic", "journey"), ("data", &data)])
            .bearer(&token)
            .header("Idempotency-Key", &format!("journey-{number}"));
        let id = loop {
            let answer = request.send(hub).await;
            if answer.status == 200 {
                break answer.text().to_owned();
            }
            assert_eq!(answer.status, 503, "{answer:?}");
            tokio::time::sleep(10 * PAUSE).await;
        };
        acknowledge.send_modify(|all| all.push(id));
        if is_last {
            return;
        }
        number += 1;
        tokio::time::sleep(PAUSE).await;
    }
}

/// Reads to the last update: the panic of [`Subscriber::event`] is that of a stream that ended.
async fn read(mut stream: Subscriber) -> Vec<Event> {
    let mut events = Vec::new();
    loop {
        let event = stream.event().await;
        let is_last = event.data() == "end";
        events.push(event);
        if is_last {
            return events;
        }
    }
}

fn flags() -> [&'static str; 6] {
    ["--heartbeat", "1s", "--redis-wait-replicas", "1", "--redis-wait-timeout", "1s"]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_client_lives_through_restarts_and_kills_of_its_redis() {
    // By default Redis puts its writes off while the disk is busy with those before: a crash would really lose some.
    let mut redis = RedisServer::start_with(port::free(), &["appendfsync always"]).await;
    let hub = Hub::start_at(&redis.url(), &["--heartbeat", "1s"]).await;
    let journey = Journey::begin(&hub).await;
    journey.go_on("the start").await;
    redis.crash();
    redis.restart().await;
    journey.go_on("a crash and a restart").await;
    for kind in ["pubsub", "normal"] {
        redis.command(&["CLIENT", "KILL", "TYPE", kind]).expect("it obeys");
        journey.go_on("the end of its connections").await;
    }
    redis.command(&["SCRIPT", "FLUSH"]).expect("it obeys");
    journey.go_on("the loss of its scripts").await;
    journey.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_client_lives_through_failovers_by_sentinels() {
    let mut setup = SentinelSetup::start().await;
    let hub = Hub::start_at(&setup.url(), &flags()).await;
    let journey = Journey::begin(&hub).await;
    journey.go_on("the start").await;
    let first = setup.master().expect("a master");
    setup.servers[first].crash();
    let second = setup.failed_over(first).await.expect("a failover");
    journey.go_on("a failover").await;
    setup.servers[first].restart().await;
    setup.settle().await.expect("the old master follows");
    setup.servers[second].command(&["CLIENT", "KILL", "TYPE", "pubsub"]).expect("it obeys");
    journey.go_on("the end of its subscriptions").await;
    journey.end().await;
}

/// The primary that holds the log of the journey's topic, and its slot.
fn owner(cluster: &RedisCluster) -> (usize, u16) {
    for primary in cluster.primaries().expect("primaries") {
        let keys = cluster.servers[primary].command(&["--scan", "--pattern", "*}t:journey"]);
        if let Some(key) = keys.expect("it answers").lines().find(|key| !key.is_empty()) {
            let slot = cluster.servers[primary].command(&["CLUSTER", "KEYSLOT", key]).expect("it answers");
            return (primary, slot.parse().expect("a slot"));
        }
    }
    panic!("nobody has the topic");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_client_lives_through_a_failover_and_a_move_in_a_cluster() {
    let mut cluster = RedisCluster::start().await;
    let hub = Hub::start_at(&cluster.url(), &flags()).await;
    let journey = Journey::begin(&hub).await;
    journey.go_on("the start").await;
    let (first, slot) = owner(&cluster);
    let replica = cluster.replica_of(first).expect("a replica");
    cluster.servers[first].crash();
    cluster.failed_over(first, replica).await.expect("a failover");
    // Until it has a replica again, nothing is acknowledged.
    cluster.servers[first].restart().await;
    cluster.settle().await.expect("the old primary follows");
    journey.go_on("a failover").await;
    let (from, same) = owner(&cluster);
    assert_eq!((from, same), (replica, slot));
    let to = cluster.primaries().expect("primaries").into_iter().find(|primary| *primary != from);
    cluster.migrate(slot, from, to.expect("another primary")).expect("the slot moves");
    journey.go_on("a move of its slot").await;
    assert_eq!(Some(owner(&cluster).0), to);
    journey.end().await;
    eventually("all is well", PATIENCE, || async {
        let answer = rivulet_tests::metrics::get(hub.admin(), "/ready");
        if matches!(answer, Ok((200, _))) { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;
}
