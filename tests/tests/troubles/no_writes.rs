//! A Redis that answers but takes no writes: out of memory, or a replica.

use std::sync::Arc;

use rivulet_tests::{Hub, port, redis::RedisServer, refusal::Refusal};

use crate::readiness::{
    expect_unavailable, lines_with, not_ready_because, publish_again, ready, try_publish,
};

/// Requests while nothing can be written.
const STORM: usize = 100;

/// Publishes again and again while nothing can be written. Each must be refused, and the log stay short.
async fn storm(hub: &Hub) {
    let started = std::time::Instant::now();
    let lines = hub.log().lines().count();
    for _ in 0..STORM {
        expect_unavailable(&try_publish(hub, &[("topic", "a"), ("data", "refused")]).await);
    }
    assert!(started.elapsed().as_secs() < 10, "{:?}", started.elapsed());
    let more = hub.log().lines().count() - lines;
    assert!(more < 15, "{more} lines for {STORM} refusals:\n{}", hub.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_out_of_memory_refuses_and_forgets_nothing() {
    let redis = Arc::new(RedisServer::start().await);
    let hub = Hub::start(Some(Arc::clone(&redis)), &["--heartbeat", "2s"]).await;
    let mut stream = hub.subscribe("topic=a").await;
    hub.publish(&[("topic", "a"), ("data", "before")]).await;
    redis.command(&["CONFIG", "SET", "maxmemory", "1mb"]).expect("it can be configured");
    storm(&hub).await;
    not_ready_because(&hub, "OOM").await;
    storm(&hub).await;
    assert_eq!(lines_with(&hub, "Redis cannot be written to"), 1, "{}", hub.log());
    redis.command(&["CONFIG", "SET", "maxmemory", "0"]).expect("it can be configured");
    ready(&hub).await;
    publish_again(&hub, &[("topic", "a"), ("data", "after")]).await;
    assert_eq!(stream.data(2).await, ["before", "after"], "what was refused was not published");
    let mut replay = hub.subscribe("topic=a&lastEventID=earliest").await;
    assert_eq!(replay.data(2).await, ["before", "after"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_becomes_a_replica_refuses_until_it_is_none() {
    let other = RedisServer::start().await;
    let redis = Arc::new(RedisServer::start_with(port::free(), &["repl-diskless-sync-delay 0"]).await);
    let hub = Hub::start(Some(Arc::clone(&redis)), &["--heartbeat", "2s"]).await;
    let mut stream = hub.subscribe("topic=a").await;
    hub.publish(&[("topic", "a"), ("data", "before")]).await;
    // Nobody is there: it becomes read-only and keeps what it has.
    let nobody = port::free().port().to_string();
    redis.command(&["REPLICAOF", "127.0.0.1", &nobody]).expect("it obeys");
    storm(&hub).await;
    not_ready_because(&hub, "read only replica").await;
    storm(&hub).await;
    redis.command(&["REPLICAOF", "NO", "ONE"]).expect("it obeys");
    ready(&hub).await;
    publish_again(&hub, &[("topic", "a"), ("data", "after")]).await;
    assert_eq!(stream.data(2).await, ["before", "after"]);
    let warnings = lines_with(&hub, " WARN ");
    assert!(warnings <= 8, "{warnings} in some seconds:\n{}", hub.log());

    let port = other.address().port().to_string();
    redis.command(&["REPLICAOF", "127.0.0.1", &port]).expect("it obeys");
    let refusal = Refusal::of(&redis.url(), &[]);
    refusal.expect(69, &["--redis-url", "read only replica"]);
    redis.command(&["REPLICAOF", "NO", "ONE"]).expect("it obeys");
}
