//! Kicks on several nodes, of which not all may hear.

use rivulet_node::{KickReport, KickTarget, Limit, Scope, Transport};
use rivulet_tests::{
    PATIENCE,
    chaos_proxy::{ChaosProxy, Network},
    eventually,
    redis::RedisServer,
};

use crate::player::{LEASE, Player, quota, told_in_the_end};

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
async fn what_a_stranger_says_on_the_control_channel_kicks_nobody() {
    let redis = RedisServer::start().await;
    let one = Player::start(redis.url()).await;
    one.fill(&[quota(Limit::ConnectionsTotal, "", 99)], 5).await;
    let garbage =
        ["K", "K ", "K0000000000000001", "K0000000000000001 {}", "K0000000000000001 {\"all\":true}", "?"];
    for message in garbage {
        assert_eq!(redis.command(&["PUBLISH", "{rivulet:0}control", message]).unwrap(), "1");
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
