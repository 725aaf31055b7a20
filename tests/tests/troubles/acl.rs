//! Users of Redis with few permissions, and wrong passwords.
//!
//! What suffices (the commands are those of standalone Redis and of Sentinel's master; INFO and CONFIG GET are for checks
//! that are left out without them, ROLE is asked only behind Sentinels and may be missing):
//!
//! ```text
//! ACL SETUSER rivulet on >PASSWORD ~{rivulet}* ~{rivulet:* &{rivulet:* +ping +time +unwatch +eval +evalsha +get +set
//!   +del +pexpire +pexpireat +hsetnx +hmget +hget +hset +hdel +hincrby +hgetall +zadd +zrem +zscore +zrangebyscore
//!   +xadd +xtrim +xrange +publish +subscribe +unsubscribe [+wait] [+info +config|get +role]
//! ```
//!
//! On a cluster, instead of the last three: `+spublish +ssubscribe +sunsubscribe +cluster|info +cluster|nodes
//! +cluster|slots +asking`.

use std::sync::Arc;

use rivulet_tests::{Hub, eventually, redis::RedisServer, redis_cluster::RedisCluster, refusal::Refusal};

use crate::readiness::{lines_with, not_ready_because, publish_again, ready};

const PASSWORD: &str = "a-password-of-the-tests";
const KEYS: &str = "~{rivulet}* ~{rivulet:* &{rivulet:*";
const COMMANDS: &str = "+ping +time +unwatch +eval +evalsha +get +set +del +pexpire +pexpireat \
     +hsetnx +hmget +hget +hset +hdel +hincrby +hgetall +zadd +zrem +zscore +zrangebyscore +xadd +xtrim +xrange";
const CHANNELS: &str = "+publish +subscribe +unsubscribe";
const CLUSTER: &str =
    "+spublish +ssubscribe +sunsubscribe +cluster|info +cluster|nodes +cluster|slots +asking";

/// Makes the user what these rules say, and nothing else.
fn set_user(redis: &RedisServer, rules: &str) {
    let secret = format!(">{PASSWORD}");
    let mut arguments = vec!["ACL", "SETUSER", "rivulet", "reset", "on", &secret];
    arguments.extend(rules.split_whitespace());
    let answer = redis.command(&arguments).expect("it answers");
    assert_eq!(answer, "OK", "{rules}");
}

fn url(scheme: &str, redis: &RedisServer, password: &str) -> String {
    format!("{scheme}://rivulet:{password}@{}", redis.address())
}

