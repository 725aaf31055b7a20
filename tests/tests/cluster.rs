//! Two real nodes on one real Redis.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use rivulet_tests::{
    Event, Hub, Request, Subscriber, eventually, redis::RedisServer, tokens::publisher, wire::percent,
};
use tokio::sync::Semaphore;

const TOPICS: usize = 100;
const UPDATES: usize = 10_000;
const SUBSCRIBERS_PER_NODE: usize = 200;
const TOPICS_PER_SUBSCRIBER: usize = 4;
/// Publications under way at once.
const IN_FLIGHT: usize = 64;
/// For everything to be published and received, in a debug build on a busy machine.
const PATIENCE: Duration = Duration::from_secs(150);

async fn two_nodes() -> [Hub; 2] {
    let redis = Arc::new(RedisServer::start().await);
    [Hub::start(Some(Arc::clone(&redis)), &[]).await, Hub::start(Some(redis), &[]).await]
}

/// The topics of the subscriber with this number: every topic has readers on both nodes.
fn topics_of(subscriber: usize) -> Vec<usize> {
    (0..TOPICS_PER_SUBSCRIBER).map(|step| (subscriber + step * 37) % TOPICS).collect()
}

async fn subscribe(node: SocketAddr, number: usize) -> Subscriber {
    let query: Vec<String> = topics_of(number).iter().map(|topic| format!("topic=t{topic}")).collect();
    Subscriber::open(node, &Request::subscribe(&query.join("&"))).await
}

/// Publishes `0..count` on all topics in turn, alternately to both nodes and many at once.
async fn publish_all(nodes: [SocketAddr; 2], count: usize) {
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let token = publisher(&["*"]);
    let places = Arc::new(Semaphore::new(IN_FLIGHT));
    let mut tasks = Vec::new();
    for number in 0..count {
        let place = Arc::clone(&places).acquire_owned().await.expect("never closed");
        let url = format!("http://{}/.well-known/mercure", nodes[number % 2]);
        let form = format!("topic=t{}&data={number}", number % TOPICS);
        let request = client
            .post(url)
            .bearer_auth(&token)
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(form);
        tasks.push(tokio::spawn(async move {
            let answer = request.send().await.expect("an answer");
            assert_eq!(answer.status(), 200, "update {number}");
            drop(place);
        }));
    }
    for task in tasks {
        task.await.expect("published");
    }
}

/// Reads until the subscriber has as many events as were published on its topics.
async fn read_all(mut subscriber: Subscriber, number: usize, updates: usize) -> Vec<Event> {
    let expected = updates / TOPICS * topics_of(number).len();
    let mut events = Vec::with_capacity(expected);
    while events.len() < expected {
        match tokio::time::timeout(PATIENCE, subscriber.event()).await {
            Ok(event) => events.push(event),
            Err(_) => panic!("subscriber {number} has {} of {expected} events", events.len()),
        }
    }
    events
}

/// Checks that each subscriber has its topics' updates completely, none twice, and all in one order.
fn check(received: &[(usize, Vec<Event>)], updates: usize) {
    // The order of each topic as the first reader saw it.
    let mut orders: HashMap<usize, Vec<&str>> = HashMap::new();
    for (number, events) in received {
        let mut own: HashMap<usize, Vec<&str>> = HashMap::new();
        let mut last = 0;
        for event in events {
            let position: u64 = event.id().trim_start_matches('#').parse().expect("#<position>");
            assert!(position > last, "subscriber {number}: {position} after {last}: positions are its order");
            last = position;
            let update: usize = event.data().parse().expect("a number");
            own.entry(update % TOPICS).or_default().push(event.data());
        }
        let topics = topics_of(*number);
        assert_eq!(own.len(), topics.len(), "subscriber {number} reads these topics and no others");
        for topic in topics {
            let order = &own[&topic];
            let mut sorted: Vec<usize> = order.iter().map(|data| data.parse().expect("a number")).collect();
            sorted.sort_unstable();
            let complete: Vec<usize> = (0..updates).filter(|update| update % TOPICS == topic).collect();
            assert_eq!(sorted, complete, "subscriber {number}: t{topic} is complete and nothing came twice");
            assert_eq!(orders.entry(topic).or_insert_with(|| order.clone()), order, "one order of t{topic}");
        }
    }
}

