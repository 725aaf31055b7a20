//! Kicks on several nodes, of which not all may hear.

use std::time::Duration;

use futures_util::StreamExt as _;
use rivulet_node::{KickReport, KickTarget, Limit, Scope, Transport};
use rivulet_tests::{
    PATIENCE,
    chaos_proxy::{ChaosProxy, Network},
    eventually,
    redis::RedisServer,
};

use crate::player::{LEASE, Player, open, quota, told_in_the_end};

const RECORD: &str = "{rivulet:0}q:kicks";
const CONTROL: &str = "{rivulet:0}control";

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_hears_nothing_is_told_of() {
    let redis = RedisServer::start().await;
    let proxy = ChaosProxy::start(redis.address()).await;
    let (one, two) = (Player::start(redis.url()).await, Player::start(redis.url()).await);
    let deaf = Player::start(format!("redis://{}", proxy.address())).await;
    let [alice, bob] =
        ["sub:alice", "sub:bob"].map(|subject| [quota(Limit::ConnectionsPerSubject, subject, 99)]);
    for player in [&one, &two, &deaf] {
        player.fill(&alice, 3).await;
        player.fill(&bob, 1).await;
    }
    let whole_alice = KickTarget {
        scope: Some((Limit::ConnectionsPerSubject, Scope::new("sub:alice"))),
        ..KickTarget::default()
    };
    proxy.set(Network::HalfOpen);
    let report = one.transport.kick(&whole_alice).await.unwrap();
    assert_eq!(report, KickReport { ended: 6, nodes: 2, nodes_unanswered: 1 });
    assert_eq!([one.len(), two.len(), deaf.len()], [1, 1, 4]);
    proxy.set(Network::Whole);
    eventually("it hears of it when it hears again", PATIENCE, || async {
        if deaf.len() == 1 { Ok(()) } else { Err(deaf.len()) }
    })
    .await;
    eventually("all answer again", PATIENCE, || async {
        match two.transport.kick(&whole_alice).await {
            Ok(KickReport { nodes: 3, nodes_unanswered: 0, .. }) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    assert_eq!(deaf.len(), 1);
    told_in_the_end(&redis, "1:sub:alice", 0).await;
    told_in_the_end(&redis, "1:sub:bob", 3).await;
    for key in redis.keys_for_ever() {
        assert!(!key.contains("}q:"), "{key} never expires");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_nobody_counts_any_more_kicks_when_it_is_back() {
    let redis = RedisServer::start().await;
    let proxy = ChaosProxy::start(redis.address()).await;
    let one = Player::start(redis.url()).await;
    let away = Player::start(format!("redis://{}", proxy.address())).await;
    let [alice, bob] =
        ["sub:alice", "sub:bob"].map(|subject| [open(Limit::ConnectionsPerSubject, subject, 99)]);
    let everyone_of_alice = KickTarget {
        scope: Some((Limit::ConnectionsPerSubject, Scope::new("sub:alice"))),
        ..KickTarget::default()
    };
    one.fill(&alice, 1).await;
    away.fill(&alice, 3).await;
    away.fill(&bob, 1).await;
    let knows = async |expected: u32| {
        eventually(format!("{expected} nodes"), LEASE * 3, || async {
            let nodes = one.transport.peers().nodes;
            if nodes == expected { Ok(()) } else { Err(nodes) }
        })
        .await;
    };
    knows(2).await;
    proxy.set(Network::Cut);
    // Its lease has ended then.
    knows(1).await;
    let report = one.transport.kick(&everyone_of_alice).await.unwrap();
    assert_eq!(report, KickReport { ended: 1, nodes: 1, nodes_unanswered: 0 });
    // Who comes afterwards is not meant, neither here nor there.
    away.fill(&alice, 2).await;
    one.fill(&alice, 1).await;
    proxy.set(Network::Whole);
    told_in_the_end(&redis, "1:sub:alice", 3).await;
    let left: Vec<usize> = away.held.lock().iter().map(|held| held.number).collect();
    assert_eq!(left, [3, 4, 5], "bob, and those who came afterwards");
    assert_eq!(one.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_kicks_are_kept_as_a_node_reads_and_not_for_long() {
    let redis = RedisServer::start().await;
    let one = Player::start(redis.url()).await;
    let seed = "local now = redis.call('TIME')[1] * 1000000 \
        for i = 1, 200 do redis.call('ZADD', KEYS[1], now - 601000000 - i, 'old' .. i) end \
        for i = 1, 256 do redis.call('ZADD', KEYS[1], now - 60000000 + i, 'x' .. i) end";
    redis.command(&["EVAL", seed, "1", RECORD]).unwrap();
    let nobody =
        KickTarget { scope: Some((Limit::ConnectionsPerIp, Scope::new("x"))), ..KickTarget::default() };
    for _ in 0..2 {
        let report = one.transport.kick(&nobody).await.unwrap();
        assert_eq!(report, KickReport { ended: 0, nodes: 1, nodes_unanswered: 0 });
    }
    let kept = redis.command(&["ZRANGE", RECORD, "0", "-1"]).unwrap();
    let kept: Vec<&str> = kept.lines().collect();
    assert_eq!((kept.len(), kept[0]), (256, "x3"), "the oldest had to go");
    assert!(kept[254].starts_with('K') && kept[255].starts_with('K'), "{kept:?}");
    let ttl: u64 = redis.command(&["TTL", RECORD]).unwrap().parse().unwrap();
    assert!((590..=600).contains(&ttl), "{ttl} s");
    // A node that reads what is not ours, and goes on.
    redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).unwrap();
    one.fill(&[quota(Limit::ConnectionsPerIp, "x", 99)], 2).await;
    // One that is read from the record may spare who came a moment before.
    eventually("both end", PATIENCE, || async {
        one.transport.kick(&nobody).await.unwrap();
        if one.len() == 0 { Ok(()) } else { Err(one.len()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kick_is_said_again_to_whose_feed_is_broken_just_now() {
    let redis = RedisServer::start().await;
    let (one, two) = (Player::start(redis.url()).await, Player::start(redis.url()).await);
    let wanted = [quota(Limit::ConnectionsTotal, "", 99)];
    let hub = KickTarget { scope: Some((Limit::ConnectionsTotal, Scope::hub())), ..KickTarget::default() };
    two.fill(&wanted, 5).await;
    redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).unwrap();
    let report = one.transport.kick(&hub).await.unwrap();
    assert_eq!(report, KickReport { ended: 5, nodes: 2, nodes_unanswered: 0 });
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_hears_only_that_a_kick_is_said_again_ends_nobody_who_came_later() {
    let redis = RedisServer::start().await;
    let one = Player::start(redis.url()).await;
    let wanted = [quota(Limit::ConnectionsTotal, "", 99)];
    one.fill(&wanted, 3).await;
    let told = std::time::Instant::now();
    tokio::time::sleep(Duration::from_secs(2)).await;
    one.fill(&wanted, 2).await;
    // Half way between those and these: the command may take a second.
    let age = told.elapsed().as_micros() - 1_000_000;
    let message = format!("K0000000000000001 {{\"scope\":[\"connections_total\",\"\"]}}\n{age}");
    assert_eq!(redis.command(&["PUBLISH", CONTROL, &message]).unwrap(), "1");
    eventually("those who were there are gone", PATIENCE, || async {
        let left: Vec<usize> = one.held.lock().iter().map(|held| held.number).collect();
        if left == [3, 4] { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kick_that_is_said_again_says_how_long_ago_it_was_told() {
    let redis = RedisServer::start().await;
    let one = Player::start(redis.url()).await;
    let client = redis::Client::open(redis.url()).unwrap();
    let (mut sink, mut messages) = client.get_async_pubsub().await.unwrap().split();
    sink.subscribe(CONTROL).await.unwrap();
    // A node that lives, and never answers.
    let ghost =
        "return redis.call('ZADD', '{rivulet:0}q:nodes', (redis.call('TIME')[1] + 60) * 1000, 'ghost.1')";
    redis.command(&["EVAL", ghost, "0"]).unwrap();
    let nobody =
        KickTarget { scope: Some((Limit::ConnectionsPerIp, Scope::new("x"))), ..KickTarget::default() };
    let report = one.transport.kick(&nobody).await.unwrap();
    assert_eq!((report.nodes, report.nodes_unanswered), (1, 1));
    let mut said = Vec::new();
    while said.len() < 4 {
        let message = tokio::time::timeout(PATIENCE, messages.next()).await.expect("it is said again");
        said.push(message.unwrap().get_payload::<String>().unwrap());
    }
    assert!(!said[0].contains('\n'), "what is told first is told now: {said:?}");
    let ages = said[1..].iter().map(|message| {
        let (first, age) = message.split_once('\n').unwrap_or_else(|| panic!("no age in {message:?}"));
        assert_eq!(first, said[0]);
        age.parse::<u64>().unwrap()
    });
    let ages: Vec<u64> = ages.collect();
    assert!(ages[0] >= 490_000 && ages.is_sorted() && ages[2] >= ages[0] + 900_000, "{ages:?}");
    let kept = redis.command(&["ZRANGE", RECORD, "0", "-1"]).unwrap();
    assert_eq!(kept, said[0], "one kick, as it was told first");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_stranger_says_on_the_control_channel_kicks_nobody() {
    let redis = RedisServer::start().await;
    let one = Player::start(redis.url()).await;
    one.fill(&[quota(Limit::ConnectionsTotal, "", 99)], 5).await;
    let garbage =
        ["K", "K ", "K0000000000000001", "K0000000000000001 {}", "K0000000000000001 {\"all\":true}", "?"];
    for message in garbage {
        assert_eq!(redis.command(&["PUBLISH", CONTROL, message]).unwrap(), "1");
    }
    let nobody =
        KickTarget { scope: Some((Limit::ConnectionsPerIp, Scope::new("x"))), ..KickTarget::default() };
    let report = one.transport.kick(&nobody).await.unwrap();
    assert_eq!(report, KickReport { ended: 0, nodes: 1, nodes_unanswered: 0 });
    assert_eq!(one.len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kick_without_redis_is_an_error_in_bounded_time() {
    let mut redis = RedisServer::start().await;
    let one = Player::start(redis.url()).await;
    redis.crash();
    let begun = std::time::Instant::now();
    let target = KickTarget { subject: Some("sub:a".to_owned()), ..KickTarget::default() };
    one.transport.kick(&target).await.unwrap_err();
    assert!(begun.elapsed() < LEASE * 2, "{:?}", begun.elapsed());
}