/// Uses everything: several topics, ids, keys, patterns, replay of each kind, channels that are left, a broken feed.
async fn use_everything(hub: &Hub, redis: &RedisServer) {
    let mut stream = hub.subscribe("topic=a&topic=%7Bx%7D").await;
    let first = hub.publish(&[("topic", "a"), ("topic", "b"), ("id", "urn:x:1"), ("data", "1")]).await;
    hub.publish(&[("topic", "a"), ("id", "urn:x:1"), ("data", "2")]).await;
    let keyed = || {
        let request = rivulet_tests::Request::publish(&[("topic", "a"), ("data", "3")]);
        request.bearer(&rivulet_tests::tokens::publisher(&["*"])).header("Idempotency-Key", "key")
    };
    for _ in 0..2 {
        assert_eq!(hub.send(&keyed()).await.status, 200, "{}", hub.log());
    }
    assert_eq!(stream.data(3).await, ["1", "2", "3"]);
    for query in ["topic=a", "topic=%7Bx%7D", "topic=a&topic=b"] {
        let mut replay = hub.subscribe(&format!("{query}&lastEventID={first}")).await;
        assert_eq!(replay.data(2).await, ["2", "3"], "{query}");
    }
    redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).expect("it obeys");
    redis.command(&["SCRIPT", "FLUSH"]).expect("it obeys");
    eventually("the feed broke", rivulet_tests::PATIENCE, || async {
        if lines_with(hub, "the feed from Redis broke") == 1 { Ok(()) } else { Err(hub.log()) }
    })
    .await;
    ready(hub).await;
    hub.publish(&[("topic", "a"), ("data", "4")]).await;
    assert_eq!(stream.data(1).await, ["4"]);
    drop(stream);
    // The channels are left some time later.
    let left = if redis.command(&["INFO", "cluster"]).is_ok_and(|text| text.contains("cluster_enabled:1")) {
        ["PUBSUB", "SHARDNUMSUB", "{rivulet:0}t:b"]
    } else {
        ["PUBSUB", "NUMSUB", "{rivulet:0}t:b"]
    };
    let answer = redis.command(&left).expect("it answers");
    assert!(answer.ends_with("\n0"), "{answer}");
    assert_eq!(lines_with(hub, "ermission"), 0, "{}", hub.log());
    assert_eq!(lines_with(hub, " WARN "), 1, "the break only: {}", hub.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_with_the_least_permissions_suffices() {
    let redis = RedisServer::start().await;
    set_user(&redis, &format!("{KEYS} {COMMANDS} {CHANNELS}"));
    let hub = Hub::start_at(&url("redis", &redis, PASSWORD), &["--heartbeat", "1s"]).await;
    use_everything(&hub, &redis).await;
    assert!(!hub.log().contains(PASSWORD), "{}", hub.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_with_the_least_permissions_suffices_on_a_cluster() {
    let redis = RedisCluster::start_single(&[]).await;
    set_user(&redis, &format!("{KEYS} {COMMANDS} {CLUSTER}"));
    let url = url("redis+cluster", &redis, PASSWORD);
    let flags = ["--redis-partitions", "4", "--heartbeat", "1s"];
    let hub = Hub::start_at(&url, &flags).await;
    use_everything(&hub, &redis).await;
    drop(hub);
    // Whatever is missing is said.
    for command in CLUSTER.split(' ') {
        set_user(&redis, &format!("{KEYS} {COMMANDS} {CLUSTER} -{}", &command[1..]));
        let name = command[1..].split('|').next().expect("a name");
        Refusal::of(&url, &flags).expect(69, &["--redis-url", name]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_user_lacks_is_said_at_the_start() {
    let redis = RedisServer::start().await;
    let url = url("redis", &redis, PASSWORD);
    let all = format!("{COMMANDS} {CHANNELS}");
    for command in all.split(' ').filter(|command| *command != "+hsetnx") {
        set_user(&redis, &format!("{KEYS} {all} -{}", &command[1..]));
        let refusal = Refusal::of(&url, &[]);
        refusal.expect(69, &["--redis-url", "may not", &format!("run the '{}' command", &command[1..])]);
        assert!(refusal.took.as_secs() < 5 && !refusal.said.contains(PASSWORD), "{refusal:?}");
    }
    set_user(&redis, &format!("{KEYS} {all} -hsetnx"));
    Refusal::of(&url, &[]).expect(69, &["--redis-url", "can't run this command"]);
    for (rules, word) in [
        (format!("~{{rivulet}}* &{{rivulet:* {all}"), "keys"),
        (format!("~{{rivulet:* &{{rivulet:* {all}"), "keys"),
        (format!("~{{rivulet}}* ~{{rivulet:* &other* {all}"), "channels"),
        (all.clone(), "channels"),
    ] {
        set_user(&redis, &rules);
        Refusal::of(&url, &[]).expect(69, &["--redis-url", word]);
    }
    // What it says is what helps.
    set_user(&redis, "~* &* -@all");
    let refusal = Refusal::of(&url, &["--redis-wait-replicas", "1"]);
    let line = refusal.expect(69, &["'xadd'", "'publish'", "'wait'"]);
    let (_, rules) = line.split_once("what it needs is: ").expect("the rules");
    assert_eq!(rules, format!("{KEYS} {COMMANDS} {CHANNELS} +wait"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn permissions_that_are_taken_away_later_are_told_by_ready() {
    let redis = Arc::new(RedisServer::start().await);
    let rules = format!("{KEYS} {COMMANDS} {CHANNELS}");
    set_user(&redis, &rules);
    let hub = Hub::start_at(&url("redis", &redis, PASSWORD), &["--heartbeat", "1s"]).await;
    let mut stream = hub.subscribe("topic=a").await;
    set_user(&redis, &format!("{rules} -publish"));
    not_ready_because(&hub, "The user executing the script can't run this command").await;
    set_user(&redis, &rules);
    ready(&hub).await;
    set_user(&redis, &format!("{rules} -subscribe"));
    redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).expect("it obeys");
    not_ready_because(&hub, "subscribe").await;
    set_user(&redis, &rules);
    ready(&hub).await;
    publish_again(&hub, &[("topic", "a"), ("data", "after")]).await;
    assert_eq!(stream.data(1).await, ["after"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_said_and_never_shown() {
    let redis = RedisServer::start().await;
    set_user(&redis, "~* &* +@all");
    for scheme in ["redis", "redis+cluster"] {
        let refusal = Refusal::of(&url(scheme, &redis, "another-password"), &[]);
        refusal.expect(69, &["--redis-url", "WRONGPASS", "the password in the URL is wrong"]);
        assert!(!refusal.said.contains("another-password") && refusal.took.as_secs() < 5, "{refusal:?}");
    }
    redis.command(&["CONFIG", "SET", "requirepass", PASSWORD]).expect("it can be configured");
    let refusal = Refusal::of(&redis.url(), &[]);
    refusal.expect(69, &["--redis-url", "NOAUTH", "the URL has no password"]);
}
