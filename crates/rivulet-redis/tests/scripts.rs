//! What the scripts write to Redis.

// In a test a panic is the report.
#![allow(clippy::unwrap_used)]

mod harness;

use std::collections::HashMap;

use harness::RedisServer;
use rivulet_core::{EventId, Partition, Topic, Update};
use rivulet_node::Transport;
use rivulet_redis::{RedisConfig, RedisTransport};

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

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_takes_over_jumps_once_and_tells_who_comes_too_late() {
    let server = RedisServer::start().await;
    let script =
        concat!(include_str!("../src/scripts/void.lua"), include_str!("../src/scripts/takeover.lua"));
    let keys = ["clock", "primary", "birth"];
    let take_over = async |name: &str, ticked: u64| {
        let ticked = ticked.to_string();
        let mut call = vec!["EVAL", script, "3"];
        call.extend(keys.iter().chain(&[name, "30000000", &ticked, "3000000", "control", "PUBLISH"]));
        server.command::<u64>(&call).await
    };
    let clock = async || {
        let clock: String = server.command(&["GET", "clock"]).await;
        clock.split(' ').next().unwrap().parse::<u64>().unwrap()
    };
    assert_eq!(take_over("one:1", 0).await, 0, "an empty log has nothing to jump from");
    let (seconds, _): (u64, u64) = server.command(&["TIME"]).await;
    let now = seconds * 1_000_000;
    let _: String = server.command(&["SET", "clock", &format!("{now} 7")]).await;
    assert_eq!(take_over("one:1", 0).await, 0);
    assert_eq!(clock().await, now);
    assert_eq!(take_over("two:2", 0).await, 1, "another server jumps");
    let jumped = clock().await;
    assert!((now + 30_000_000..now + 60_000_000).contains(&jumped), "{now} {jumped}");
    let in_time = jumped - 3_000_000;
    assert_eq!(take_over("two:2", in_time).await, 0, "who heard of it in time");
    assert_eq!((clock().await, server.command::<Option<String>>(&["GET", "birth"]).await), (jumped, None));

    // The next one, while the clock still stands before the time: others kept to the second until now.
    assert_eq!(take_over("three:3", 0).await, 1, "a new node has seen nothing");
    let again = clock().await;
    assert_eq!(take_over("three:3", jumped + 1_000).await, 0, "who was answered ticks since the first jump");
    assert_eq!((clock().await, server.command::<Option<String>>(&["GET", "birth"]).await), (again, None));

    let too_late = again - 3_000_000 + 5;
    assert_eq!(take_over("three:3", too_late).await, 0, "who went on elsewhere for too long");
    assert_eq!(clock().await, again + 5);
    assert_eq!(server.command::<String>(&["GET", "birth"]).await, (again + 5).to_string());
    assert_eq!(server.command::<String>(&["GET", "clock"]).await, format!("{} 7", again + 5));
}
