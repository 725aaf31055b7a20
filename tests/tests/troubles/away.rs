//! Redis is away: nobody waits long, nothing piles up, and streams go on.

use std::time::{Duration, Instant};

use rivulet_tests::{Backend, Hub, Request, Subscriber, eventually, tokens::publisher, wire::HUB_PATH};

use crate::readiness::{expect_unavailable, lines_with, not_ready, publish_again, ready, try_publish};

const PUBLISHERS: usize = 200;
/// How long a publisher may wait until it knows that Redis does not answer.
const ANSWERED: Duration = Duration::from_secs(5);
/// How long anybody may wait while the node knows it.
const AT_ONCE: Duration = Duration::from_secs(1);

/// Publishes from many sides at once while Redis hangs, and again once the node knows it.
async fn expect_all_refused(hub: &Hub) {
    let started = Instant::now();
    let address = hub.address();
    let publishing = (0..PUBLISHERS).map(|number| {
        let data = number.to_string();
        let request = Request::publish(&[("topic", "a"), ("data", &data)]).bearer(&publisher(&["*"]));
        tokio::spawn(async move { request.send(address).await })
    });
    for answer in publishing.collect::<Vec<_>>() {
        expect_unavailable(&answer.await.expect("an answer"));
    }
    assert!(started.elapsed() < ANSWERED, "{:?}", started.elapsed());

    let started = Instant::now();
    for _ in 0..20 {
        expect_unavailable(&try_publish(hub, &[("topic", "a")]).await);
    }
    let lines = "{\"topic\":\"a\"}\n".repeat(100);
    let batch = Request::new("POST", HUB_PATH).header("Content-Type", "application/x-ndjson");
    let answer = hub.send(&batch.bearer(&publisher(&["*"])).body(lines.as_bytes())).await;
    assert_eq!(answer.text().matches("transport-unavailable").count(), 100, "{answer:?}");
    assert!(started.elapsed() < AT_ONCE, "known to be away: {:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publishers_that_wait_for_replicas_do_not_wait_for_a_redis_that_hangs() {
    let hub = Backend::Redis.hub_with(&["--redis-wait-replicas", "1"]).await;
    hub.redis().freeze();
    expect_all_refused(&hub).await;
    hub.redis().thaw();
    ready(&hub).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publishers_do_not_wait_for_a_redis_that_hangs() {
    let hub = Backend::Redis.hub_with(&["--heartbeat", "2s"]).await;
    let mut stream = hub.subscribe("topic=a").await;
    hub.publish(&[("topic", "a"), ("data", "before")]).await;
    assert_eq!(stream.data(1).await, ["before"]);
    hub.redis().freeze();
    expect_all_refused(&hub).await;
    let refusals = lines_with(&hub, "the transport is unavailable");
    assert!((1..=3).contains(&refusals), "{refusals} lines for {PUBLISHERS} refusals:\n{}", hub.log());

    not_ready(&hub).await;
    eventually("new subscribers are refused at once", Duration::from_secs(10), || async {
        let started = Instant::now();
        let refusal = Subscriber::try_open(hub.address(), &Request::subscribe("topic=new")).await;
        expect_unavailable(&refusal.err().ok_or("a stream nobody can feed")?);
        let took = started.elapsed();
        if took < AT_ONCE { Ok(()) } else { Err(format!("{took:?}")) }
    })
    .await;

    hub.redis().thaw();
    ready(&hub).await;
    publish_again(&hub, &[("topic", "a"), ("data", "after")]).await;
    // What was sent to a frozen Redis may have been appended: it comes before.
    while stream.event().await.data() != "after" {}
}
