//! What is checked before a node starts: each refusal says what to change, soon, with an exit code that tells a wrong
//! configuration (64) from a Redis that is not there (69).

use std::time::Duration;

use rivulet_tests::{
    Hub, port,
    redis::RedisServer,
    redis_cluster::RedisCluster,
    refusal::Refusal,
    sentinel::{MASTER, SentinelSetup},
};

use crate::readiness::lines_with;

const START_MAX: Duration = Duration::from_secs(15);

/// Blocks: only for tests without proxies of their own.
fn refused(url: &str, flags: &[&str], code: i32, words: &[&str]) {
    let refusal = Refusal::of(url, flags);
    refusal.expect(code, words);
    assert!(refusal.took < START_MAX, "{refusal:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_never_change_below_a_prefix() {
    let redis = RedisServer::start().await;
    drop(Hub::start_at(&redis.url(), &["--redis-partitions", "4"]).await);
    let words = ["--redis-partitions", "4 partitions", "ask for 4", "another prefix"];
    refused(&redis.url(), &["--redis-partitions", "8"], 64, &words);
    refused(&redis.url(), &[], 64, &words);
    drop(Hub::start_at(&redis.url(), &["--redis-partitions", "8", "--redis-prefix", "other"]).await);
    drop(Hub::start_at(&redis.url(), &["--redis-partitions", "4"]).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_of_another_format_or_from_the_future_is_refused() {
    let redis = RedisServer::start().await;
    redis.command(&["HSET", "{rivulet}layout", "format", "1", "partitions", "1"]).expect("it can be written");
    refused(&redis.url(), &[], 64, &["format 1", "2 or newer", "another prefix"]);
    redis.command(&["DEL", "{rivulet}layout"]).expect("it can be written");
    redis.command(&["SET", "{rivulet:0}clock", "9000000000000000"]).expect("it can be written");
    refused(&redis.url(), &[], 69, &["before the time", "another prefix"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_value_below_the_prefix_is_refused() {
    let redis = RedisServer::start().await;
    redis.command(&["SET", "{rivulet}layout", "mine"]).expect("it can be written");
    refused(&redis.url(), &[], 69, &["WRONGTYPE"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_may_evict_the_log_is_warned_of() {
    let redis = RedisServer::start_with(port::free(), &["maxmemory-policy allkeys-lru"]).await;
    let hub = Hub::start_at(&redis.url(), &[]).await;
    assert_eq!(lines_with(&hub, "maxmemory-policy of Redis is not noeviction"), 1, "{}", hub.log());
    assert_eq!(lines_with(&hub, "allkeys-lru"), 1, "{}", hub.log());
}

#[test]
fn nobody_at_the_address_is_said_at_once() {
    let nobody = port::free().to_string();
    refused(&format!("redis://{nobody}"), &[], 69, &["--redis-url", &nobody, "refused"]);
    refused(&format!("redis+unix:///nowhere/{nobody}"), &[], 69, &["--redis-url", "/nowhere/"]);
    refused("redis://no-such-host.invalid", &[], 69, &["--redis-url", "no-such-host.invalid"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_is_none_or_not_whole_is_refused() {
    let plain = RedisServer::start().await;
    let cluster = |server: &RedisServer| format!("redis+cluster://{}", server.address());
    refused(&cluster(&plain), &[], 69, &["--redis-url", "it is no cluster"]);
    let node = RedisCluster::start_without_slots(&[]).await;
    refused(&cluster(&node), &[], 69, &["no node serves slot", "complete the cluster first"]);
    node.command(&["CLUSTER", "ADDSLOTSRANGE", "0", "9999"]).expect("slots of nobody");
    refused(&cluster(&node), &[], 69, &["no node serves slot", "complete the cluster first"]);
    // Whoever forgets that it is a cluster is told too.
    refused(&node.url(), &[], 69, &["redis+cluster://"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_that_cannot_name_the_master_are_said() {
    let setup = SentinelSetup::start().await;
    let url = setup.url().replace(MASTER, "another-master");
    let unknown = tokio::task::spawn_blocking(move || Refusal::of(&url, &[])).await.expect("it was run");
    unknown.expect(69, &["--redis-url", "another-master", "No such master"]);
    assert!(unknown.took < START_MAX, "{unknown:?}");
    let nobody = [port::free().to_string(), port::free().to_string()];
    let url = format!("redis+sentinel://{},{}/{MASTER}", nobody[0], nobody[1]);
    let away = tokio::task::spawn_blocking(move || Refusal::of(&url, &[])).await.expect("it was run");
    away.expect(69, &["--redis-url", &nobody[0], &nobody[1], "refused"]);
    assert!(away.took < START_MAX, "{away:?}");
    // A Redis is no Sentinel.
    let url = format!("redis+sentinel://{}/{MASTER}", setup.servers[0].address());
    let none = tokio::task::spawn_blocking(move || Refusal::of(&url, &[])).await.expect("it was run");
    none.expect(69, &["--redis-url", "SENTINEL"]);
}
