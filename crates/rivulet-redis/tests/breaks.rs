//! Redis goes away and comes back.

// In a test a panic is the report.
#![allow(clippy::unwrap_used)]

mod harness;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use harness::{RedisServer, eventually};
use rivulet_core::{Partition, Position, Topic, Update};
use rivulet_node::{Feed, FeedEvent, FeedStatus, Interest, Page, PageLimits, Selection, Transport};
use rivulet_redis::{ConnectError, RedisConfig, RedisTransport};

fn update(topic: &str, data: &str) -> Update {
    Update {
        topics: [Topic::parse(topic).unwrap()].into_iter().collect(),
        data: data.as_bytes().to_vec().into(),
        private: false,
        id: None,
        event_type: None,
        retry_ms: None,
        trace: None,
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

/// Reads the topic "a".
async fn read(node: &RedisTransport, after: Position) -> Page {
    let selection = Selection::Topics(Arc::new([Topic::parse("a").unwrap()]));
    let limits = PageLimits { len: 10, bytes: 1 << 20 };
    node.read(Partition::default(), &selection, after, limits).await.unwrap()
}

/// The next loss that the feed tells of, and up to where.
async fn next_loss(feed: &mut Feed) -> (Position, Option<Arc<[Topic]>>) {
    let next = async {
        loop {
            if let FeedEvent::Lost { through, topics, .. } = feed.recv().await.unwrap() {
                return (through, topics);
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), next).await.expect("a loss must be told")
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
        acknowledged.push(two.append(update("a", "before"), None, &[]).await.unwrap());
    }
    server.stop();
    let begun = Instant::now();
    while two.append(update("a", "away"), None, &[]).await.is_ok() {}
    assert!(begun.elapsed() < Duration::from_secs(5));
    let begun = Instant::now();
    assert!(two.append(update("a", "away"), None, &[]).await.is_err());
    assert!(begun.elapsed() < Duration::from_secs(1), "known to be away: fails at once");
    eventually("the break is seen", || async { one.feed_status() != FeedStatus::Live }).await;

    server.start_again().await;
    while acknowledged.len() < 200 {
        // Appended by whoever comes back first, before the feed of the other does.
        match two.append(update("a", "after"), None, &[]).await {
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
    let before = node.append(update("a", ""), None, &[]).await.unwrap();
    assert_eq!(next_update(&mut feed).await, before);
    let () = server.command(&["FLUSHALL"]).await;
    let after = node.append(update("a", ""), None, &[]).await.unwrap();
    assert!(after > before);
    assert_eq!(next_loss(&mut feed).await, (after.before(), None));
    assert_eq!(next_update(&mut feed).await, after);
    assert!(read(&node, before).await.gap.is_some());
    assert_eq!(read(&node, after).await.gap, None);
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
    let shown = two.append(update("a", ""), None, &[]).await.unwrap();
    assert_eq!(next_update(&mut feed).await, shown);
    let () = server.command(&["FLUSHALL"]).await;
    assert!(one.append(update("a", ""), None, &[]).await.unwrap() > shown);
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
        let (first, second) = (
            one.append(update("a", ""), None, &[]).await.unwrap(),
            two.append(update("a", ""), None, &[]).await.unwrap(),
        );
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
    assert!(node.append(update("a", "hanging"), None, &[]).await.is_err());
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    for _ in 0..100 {
        assert!(node.append(update("a", "refused at once"), None, &[]).await.is_err());
    }
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
    eventually("the feed is known to be broken", || async { node.feed_status() != FeedStatus::Live }).await;
    server.go_on();
    eventually("appends work again", || async { node.append(update("a", "again"), None, &[]).await.is_ok() })
        .await;
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
            positions.push(two.append(update(["a", "b"][n % 2], ""), None, &[]).await.unwrap());
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
    eventually("all are unsubscribed but the node's own channel and that of all nodes", || async {
        server.command::<Vec<String>>(&["PUBSUB", "CHANNELS"]).await.len() == 2
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
    let _: usize = server.command(&["HSET", "{rivulet}layout", "format", "1"]).await;
    let _: usize = server.command(&["HDEL", "{rivulet}layout", "reader"]).await;
    let error = RedisTransport::connect(server.config()).await.map(drop).unwrap_err();
    assert!(error.to_string().contains("format 1, this program needs 2"), "{error}");
    let config = RedisConfig { partitions: rivulet_core::Partitions::new(8), ..server.config() };
    let _: usize = server.command(&["HSET", "{rivulet}layout", "format", "2"]).await;
    let error = RedisTransport::connect(config).await.map(drop).unwrap_err();
    assert!(error.to_string().contains("in 1 partitions, and 8 were asked for"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_index_has_lost_is_told_for_all_topics() {
    let server = RedisServer::start().await;
    let (node, mut feed) = server.node().await;
    node.retain(&interest("a"));
    node.confirmed(&interest("a")).await.unwrap();
    let last = node.append(update("a", "announced"), None, &[]).await.unwrap();
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
    let at = Position::from_micros(at.parse().unwrap());
    let (through, topics) = next_loss(&mut feed).await;
    assert!(through.as_micros() >= at.as_micros() + 200 && topics.is_none(), "{through} {topics:?}");
    // Whoever looks in the log finds that nothing is lost.
    let page = read(&node, last).await;
    assert_eq!((page.entries.len(), page.gap), (10, None));
    let next = node.append(update("a", "announced again"), None, &[]).await.unwrap();
    assert_eq!(next_update(&mut feed).await, next);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loss_is_told_for_the_topics_that_had_it() {
    let server = RedisServer::start().await;
    let (node, mut feed) = server.node().await;
    for name in ["a", "b"] {
        node.retain(&interest(name));
        node.confirmed(&interest(name)).await.unwrap();
    }
    let mut pipe = redis::pipe();
    pipe.atomic().cmd("CLIENT").arg("KILL").arg("TYPE").arg("pubsub");
    // Nothing is read while Redis pauses; then the node finds that the log has discarded what it missed of "a".
    let lost = node.append(update("a", "lost"), None, &[]).await.unwrap();
    assert_eq!(next_update(&mut feed).await, lost);
    let script = "local e = redis.call('XRANGE', KEYS[1], '-', '+')[1][2][4]
        local now = redis.call('TIME'); local at = now[1] * 1000000 + now[2]
        local p = string.format('%.0f', at)
        redis.call('XADD', KEYS[3], p .. '-0', 'p', ARGV[1], 't', 'a', 'n', 1)
        redis.call('SET', KEYS[2], p)
        local q = string.format('%.0f', at + 1)
        redis.call('XADD', KEYS[3], q .. '-0', 'p', p, 't', 'b', 'n', 1)
        redis.call('XADD', KEYS[4], q .. '-0', 'p', 0, 'e', e)
        redis.call('SET', KEYS[2], q)
        return p";
    pipe.cmd("EVAL").arg(script).arg(4);
    pipe.arg(&["{rivulet:0}t:a", "{rivulet:0}clock", "{rivulet:0}index", "{rivulet:0}t:b"]);
    pipe.arg(lost.to_string());
    let (_, at): (usize, String) = pipe.query_async(&mut server.connection().await).await.unwrap();
    let at = Position::from_micros(at.parse().unwrap());
    let (through, topics) = next_loss(&mut feed).await;
    assert_eq!((through, topics.as_deref()), (at, Some(&[Topic::parse("a").unwrap()][..])));
    assert_eq!(next_update(&mut feed).await, at.next());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_of_another_version_stops_neither_replay_nor_feed() {
    let server = RedisServer::start().await;
    let (node, mut feed) = server.node().await;
    node.retain(&interest("a"));
    node.confirmed(&interest("a")).await.unwrap();
    let first = node.append(update("a", ""), None, &[]).await.unwrap();
    let stream = "{rivulet:0}t:a";
    let foreign = first.next().to_string();
    for (key, field, content) in [(stream, "e", "\u{7f}?"), ("{rivulet:0}index", "t", "a")] {
        let _: String = server
            .command(&[
                "XADD",
                key,
                &format!("{foreign}-0"),
                "p",
                &first.to_string(),
                field,
                content,
                "n",
                "2",
            ])
            .await;
    }
    let last = node.append(update("a", ""), None, &[]).await.unwrap();
    let _: usize = server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
    assert_eq!(next_update(&mut feed).await, first);
    assert_eq!(next_update(&mut feed).await, last);
    live(&node).await;
    let page = read(&node, first).await;
    assert_eq!((page.entries.len(), page.gap.is_some()), (1, true));
    assert_eq!(page.entries[0].position, last);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hole_that_the_feed_has_passed_by_is_told() {
    let server = RedisServer::start().await;
    let (node, mut feed) = server.node().await;
    for name in ["a", "b"] {
        node.retain(&interest(name));
        node.confirmed(&interest(name)).await.unwrap();
    }
    let first = node.append(update("a", "1"), None, &[]).await.unwrap();
    assert_eq!(next_update(&mut feed).await, first);
    // Appended as by the script, but announced to nobody.
    let script = "local e = redis.call('XRANGE', KEYS[1], '-', '+')[1][2][4]
        local now = redis.call('TIME'); local p = string.format('%.0f', now[1] * 1000000 + now[2])
        local before = redis.call('SET', KEYS[2], p, 'GET')
        redis.call('XADD', KEYS[1], p .. '-0', 'p', before, 'e', e)
        redis.call('XADD', KEYS[4], p .. '-0', 'p', ARGV[1], 't', 'a', 'n', #e)
        redis.call('SET', KEYS[3], p)
        return p";
    let keys = ["{rivulet:0}t:a", "{rivulet:0}l:a", "{rivulet:0}clock", "{rivulet:0}index"];
    let mut call = vec!["EVAL", script, "4"];
    let last = first.to_string();
    call.extend(keys.iter().chain([&last.as_str()]));
    let hole: String = server.command(&call).await;
    let hole = Position::from_micros(hole.parse().unwrap());
    let between = node.append(update("b", "between"), None, &[]).await.unwrap();
    assert_eq!(next_update(&mut feed).await, between);
    let after = node.append(update("a", "3"), None, &[]).await.unwrap();
    let (through, topics) = next_loss(&mut feed).await;
    assert!(through >= hole && through < after, "{hole} {through} {after}");
    assert_eq!(topics.as_deref(), Some(&[Topic::parse("a").unwrap()][..]));
    assert_eq!(next_update(&mut feed).await, after);
    let page = read(&node, first).await;
    assert_eq!(page.entries.iter().map(|entry| entry.position).collect::<Vec<_>>(), [hole, after]);
}
