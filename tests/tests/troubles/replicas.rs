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
    let keyed = Request::publish(&[("topic", "a"), ("data", "keyed")]).bearer(&publisher(&["*"]));
    let keyed = keyed.header("Idempotency-Key", "key");
    for _ in 0..2 {
        // A repeat finds the update in the log, but no replica has it yet either.
        expect_unavailable(&hub.send(&keyed).await);
    }
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
    let repeated = hub.send(&keyed).await;
    assert_eq!(repeated.status, 200, "{repeated:?}");
    let mut stream = hub.subscribe("topic=a&lastEventID=earliest").await;
    assert_eq!(stream.data(2).await, ["alone", "keyed"], "refused is not unpublished");
    hub.publish(&[("topic", "a"), ("data", "with a replica")]).await;
    let answers = batch(&hub).await;
    assert!(answers.iter().all(|answer| answer["id"].is_string()), "{answers:?}");
    replica.freeze();
    expect_unavailable(&try_publish(&hub, &[("topic", "a"), ("data", "the replica hangs")]).await);
    replica.thaw();
    hub.publish(&[("topic", "a"), ("data", "the replica is back")]).await;
    while stream.event().await.data() != "with a replica" {}
    let mut replay = hub.subscribe("topic=a&lastEventID=earliest").await;
    let mut keyed = 0;
    loop {
        match replay.event().await.data() {
            "keyed" => keyed += 1,
            "the replica is back" => break,
            _ => {}
        }
    }
    assert_eq!(keyed, 1, "three tries with one key are one update");
}
