//! `--redis-wait-replicas`: what no replica has is not acknowledged.

use rivulet_tests::{Hub, Request, port, redis::RedisServer, tokens::publisher, wire::HUB_PATH};
use serde_json::Value;

use crate::readiness::{expect_unavailable, try_publish};

async fn batch(hub: &Hub) -> Vec<Value> {
    let lines = "{\"topic\":\"a\",\"data\":\"1\"}\n{\"topic\":\"a\",\"data\":\"2\"}\n";
    let request = Request::new("POST", HUB_PATH).header("Content-Type", "application/x-ndjson");
    let response = hub.send(&request.bearer(&publisher(&["*"])).body(lines.as_bytes())).await;
    assert_eq!(response.status, 200, "{response:?}");
    response.text().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_is_acknowledged_when_a_replica_has_it_and_not_before() {
    let redis = RedisServer::start().await;
    let flags = ["--redis-wait-replicas", "1", "--redis-wait-timeout", "1s"];
    let hub = Hub::start_at(&redis.url(), &flags).await;
    let started = std::time::Instant::now();
    expect_unavailable(&try_publish(&hub, &[("topic", "a"), ("data", "alone")]).await);
    let took = started.elapsed().as_millis();
    assert!((900..5_000).contains(&took), "it waits for a replica, but not for long: {took} ms");
    let answers = batch(&hub).await;
    for answer in &answers {
        assert_eq!(answer["error"]["type"], "urn:rivulet:problem:transport-unavailable", "{answers:?}");
    }

    let replicates = format!("replicaof 127.0.0.1 {}", redis.address().port());
    let replica = RedisServer::start_with(port::free(), &[&replicates, "repl-diskless-sync-delay 0"]).await;
    rivulet_tests::eventually("the replica follows", rivulet_tests::PATIENCE, || async {
        let info = redis.command(&["INFO", "replication"])?;
        if info.contains("state=online") { Ok(()) } else { Err(info) }
    })
    .await;
    hub.publish(&[("topic", "a"), ("data", "with a replica")]).await;
    let answers = batch(&hub).await;
    assert!(answers.iter().all(|answer| answer["id"].is_string()), "{answers:?}");
    replica.freeze();
    expect_unavailable(&try_publish(&hub, &[("topic", "a"), ("data", "the replica hangs")]).await);
    replica.thaw();
    hub.publish(&[("topic", "a"), ("data", "the replica is back")]).await;
}
