//! The network between a node and Redis lets nothing through although all connections are up.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use rivulet_tests::{
    Hub,
    chaos_proxy::{ChaosProxy, Network},
    eventually, metrics,
    redis::RedisServer,
    redis_cluster::RedisCluster,
};
use serde_json::Value;

use crate::readiness::{NOTICED, expect_unavailable, not_ready, publish_again, ready, try_publish};

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

/// The partitions that `/ready` calls stale.
fn stale_partitions(hub: &Hub) -> Result<Vec<u64>, String> {
    let (_, body) = metrics::get(hub.admin(), "/ready")?;
    let answer: Value = serde_json::from_str(&body).map_err(|error| error.to_string())?;
    let stale = answer["stale_partitions"].as_array().map(Vec::as_slice).unwrap_or_default();
    Ok(stale.iter().filter_map(|stale| stale["partition"].as_u64()).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mute_primary_of_a_cluster_takes_only_its_partitions_with_it() {
    let cluster = RedisCluster::start().await;
    let hub = Hub::start_at(&cluster.url(), &["--heartbeat", "2s"]).await;
    let topics: Vec<String> = (0..30).map(|number| format!("t{number}")).collect();
    let query: Vec<String> = topics.iter().map(|topic| format!("topic={topic}")).collect();
    let mut stream = hub.subscribe(&query.join("&")).await;
    cluster.proxies[0].set(Network::HalfOpen);
    // The first primary has slots 0 to 5,460; a partition has 256, the one with number 21 on either side of the end.
    eventually("the partitions of the first primary are stale", NOTICED, || async {
        let mut stale = stale_partitions(&hub)?;
        stale.retain(|partition| *partition != 21);
        if stale == (0..21).collect::<Vec<_>>() { Ok(()) } else { Err(format!("{stale:?}")) }
    })
    .await;
    let mut published = Vec::new();
    for topic in &topics {
        let answer = try_publish(&hub, &[("topic", topic), ("data", topic)]).await;
        match answer.status {
            200 => published.push(topic.clone()),
            _ => expect_unavailable(&answer),
        }
    }
    assert!((1..topics.len()).contains(&published.len()), "{} of {}", published.len(), topics.len());
    let mut seen = stream.data(published.len()).await;
    seen.sort();
    published.sort();
    assert_eq!(seen, published, "what could be published arrives meanwhile");
    cluster.proxies[0].set(Network::Whole);
    ready(&hub).await;
    for topic in &topics {
        publish_again(&hub, &[("topic", topic), ("data", "after")]).await;
    }
    let mut after = 0;
    while after < topics.len() {
        // What was sent into the silence may have arrived after it.
        after += usize::from(stream.event().await.data() == "after");
    }
}
