//! The network between a node and Redis lets nothing through although all connections are up.

use std::{sync::Arc, time::{Duration, SystemTime}};

use rivulet_tests::{
    Hub,
    chaos_proxy::{ChaosProxy, Network},
    redis::RedisServer,
};

use crate::readiness::{not_ready, ready};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mute_network_is_told_by_ready_and_its_streams_miss_nothing() {
    let redis = Arc::new(RedisServer::start().await);
    let proxy = ChaosProxy::start(redis.address()).await;
    let behind = Hub::start_at(&format!("redis://{}", proxy.address()), &["--heartbeat", "2s"]).await;
    let beside = Hub::start(Some(redis), &[]).await;
    let mut stream = behind.subscribe("topic=a").await;
    beside.publish(&[("topic", "a"), ("data", "before")]).await;
    assert_eq!(stream.data(1).await, ["before"]);

    let broken = SystemTime::now();
    proxy.set(Network::HalfOpen);
    for number in ["1", "2", "3"] {
        beside.publish(&[("topic", "a"), ("data", number)]).await;
    }
    let stale = not_ready(&behind).await;
    assert_eq!(stale["partition"], 0, "{stale}");
    let age = Duration::from_secs(stale["seconds"].as_u64().expect("a number"));
    // Since the last tick that came through, which was two seconds before the network broke at most.
    assert!(age <= broken.elapsed().expect("time goes on") + Duration::from_secs(3), "{stale}");
    let since = stale["since"].as_str().expect("a text");
    assert!(since.ends_with(" GMT") && since.contains(", "), "an HTTP date: {stale}");
    beside.publish(&[("topic", "a"), ("data", "4")]).await;

    proxy.set(Network::Whole);
    ready(&behind).await;
    beside.publish(&[("topic", "a"), ("data", "after")]).await;
    assert_eq!(stream.data(5).await, ["1", "2", "3", "4", "after"], "on the same connection");
}
