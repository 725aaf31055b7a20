//! Redis goes away and comes back.

// In a test a panic is the report.
#![allow(clippy::unwrap_used)]

mod harness;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use harness::{RedisServer, eventually};
use rivulet_core::{Position, Topic, Update};
use rivulet_node::{Feed, FeedEvent, FeedStatus, Interest, Selection, Transport};
use rivulet_redis::{ConnectError, RedisConfig, RedisTransport};

fn update(topic: &str, data: &str) -> Update {
    Update {
        topics: [Topic::parse(topic).unwrap()].into_iter().collect(),
        data: data.as_bytes().to_vec().into(),
        private: false,
        id: None,
        event_type: None,
        retry_ms: None,
    }
}

fn interest(topic: &str) -> Interest {
    Interest::Topic(Topic::parse(topic).unwrap())
}

async fn next_update(feed: &mut Feed) -> Position {
    let next = async {
        loop {
            if let FeedEvent::Update(appended) = feed.recv().await.unwrap() {
                return appended.position;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), next).await.expect("an update must come")
}

async fn live(node: &Arc<RedisTransport>) {
    eventually("the feed must be live", || async { node.feed_status() == FeedStatus::Live }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_redis_loses_nothing_and_keeps_the_order() {
    let mut server = RedisServer::start().await;
    let ((one, mut feed), (two, _feed)) = (server.node().await, server.node().await);
    one.retain(&interest("a"));
    one.confirmed(&interest("a")).await.unwrap();
    let mut acknowledged = Vec::new();
    for _ in 0..100 {
        acknowledged.push(two.append(update("a", "before")).await.unwrap());
    }
    server.stop();
    let begun = Instant::now();
    while two.append(update("a", "away")).await.is_ok() {}
    assert!(begun.elapsed() < Duration::from_secs(5));
    let begun = Instant::now();
    assert!(two.append(update("a", "away")).await.is_err());
    assert!(begun.elapsed() < Duration::from_secs(1), "known to be away: fails at once");
    eventually("the break is seen", || async { one.feed_status() != FeedStatus::Live }).await;

    server.start_again().await;
    while acknowledged.len() < 200 {
        // Appended by whoever comes back first, before the feed of the other does.
        match two.append(update("a", "after")).await {
            Ok(position) => acknowledged.push(position),
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
    for position in acknowledged {
        assert_eq!(next_update(&mut feed).await, position);
    }
    live(&one).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_lost_its_data_is_noticed_and_positions_go_on_rising() {
    let server = RedisServer::start().await;
    let (node, mut feed) = server.node().await;
    node.retain(&interest("a"));
    node.confirmed(&interest("a")).await.unwrap();
    let before = node.append(update("a", "")).await.unwrap();
    assert_eq!(next_update(&mut feed).await, before);
    let () = server.command(&["FLUSHALL"]).await;
    let after = node.append(update("a", "")).await.unwrap();
    assert!(after > before);
    assert_eq!(next_update(&mut feed).await, after);
    let selection = Selection::Topics(Arc::new([Topic::parse("a").unwrap()]));
    assert!(!node.read(&selection, before, 10).await.unwrap().complete);
    assert!(node.read(&selection, after, 10).await.unwrap().complete);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_stands_behind_what_the_feed_showed_is_pushed_past_it() {
    let server = RedisServer::start().await;
    let ((one, mut feed), (two, _feed)) = (server.node().await, server.node().await);
    one.retain(&interest("a"));
    one.confirmed(&interest("a")).await.unwrap();
    // An hour ahead, so that the time of day does not hide that the clock went back.
    let now: (u64, u64) = server.command(&["TIME"]).await;
    let ahead = (now.0 + 3600) * 1_000_000;
    let () = server.command(&["SET", "{rivulet:0}clock", &ahead.to_string()]).await;
    let shown = two.append(update("a", "")).await.unwrap();
    assert_eq!(next_update(&mut feed).await, shown);
    let () = server.command(&["FLUSHALL"]).await;
    assert!(one.append(update("a", "")).await.unwrap() > shown);
}

#[tokio::test(flavor = "multi_thread")]
async fn hubs_in_two_databases_of_one_redis_do_not_meet() {
    let server = RedisServer::start().await;
    let second = RedisConfig { url: format!("{}/1", server.url()), ..server.config() };
    let (one, mut feed) = server.node().await;
    let (two, mut feed_of_two) = RedisTransport::connect(second).await.unwrap();
    for node in [&one, &two] {
        node.retain(&interest("a"));
        node.confirmed(&interest("a")).await.unwrap();
    }
    for _ in 0..3 {
        let (first, second) =
            (one.append(update("a", "")).await.unwrap(), two.append(update("a", "")).await.unwrap());
        assert_eq!(next_update(&mut feed).await, first);
        assert_eq!(next_update(&mut feed_of_two).await, second);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_hangs_costs_one_deadline_and_comes_back() {
    let server = RedisServer::start().await;
    let config = RedisConfig { deadline: Duration::from_millis(300), ..server.config() };
    let (node, mut feed) = RedisTransport::connect(config).await.unwrap();
    node.retain(&interest("a"));
    node.confirmed(&interest("a")).await.unwrap();
    server.hang();
    let begun = Instant::now();
    assert!(node.append(update("a", "hanging")).await.is_err());
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    for _ in 0..100 {
        assert!(node.append(update("a", "refused at once")).await.is_err());
    }
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
    eventually("the feed is known to be broken", || async { node.feed_status() != FeedStatus::Live }).await;
    server.go_on();
    eventually("appends work again", || async { node.append(update("a", "again")).await.is_ok() }).await;
    assert!(next_update(&mut feed).await > Position::ZERO);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_subscription_is_killed_under_load_misses_nothing() {
    let server = RedisServer::start().await;
    let ((one, mut feed), (two, _feed)) = (server.node().await, server.node().await);
    for interest in [interest("a"), Interest::All] {
        one.retain(&interest);
        one.confirmed(&interest).await.unwrap();
    }
    let publishing = tokio::spawn(async move {
        let mut positions = Vec::new();
        for n in 0..3000 {
            positions.push(two.append(update(["a", "b"][n % 2], "")).await.unwrap());
        }
        positions
    });
    let mut fed = Vec::new();
    while fed.len() < 3000 {
        if fed.len() % 500 == 100 {
            let _: usize = server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
        }
        fed.push(next_update(&mut feed).await);
    }
    assert_eq!(fed, publishing.await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn five_thousand_topics_are_confirmed_quickly_and_given_back() {
    let server = RedisServer::start().await;
    let (node, _feed) = server.node().await;
    let interests: Vec<_> = (0..5000).map(|n| interest(&format!("https://example.com/topics/{n}"))).collect();
    let begun = Instant::now();
    interests.iter().for_each(|interest| node.retain(interest));
    for interest in &interests {
        node.confirmed(interest).await.unwrap();
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    interests.iter().for_each(|interest| node.release(interest));
    eventually("all are unsubscribed but the node's own channel", || async {
        server.command::<Vec<String>>(&["PUBSUB", "CHANNELS"]).await.len() == 1
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_transport_leaves_no_connection() {
    let server = RedisServer::start().await;
    let (node, mut feed) = server.node().await;
    live(&node).await;
    drop(node);
    while let Some(event) = feed.recv().await {
        assert!(matches!(event, FeedEvent::Verified(_)));
    }
    eventually("only the test's own connections are left", || async {
        server.command::<String>(&["CLIENT", "LIST"]).await.lines().count() == 1
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_to_connect_explains_itself() {
    let server = RedisServer::start().await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = RedisConfig { url: format!("redis://:secret@{free}"), ..RedisConfig::default() };
    let error = RedisTransport::connect(config).await.map(drop).unwrap_err();
    assert!(matches!(error, ConnectError::Unreachable { .. }));
    assert!(
        error.to_string().contains(&free.to_string()) && !error.to_string().contains("secret"),
        "{error}"
    );

    let (_node, _feed) = server.node().await;
    let _: usize = server.command(&["HSET", "{rivulet}layout", "format", "2"]).await;
    let error = RedisTransport::connect(server.config()).await.map(drop).unwrap_err();
    assert!(error.to_string().contains("format 2, this program needs 1"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_index_has_lost_is_read_from_the_topics() {
    let server = RedisServer::start().await;
    let (node, mut feed) = server.node().await;
    node.retain(&interest("a"));
    node.confirmed(&interest("a")).await.unwrap();
    let mut last = node.append(update("a", "announced")).await.unwrap();
    assert_eq!(next_update(&mut feed).await, last);
    // Appended without being announced, and trimmed from the index; in one step, so that no tick comes in between.
    let script = "local e = redis.call('XRANGE', KEYS[1], '-', '+')[1][2][4]
        local now = redis.call('TIME'); local at = now[1] * 1000000 + now[2]
        for n = 1, 200 do
            local p = string.format('%.0f', at + n)
            local before = redis.call('SET', KEYS[2], p, 'GET')
            redis.call('XADD', KEYS[1], p .. '-0', 'p', before, 'e', e)
            redis.call('SET', KEYS[3], p)
        end
        redis.call('XTRIM', KEYS[4], 'MAXLEN', 0)
        return string.format('%.0f', at)";
    let mut step = redis::pipe();
    step.atomic().cmd("EVAL").arg(script).arg(4);
    step.arg(&["{rivulet:0}t:a", "{rivulet:0}l:a", "{rivulet:0}clock", "{rivulet:0}index"]);
    step.cmd("CLIENT").arg("KILL").arg("TYPE").arg("pubsub").ignore();
    let (at,): (String,) = step.query_async(&mut server.connection().await).await.unwrap();
    last = Position::from_micros(at.parse().unwrap());
    for _ in 0..200 {
        last = last.next();
        assert_eq!(next_update(&mut feed).await, last);
    }
    last = node.append(update("a", "announced again")).await.unwrap();
    assert_eq!(next_update(&mut feed).await, last);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_of_another_version_stops_neither_replay_nor_feed() {
    let server = RedisServer::start().await;
    let (node, mut feed) = server.node().await;
    node.retain(&interest("a"));
    node.confirmed(&interest("a")).await.unwrap();
    let first = node.append(update("a", "")).await.unwrap();
    let stream = "{rivulet:0}t:a";
    let foreign = first.next().to_string();
    for (key, field, content) in [(stream, "e", "\u{7f}?"), ("{rivulet:0}index", "t", "a")] {
        let _: String = server
            .command(&["XADD", key, &format!("{foreign}-0"), "p", &first.to_string(), field, content])
            .await;
    }
    let last = node.append(update("a", "")).await.unwrap();
    let _: usize = server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
    assert_eq!(next_update(&mut feed).await, first);
    assert_eq!(next_update(&mut feed).await, last);
    live(&node).await;
    let selection = Selection::Topics(Arc::new([Topic::parse("a").unwrap()]));
    let page = node.read(&selection, first, 10).await.unwrap();
    assert_eq!((page.entries.len(), page.complete), (1, false));
    assert_eq!(page.entries[0].position, last);
}
