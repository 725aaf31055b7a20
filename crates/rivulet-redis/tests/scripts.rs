//! What the scripts write to Redis.

// In a test a panic is the report.
#![allow(clippy::unwrap_used)]

mod harness;

use std::collections::HashMap;

use harness::RedisServer;
use rivulet_core::{EventId, Partition, Topic, Update};
use rivulet_node::Transport;
use rivulet_redis::{RedisConfig, RedisTransport};

/// In microseconds.
const SECOND: u64 = 1_000_000;

fn update(topics: &[&str], id: Option<&str>) -> Update {
    Update {
        topics: topics.iter().map(|topic| Topic::parse(topic).unwrap()).collect(),
        data: "data".into(),
        private: false,
        id: id.map(|id| EventId::parse(id).unwrap()),
        event_type: None,
        retry_ms: None,
        trace: None,
    }
}

type Entries = Vec<(String, HashMap<String, redis::Value>)>;

fn text(value: &redis::Value) -> String {
    redis::from_redis_value(value.clone()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_writes_entries_that_are_chained() {
    let server = RedisServer::start().await;
    let (node, _feed) = server.node().await;
    let first = node.append(update(&["a"], None), None, &[]).await.unwrap();
    let second = node.append(update(&["a", "b", "a"], Some("x")), None, &[]).await.unwrap();
    let third = node.append(update(&["b"], Some("x")), None, &[]).await.unwrap();

    let stream: Entries = server.command(&["XRANGE", "{rivulet:0}t:a", "-", "+"]).await;
    let ids: Vec<_> = stream.iter().map(|(id, _)| id.clone()).collect();
    assert_eq!(ids, [format!("{first}-0"), format!("{second}-0")]);
    assert_eq!([text(&stream[0].1["p"]), text(&stream[1].1["p"])], ["0".to_owned(), first.to_string()]);
    let index: Entries = server.command(&["XRANGE", "{rivulet:0}index", "-", "+"]).await;
    let read: Vec<_> = index.iter().map(|(_, fields)| (text(&fields["p"]), text(&fields["t"]))).collect();
    let expected = [("0".into(), "a"), (first.to_string(), "a\nb"), (second.to_string(), "b")];
    assert_eq!(read, expected.map(|(previous, topics): (String, _)| (previous, topics.to_owned())));
    let id: String = server.command(&["GET", "{rivulet:0}i:x"]).await;
    assert_eq!(id, format!("{second} {{rivulet:0}}t:a"));
    let last: String = server.command(&["GET", "{rivulet:0}l:b"]).await;
    assert_eq!(last, third.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_key_but_the_clock_expires() {
    let server = RedisServer::start().await;
    let (node, _feed) = server.node().await;
    node.append(update(&["a", "b"], Some("x")), None, &[]).await.unwrap();
    let keys: Vec<String> = server.command(&["KEYS", "*"]).await;
    assert_eq!(keys.len(), 12, "{keys:?}");
    for key in keys {
        let expires = server.command::<i64>(&["PTTL", &key]).await > 0;
        let lasts = ["{rivulet:0}clock", "{rivulet:0}birth", "{rivulet}layout"].contains(&key.as_str());
        assert_eq!(expires, !lasts, "{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_stands_ahead_of_the_time_goes_on_by_one() {
    let server = RedisServer::start().await;
    let (node, _feed) = server.node().await;
    node.append(update(&["a"], None), None, &[]).await.unwrap();
    let ahead = "4102444800000000";
    let _: String = server.command(&["SET", "{rivulet:0}clock", ahead]).await;
    let position = node.append(update(&["a"], None), None, &[]).await.unwrap();
    assert_eq!(position.to_string(), "4102444800000001");
    let _: String = server.command(&["SET", "{rivulet:0}clock", "4102444800000010 4102444800000001"]).await;
    let position = node.append(update(&["a"], None), None, &[]).await.unwrap();
    assert_eq!(position.to_string(), "4102444800000011");
    // A Redis that stands behind what this node was told is pushed forward.
    let _: usize = server.command(&["DEL", "{rivulet:0}clock"]).await;
    let position = node.append(update(&["a"], None), None, &[]).await.unwrap();
    assert_eq!(position.to_string(), "4102444800000012");
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_and_index_are_bounded() {
    let server = RedisServer::start().await;
    let config = RedisConfig { count: 10, index_count: 100, ..server.config() };
    let (node, _feed) = RedisTransport::connect(config).await.unwrap();
    for _ in 0..1000 {
        node.append(update(&["a"], None), None, &[]).await.unwrap();
    }
    for (key, most) in [("{rivulet:0}t:a", 110), ("{rivulet:0}index", 200)] {
        let len: usize = server.command(&["XLEN", key]).await;
        assert!(len <= most, "{key} has {len} entries");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_is_used_again_after_its_update_was_discarded_leads_to_the_new_one() {
    let server = RedisServer::start().await;
    let (node, _feed) = server.node().await;
    let id = EventId::parse("x").unwrap();
    let first = node.append(update(&["a"], Some("x")), None, &[]).await.unwrap();
    node.append(update(&["b"], Some("x")), None, &[]).await.unwrap();
    assert_eq!(node.locate(&id).await.unwrap(), Some((Partition::default(), first)));
    let _: usize = server.command(&["XTRIM", "{rivulet:0}t:a", "MAXLEN", "0"]).await;
    assert_eq!(node.locate(&id).await.unwrap(), None);
    let third = node.append(update(&["b"], Some("x")), None, &[]).await.unwrap();
    assert_eq!(node.locate(&id).await.unwrap(), Some((Partition::default(), third)));
}

/// Runs the script of a takeover.
struct Takeovers(RedisServer);

impl Takeovers {
    /// A log whose primary is `one:1`; answers also what its clock is.
    async fn start() -> (Self, u64) {
        let takeovers = Self(RedisServer::start().await);
        assert_eq!(takeovers.run("one:1", "", 0).await, 0, "an empty log has nothing to jump from");
        let (seconds, _): (u64, u64) = takeovers.0.command(&["TIME"]).await;
        let now = seconds * SECOND;
        let _: String = takeovers.0.command(&["SET", "clock", &format!("{now} 7")]).await;
        (takeovers, now)
    }

    /// A node comes from the server `left`, where it was answered the tick `ticked`. Answers whether the clock has jumped.
    async fn run(&self, server: &str, left: &str, ticked: u64) -> u64 {
        let script =
            concat!(include_str!("../src/scripts/void.lua"), include_str!("../src/scripts/takeover.lua"));
        let ticked = ticked.to_string();
        let keys = ["clock", "primary", "primaries", "birth"];
        let args = [server, "30000000", left, &ticked, "3000000", "control", "PUBLISH"];
        let mut call = vec!["EVAL", script, "4"];
        call.extend(keys.iter().chain(&args));
        self.0.command(&call).await
    }

    async fn clock(&self) -> u64 {
        let clock: String = self.0.command(&["GET", "clock"]).await;
        let (position, update) = clock.split_once(' ').unwrap();
        assert_eq!(update, "7", "the last update stays what it was");
        position.parse().unwrap()
    }

    async fn birth(&self) -> Option<u64> {
        self.0.command(&["GET", "birth"]).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_takes_over_jumps_once_and_tells_who_comes_too_late() {
    let (log, now) = Takeovers::start().await;
    let primaries = async || log.0.command::<Option<String>>(&["GET", "primaries"]).await;
    assert_eq!(primaries().await.as_deref(), Some(""), "no script runs on keys of which some are missing");
    // As it was left by a release that knew no such key.
    let () = log.0.command(&["DEL", "primaries"]).await;
    assert_eq!((log.run("one:1", "", 0).await, log.clock().await), (0, now), "it is the primary already");
    assert_eq!(primaries().await.as_deref(), Some(""));
    assert_eq!(log.run("two:2", "", 0).await, 1, "another server jumps");
    let jumped = log.clock().await;
    assert!((now + 30 * SECOND..now + 60 * SECOND).contains(&jumped), "{now} {jumped}");
    assert_eq!(log.run("two:2", "one:1", jumped - 3 * SECOND).await, 0, "who heard of it in time");
    assert_eq!((log.clock().await, log.birth().await), (jumped, None));
    assert_eq!(log.run("two:2", "one:1", jumped - 3 * SECOND + 5).await, 0, "who went on for too long");
    assert_eq!((log.clock().await, log.birth().await), (jumped + 5, Some(jumped + 5)));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_takeovers_within_seconds_nobody_comes_too_late_for_the_second() {
    for first in ["", "two:2"] {
        let (log, _) = Takeovers::start().await;
        assert_eq!(log.run("two:2", "", 0).await, 1);
        let jumped = log.clock().await;
        // The clock stands before the time: ticks are answered with where it stands.
        assert_eq!(log.run("three:3", first, if first.is_empty() { 0 } else { jumped }).await, 1);
        let again = log.clock().await;
        assert!((jumped + 4 * SECOND..jumped + 5 * SECOND).contains(&again), "{jumped} {again}");
        assert_eq!(log.run("three:3", "two:2", jumped + 1_000).await, 0);
        assert_eq!((log.clock().await, log.birth().await), (again, None));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_went_on_for_so_long_that_a_second_server_has_taken_over_is_told() {
    let check = async |is_first: bool, beyond: u64, expected: bool| {
        let (log, _) = Takeovers::start().await;
        assert_eq!(log.run("two:2", "", 0).await, 1);
        let jumped = log.clock().await;
        if !is_first {
            assert_eq!(log.run("three:3", "two:2", jumped).await, 1);
        }
        // What the second one was given from where it had jumped to is before the cursors of this node's subscribers.
        let jumps = log.run("three:3", "one:1", jumped - 3 * SECOND + beyond).await;
        assert_eq!(jumps, u64::from(is_first));
        assert_eq!(log.birth().await, expected.then_some(log.clock().await), "{is_first} {beyond}");
    };
    for is_first in [true, false] {
        check(is_first, 0, false).await;
        check(is_first, 1, true).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn some_of_the_primaries_before_the_last_one_are_known() {
    let (log, _) = Takeovers::start().await;
    for number in 0..50 {
        assert_eq!(log.run(&format!("redis-{}.redis.example:6379", number % 7), "", 0).await, 1);
    }
    let known: String = log.0.command(&["GET", "primaries"]).await;
    assert!((300..600).contains(&known.len()), "{known}");
    assert!(known.ends_with(|last: char| last.is_ascii_digit()) && known.starts_with(" redis-"), "{known}");
    // One that nobody knows any more is compared with the last one.
    let jumped = log.clock().await;
    assert_eq!(log.run("redis-0.redis.example:6379", "one:1", jumped - 3 * SECOND).await, 0);
    assert_eq!(log.birth().await, None);
    assert_eq!(log.run("redis-0.redis.example:6379", "one:1", jumped).await, 0);
    assert_eq!(log.birth().await, Some(jumped + 3 * SECOND));
}