/// Subscribes on both nodes, publishes while `disturb` does its worst, and checks what everybody received.
async fn run(nodes: &[Hub; 2], per_node: usize, updates: usize, disturb: impl Future<Output = ()>) {
    let addresses = [nodes[0].address(), nodes[1].address()];
    let mut readers = Vec::new();
    for number in 0..2 * per_node {
        let subscriber = subscribe(addresses[number % 2], number / 2).await;
        readers.push((number / 2, tokio::spawn(read_all(subscriber, number / 2, updates))));
    }
    for node in nodes {
        node.expect_connections(per_node).await;
    }
    let start = Instant::now();
    tokio::join!(publish_all(addresses, updates), disturb);
    let mut received = Vec::new();
    for (number, reader) in readers {
        received.push((number, reader.await.expect("a reader ends well")));
    }
    assert!(start.elapsed() < PATIENCE, "it took {:?}", start.elapsed());
    check(&received, updates);
    for node in nodes {
        node.expect_connections(0).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_on_both_nodes_gets_everything_once_and_in_one_order() {
    let mut nodes = two_nodes().await;
    run(&nodes, SUBSCRIBERS_PER_NODE, UPDATES, async {}).await;
    for node in &mut nodes {
        assert_eq!(node.stop().code(), Some(0), "{}", node.log());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_feed_that_is_cut_again_and_again_loses_nothing() {
    let nodes = two_nodes().await;
    let redis = nodes[0].redis_shared();
    let cuts = async {
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_millis(200)).await;
            redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).expect("redis answers");
        }
    };
    run(&nodes, 20, 3_000, cuts).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_comes_back_to_the_other_node() {
    let nodes = two_nodes().await;
    let mut last = nodes[0].publish(&[("topic", "a"), ("data", "0")]).await;
    for round in 1..20 {
        let (here, there) = (&nodes[round % 2], &nodes[(round + 1) % 2]);
        let data = [format!("{round} missed"), format!("{round} live")];
        there.publish(&[("topic", "a"), ("data", &data[0])]).await;
        let mut stream = here.subscribe(&format!("topic=a&lastEventID={}", percent(&last))).await;
        there.publish(&[("topic", "a"), ("data", &data[1])]).await;
        assert_eq!(stream.event().await.data(), data[0]);
        let event = stream.event().await;
        assert_eq!(event.data(), data[1]);
        last = event.id().to_owned();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_redis_is_away_streams_stay_open_and_publishers_are_told() {
    let mut redis = RedisServer::start().await;
    let url = redis.url();
    let hub = Hub::start_at(&url, &[]).await;
    let mut stream = hub.subscribe("topic=a").await;
    hub.publish(&[("topic", "a"), ("data", "before")]).await;
    assert_eq!(stream.data(1).await, ["before"]);
    redis.crash();
    let request = Request::publish(&[("topic", "a"), ("data", "lost")]).bearer(&publisher(&["*"]));
    let response = hub.send(&request).await;
    response.expect_problem(503, "transport-unavailable");
    assert!(response.header("retry-after").is_some(), "{response:?}");
    eventually("not ready", Duration::from_secs(30), || async {
        match rivulet_tests::metrics::get(hub.admin(), "/ready")? {
            (503, _) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    assert_eq!(rivulet_tests::metrics::get(hub.admin(), "/live").map(|(status, _)| status), Ok(200));
    redis.restart().await;
    eventually("ready again", Duration::from_secs(30), || async {
        match rivulet_tests::metrics::get(hub.admin(), "/ready")? {
            (200, _) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    hub.publish(&[("topic", "a"), ("data", "after")]).await;
    assert_eq!(stream.data(1).await, ["after"], "on the same connection");
}

#[tokio::test]
async fn a_second_deployment_with_another_prefix_hears_nothing() {
    let redis = Arc::new(RedisServer::start().await);
    let one = Hub::start(Some(Arc::clone(&redis)), &["--redis-prefix", "rivulet-one"]).await;
    let two = Hub::start(Some(redis), &["--redis-prefix", "rivulet-two"]).await;
    let mut stream = two.subscribe("topic=*&lastEventID=earliest").await;
    one.publish(&[("topic", "a"), ("data", "one")]).await;
    two.publish(&[("topic", "a"), ("data", "two")]).await;
    assert_eq!(stream.data(1).await, ["two"]);
}
