//! A node that holds more than its share lets some of its streams go, so that they find another one.

use std::{sync::Arc, time::Duration};

use rivulet_tests::{Hub, eventually, redis::RedisServer};

/// How long a node may take to hear of the others, and to let a few streams go.
const PATIENCE: Duration = Duration::from_secs(40);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_overfull_node_lets_streams_go_and_others_keep_theirs() {
    let redis = Arc::new(RedisServer::start().await);
    let flags = ["--shed", "100", "--limits-lease", "5s"];
    let overfull = Hub::start(Some(redis.clone()), &flags).await;
    let other = Hub::start(Some(redis), &flags).await;
    let mut streams = Vec::new();
    for _ in 0..60 {
        streams.push(overfull.subscribe("topic=a").await);
    }
    let mut kept = Vec::new();
    for _ in 0..10 {
        kept.push(other.subscribe("topic=a").await);
    }
    let drained = |hub: &Hub| hub.metrics().sum("rivulet_streams_closed_total", "reason=\"drained\"");
    eventually("some streams are let go", PATIENCE, || async {
        match drained(&overfull) {
            Some(count) if count >= 5.0 => Ok(()),
            count => Err(format!("{count:?}")),
        }
    })
    .await;
    // Those are told when to come back; the next one will be somewhere else.
    let mut told = 0;
    for mut stream in streams {
        let told_and_ended = tokio::time::timeout(Duration::from_millis(50), async {
            let mut retry = None;
            while let Some(block) = stream.block_whenever().await {
                if let rivulet_tests::sse::Block::Event(event) = block {
                    retry = event.retry.or(retry);
                }
            }
            retry.expect("it is told when to come back")
        });
        told += usize::from(told_and_ended.await.is_ok());
    }
    assert!(told >= 5, "{told}");
    assert_eq!(drained(&other), Some(0.0), "who holds less than the mean keeps all");
    assert!(overfull.metrics().sum("rivulet_hub_nodes", "") == Some(2.0), "{}", overfull.metrics().text());
}
