//! A node that is too old for what is written refuses to start; one that is old enough to be passed by is not disturbed.

use std::sync::Arc;

use rivulet_tests::{
    Hub, PATIENCE, eventually, metrics, redis::RedisServer, redis_cluster::RedisCluster, refusal::Refusal,
};

use crate::build::{Build, unreadable};

/// The layout, field by field.
fn layout(redis: &RedisServer) -> Vec<String> {
    let fields = ["HMGET", "{rivulet}layout", "format", "reader", "partitions", "x"];
    redis.command(&fields).expect("a hash").lines().map(str::to_owned).collect()
}

async fn refused(redis: &RedisServer) -> Refusal {
    let url = redis.url();
    tokio::task::spawn_blocking(move || Refusal::of(&url, &[])).await.expect("it was run")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_release_announces_its_format_and_the_older_one_starts_beside_and_after_it() {
    let redis = Arc::new(RedisServer::start().await);
    drop(Build::This.start(&redis, &[]).await);
    assert_eq!(layout(&redis)[..3], ["2", "2", "1"]);
    let next = Build::Next.start(&redis, &[]).await;
    assert_eq!(layout(&redis), ["3", "2", "1", "next"]);
    let this = Build::This.start(&redis, &[]).await;
    assert_eq!(this.log().matches("newer nodes have been here").count(), 1, "{}", this.log());
    drop(next);
    drop(this);
    drop(Build::This.start(&redis, &[]).await);
    assert_eq!(layout(&redis), ["3", "2", "1", "next"], "nothing is taken back, and what is not known stays");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_too_old_for_what_is_written_refuses_to_start() {
    let redis = Arc::new(RedisServer::start().await);
    let old = Build::This.start(&redis, &[]).await;
    let new = Build::NextFormat.start(&redis, &[]).await;
    assert_eq!(layout(&redis), ["3", "3", "1", "next"]);
    let words = ["\"rivulet\"", "format 3", "knows 2", "run a newer version", "--redis-prefix"];
    refused(&redis).await.expect(64, &words);
    assert_eq!(layout(&redis), ["3", "3", "1", "next"]);
    drop((old, new));
    refused(&redis).await.expect(64, &words);
}

/// Waits until a node is ready, or not; answers what it says then.
async fn readiness(hub: &Hub, status: u16) -> String {
    eventually(format!("/ready answers {status}"), PATIENCE, || async {
        let (found, said) = metrics::get(hub.admin(), "/ready")?;
        if found == status { Ok(said) } else { Err(format!("{found} {said}")) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_node_that_has_become_too_old_says_so_and_is_not_ready_while_it_serves_on() {
    let redis = Arc::new(RedisServer::start().await);
    let mut old = Build::This.start(&redis, &[]).await;
    let mut stream = old.subscribe("topic=a").await;
    let new = Build::NextFormat.start(&redis, &[]).await;
    let said = readiness(&old, 503).await;
    assert!(said.contains("must know format 3") && said.contains("this one knows 2"), "{said}");
    eventually("it is counted as long as it is so", PATIENCE, || async {
        let [newer, _] = unreadable(&old);
        if newer >= 2.0 { Ok(()) } else { Err(newer) }
    })
    .await;
    let log = old.log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("is too old to read")).collect();
    assert_eq!(lines.len(), 1, "it is said once: {log}");
    for word in ["ERROR", "needed=3", "knows=2", "upgrade it"] {
        assert!(lines[0].contains(word), "{word:?} is not in {}", lines[0]);
    }
    // Nobody is sent there; who is there stays, and who comes all the same is let in.
    old.publish(&[("topic", "a"), ("data", "1")]).await;
    assert_eq!(stream.data(1).await, ["1"]);
    drop(old.subscribe("topic=a").await);
    readiness(&new, 200).await;
    // Who takes it back by hand, since nothing new has been written yet, has a hub of this release again.
    redis.command(&["HSET", "{rivulet}layout", "reader", "2"]).expect("it can be written");
    readiness(&old, 200).await;
    old.replace_in(&Build::NextFormat.environment()).await;
    assert_eq!(layout(&redis)[1], "3", "it has been upgraded");
    assert_eq!(unreadable(&old), [0.0, 0.0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_cluster_too_a_running_node_finds_that_it_has_become_too_old() {
    let cluster = RedisCluster::start().await;
    let flags = ["--redis-url", &cluster.url(), "--redis-partitions", "4"];
    let old = Hub::start_in(&[], None, &flags).await;
    let _new = Hub::start_in(&Build::NextFormat.environment(), None, &flags).await;
    let said = readiness(&old, 503).await;
    assert!(said.contains("must know format 3"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_must_not_take_part_changes_nothing() {
    let redis = RedisServer::start().await;
    for (format, reader, word) in [("7", "4", "format 4"), ("1", "", "format 1"), ("x", "2x", "format 2x")] {
        redis.command(&["DEL", "{rivulet}layout"]).expect("it can be written");
        let fields = ["HSET", "{rivulet}layout", "format", format, "partitions", "1", "x", "mine"];
        redis.command(&fields).expect("it can be written");
        if !reader.is_empty() {
            redis.command(&["HSET", "{rivulet}layout", "reader", reader]).expect("it can be written");
        }
        refused(&redis).await.expect(64, &[word]);
        assert_eq!(layout(&redis), [format, reader, "1", "mine"]);
    }
    // The first nodes of format 2 wrote nothing of readers.
    redis.command(&["DEL", "{rivulet}layout"]).expect("it can be written");
    redis.command(&["HSET", "{rivulet}layout", "format", "2", "partitions", "1"]).expect("it can be written");
    let redis = Arc::new(redis);
    drop(Build::This.start(&redis, &[]).await);
    assert_eq!(layout(&redis)[..3], ["2", "2", "1"]);
}
