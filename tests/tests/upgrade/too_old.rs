//! A node that is too old for what is written refuses to start; one that is old enough to be passed by is not disturbed.

use std::sync::Arc;

use rivulet_tests::{redis::RedisServer, refusal::Refusal};

use crate::build::Build;

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
