//! A node that is asked to stop lets its streams go, one after another.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use rivulet_tests::{
    Hub, PATIENCE, Request, Subscriber, eventually, metrics, redis::RedisServer, sse::Block, tokens, wire,
};

const STREAMS: usize = 40;
const DELAY: Duration = Duration::from_secs(2);
const PERIOD: Duration = Duration::from_secs(5);

/// Reads a stream to its end: what it was told at last, and when it ended.
async fn ending(mut stream: Subscriber) -> (Option<u64>, Vec<String>, Instant) {
    let (mut retry, mut data) = (None, Vec::new());
    loop {
        match tokio::time::timeout(4 * PATIENCE, stream.block_whenever()).await.expect("it ends") {
            Some(Block::Event(event)) => {
                retry = event.retry.or(retry);
                data.extend(event.data);
            }
            Some(Block::Comment(_)) => {}
            None => return (retry, data, Instant::now()),
        }
    }
}

/// What `/ready` answers.
fn ready(hub: &Hub) -> (u16, String) {
    metrics::get(hub.admin(), "/ready").expect("the admin listener answers")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_is_announced_and_ends_streams_as_an_even_slope() {
    let (delay, period) = (format!("{}s", DELAY.as_secs()), format!("{}s", PERIOD.as_secs()));
    let flags = ["--drain-delay", &delay, "--drain-period", &period, "--heartbeat", "1s"];
    let mut hub = Hub::start(None, &flags).await;
    let mut streams = Vec::new();
    for number in 0..STREAMS {
        streams.push(hub.subscribe(&format!("topic=t{}&topic=all", number % 7)).await);
    }
    let readers: Vec<_> = streams.into_iter().map(|stream| tokio::spawn(ending(stream))).collect();
    let asked = Instant::now();
    hub.signal("TERM");
    eventually("it is not ready any more", PATIENCE, || async {
        let (status, body) = ready(&hub);
        if status == 503 && body.contains("stopping") { Ok(()) } else { Err(body) }
    })
    .await;
    assert!(asked.elapsed() < DELAY, "it says so before it ends anything: after {:?}", asked.elapsed());
    // Load balancers have not noticed yet.
    let late = tokio::spawn(ending(hub.subscribe("topic=late").await));
    assert_eq!(hub.metrics().sum("rivulet_draining", ""), Some(1.0));

    let refused = eventually("it takes no new streams", PATIENCE, || async {
        match Subscriber::try_open(hub.address(), &Request::subscribe("topic=a")).await {
            Ok(_) => Err("it still does"),
            Err(refusal) => Ok(refusal),
        }
    })
    .await;
    refused.expect_problem(503, "node-closing");
    assert!(asked.elapsed() >= DELAY, "after {:?}", asked.elapsed());
    // Publishers are served meanwhile, and those who are still there receive it.
    hub.publish(&[("topic", "all"), ("data", "meanwhile")]).await;
    let mut ends = Vec::new();
    let mut told = 0;
    for reader in readers {
        let (retry, data, ended) = reader.await.expect("a reader does not panic");
        let retry = retry.expect("it is told when to come back");
        assert!((1_000..=10_000).contains(&retry), "{retry}");
        told += data.len();
        ends.push(ended - asked);
    }
    late.await.expect("a reader does not panic");
    assert!(told > 0, "somebody was still there");
    ends.sort();
    expect_slope(&ends);
    let status = tokio::task::block_in_place(|| hub.wait());
    assert_eq!(status.code(), Some(0), "{}", hub.log());
    let log = hub.log();
    for words in ["not ready any more", "takes no new streams", "has drained", "has stopped"] {
        assert!(log.contains(words), "{words:?} is not in\n{log}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_keeps_a_connection_is_told_to_take_another_one_before_the_node_has_stopped() {
    let mut hub = Hub::start(None, &["--drain-delay", "5m"]).await;
    let request = Request::publish(&[("topic", "a"), ("data", "x")]).bearer(&tokens::publisher(&["*"]));
    let publish = async |hub: &Hub| {
        let answer = wire::exchange(hub.address(), &request.encode(), "POST").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.header("connection").map(str::to_owned)
    };
    assert_eq!(publish(&hub).await, None, "connections are kept");
    hub.signal("TERM");
    let told = eventually("it says that connections end", PATIENCE, || async {
        publish(&hub).await.ok_or("they are kept still")
    });
    assert_eq!(told.await, "close");
    hub.crash();
}

/// Each quarter of the period ends about a quarter of the streams.
fn expect_slope(ends: &[Duration]) {
    assert!(ends[0] >= DELAY, "the first ended after {:?}", ends[0]);
    let quarter = PERIOD / 4;
    for number in 0..4 {
        let (from, to) = (DELAY + quarter * number, DELAY + quarter * (number + 1));
        let within = ends.iter().filter(|end| (from..to).contains(*end)).count();
        // The clock of a busy machine may put some of them off to the next one.
        assert!(
            (STREAMS / 10..=STREAMS / 2).contains(&within),
            "{within} between {from:?} and {to:?}: {ends:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_says_how_far_it_is() {
    let mut hub = Hub::start(None, &["--drain-delay", "0s", "--drain-period", "7s"]).await;
    let mut streams = Vec::new();
    for _ in 0..8 {
        streams.push(hub.subscribe("topic=a").await);
    }
    hub.signal("TERM");
    eventually("progress is logged", PATIENCE, || async {
        let log = hub.log();
        let line = log.lines().find(|line| line.contains("The node drains")).ok_or("not yet")?;
        if ["ended", "left", "time_left"].iter().all(|word| line.contains(word)) {
            Ok(())
        } else {
            Err("words")
        }
    })
    .await;
    drop(streams);
    let status = tokio::task::block_in_place(|| hub.wait());
    assert_eq!(status.code(), Some(0), "{}", hub.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_ends_at_once() {
    for (first, second, code) in [("TERM", "TERM", 143), ("INT", "INT", 130), ("TERM", "INT", 130)] {
        let mut hub = Hub::start(None, &["--drain-delay", "5m", "--drain-period", "5m"]).await;
        let mut stream = hub.subscribe("topic=a").await;
        hub.signal(first);
        eventually("it stops", PATIENCE, || async {
            if ready(&hub).0 == 503 { Ok(()) } else { Err("ready") }
        })
        .await;
        hub.signal(second);
        let status = tokio::task::block_in_place(|| hub.wait());
        assert_eq!(status.code(), Some(code), "{first}, {second}: {}", hub.log());
        assert_eq!(stream.rest().await, []);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_streams_drains_at_once() {
    let mut hub = Hub::start(None, &["--drain-delay", "0s", "--drain-period", "5m"]).await;
    hub.publish(&[("topic", "a"), ("data", "x")]).await;
    let token = tokens::subscriber(&["a"]);
    drop(hub.open(&Request::subscribe("topic=a").bearer(&token)).await);
    hub.expect_connections(0).await;
    assert_eq!(tokio::task::block_in_place(|| hub.stop()).code(), Some(0), "{}", hub.log());
}

/// Reads until `end`, on whichever node it finds itself; answers all data, and on how many streams.
async fn follow(nodes: [SocketAddr; 2], end: &'static str) -> (Vec<String>, usize) {
    let (mut seen, mut streams, mut last_id) = (Vec::new(), 0, None::<String>);
    loop {
        let request = Request::subscribe("topic=a");
        let request = match &last_id {
            Some(id) => request.header("Last-Event-ID", id),
            None => request,
        };
        // The first node, then the second: what a load balancer does when the first is not ready.
        let mut stream = Subscriber::open(nodes[streams.min(1)], &request).await;
        streams += 1;
        while let Some(block) = stream.block().await {
            if let Block::Event(event) = block {
                last_id = event.id.or(last_id);
                seen.extend(event.data);
            }
            if seen.last().is_some_and(|data| data == end) {
                return (seen, streams);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_update_loses_nothing_and_repeats_nothing() {
    let redis = Arc::new(RedisServer::start().await);
    let flags = ["--drain-delay", "1s", "--drain-period", "3s", "--heartbeat", "1s"];
    let mut stops = Hub::start(Some(redis.clone()), &flags).await;
    let stays = Hub::start(Some(redis), &flags).await;
    let nodes = [stops.address(), stays.address()];
    let readers: Vec<_> = (0..20).map(|_| tokio::spawn(follow(nodes, "end"))).collect();
    stops.expect_connections(20).await;
    stops.signal("TERM");
    let mut published = Vec::new();
    while stops.status().is_none() {
        published.push(format!("{}", published.len()));
        stays.publish(&[("topic", "a"), ("data", &published[published.len() - 1])]).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    published.push("end".to_owned());
    stays.publish(&[("topic", "a"), ("data", "end")]).await;
    for reader in readers {
        let (seen, streams) = reader.await.expect("a reader does not panic");
        assert_eq!(seen, published);
        assert_eq!(streams, 2, "one on each node");
    }
    assert_eq!(tokio::task::block_in_place(|| stops.wait()).code(), Some(0), "{}", stops.log());
}
