//! Redis away, for short and for long, with and without its data, and answers that get lost.

use rivulet_node::{AdmitError, Limit, LimitsConfig, Quota, Transport};
use rivulet_tests::{
    PATIENCE,
    chaos_proxy::{ChaosProxy, Network},
    eventually,
    redis::RedisServer,
    sentinel::SentinelSetup,
};

use crate::player::{LEASE, Player, open, quota, told, told_in_the_end};

async fn behind_a_proxy(redis: &RedisServer) -> (ChaosProxy, Player) {
    let proxy = ChaosProxy::start(redis.address()).await;
    let player = Player::start(format!("redis://{}", proxy.address())).await;
    (proxy, player)
}

async fn ends_all_but_the_oldest(player: &Player, count: usize) {
    eventually("what is too much ends", 2 * PATIENCE, || async {
        if player.len() == count { Ok(()) } else { Err(format!("{} are left", player.len())) }
    })
    .await;
    let left: Vec<usize> = player.held.lock().iter().map(|held| held.number).collect();
    assert_eq!(left, Vec::from_iter(0..count), "the youngest end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_away_for_too_long_ends_what_is_too_much() {
    let redis = RedisServer::start().await;
    let (proxy, one) = behind_a_proxy(&redis).await;
    let two = Player::start(redis.url()).await;
    let subject = quota(Limit::ConnectionsPerSubject, "sub:a", 10);
    let wanted =
        [subject, quota(Limit::ConnectionsTotal, "", 16), quota(Limit::ConnectionsPerIp, "192.0.2.7", 99)];
    one.fill(&wanted, 8).await;
    proxy.set(Network::HalfOpen);
    // Others take its places once its lease has ended.
    two.fill(&wanted, 6).await;
    two.fill(&wanted[1..], 4).await;
    assert_eq!((one.len(), two.len()), (8, 10));
    proxy.set(Network::Whole);
    // Of the subject there are 4 too many, and 2 of the hub: those are gone with them.
    ends_all_but_the_oldest(&one, 4).await;
    told_in_the_end(&redis, "1:sub:a", 10).await;
    told_in_the_end(&redis, "0:", 14).await;
    assert_eq!((one.len(), two.len()), (4, 10), "no more than that");
    two.fill(&wanted[1..], 2).await;
    for player in [&one, &two] {
        player.admit(&wanted[1..]).await.unwrap_err();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_that_was_raised_ends_nobody_who_was_there_before() {
    let redis = RedisServer::start().await;
    let (proxy, one) = behind_a_proxy(&redis).await;
    let two = Player::start(redis.url()).await;
    let subject = |max| [quota(Limit::ConnectionsPerSubject, "sub:a", max)];
    let plan = [Quota { is_of_token: true, ..quota(Limit::ConnectionsPerSubject, "sub:plan", 2) }];
    let topic = [quota(Limit::ConnectionsPerTopic, "t", 4)];
    one.fill(&subject(3), 3).await;
    one.fill(&plan, 2).await;
    one.fill(&topic, 2).await;
    let raised = LimitsConfig {
        connections_per_subject: Some(10),
        connections_per_topic: Some(4),
        ..LimitsConfig::default()
    };
    one.transport.limits_changed(&raised);
    proxy.set(Network::HalfOpen);
    told_in_the_end(&redis, "1:sub:a", 0).await;
    two.fill(&subject(10), 5).await;
    two.fill(&plan, 1).await;
    two.fill(&topic, 4).await;
    proxy.set(Network::Whole);
    // Those of the topic end, and one of the plan, which is the token's own.
    ends_all_but_the_oldest(&one, 4).await;
    told_in_the_end(&redis, "1:sub:a", 8).await;
    told_in_the_end(&redis, "1:sub:plan", 2).await;
    told_in_the_end(&redis, "3:t", 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_lost_its_data_is_told_anew() {
    let mut redis = RedisServer::start().await;
    let (one, two) = (Player::start(redis.url()).await, Player::start(redis.url()).await);
    let wanted = [quota(Limit::ConnectionsPerTopic, "t", 10), quota(Limit::ConnectionsTotal, "", 100)];
    one.fill(&wanted, 3).await;
    two.fill(&wanted, 4).await;
    redis.crash();
    one.held.lock().pop();
    redis.restart_empty().await;
    told_in_the_end(&redis, "3:t", 6).await;
    for _ in 0..2 {
        one.fill(&wanted, 1).await;
        two.fill(&wanted, 1).await;
    }
    for player in [&one, &two] {
        assert!(matches!(player.admit(&wanted).await, Err(AdmitError::Refused(_))));
    }
    // The same when nobody notices by a broken connection.
    redis.command(&["FLUSHALL"]).unwrap();
    told_in_the_end(&redis, "3:t", 10).await;
    assert_eq!((one.len(), two.len()), (4, 6), "nobody was ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_went_back_in_time_is_told_anew() {
    let redis = RedisServer::start().await;
    let one = Player::start(redis.url()).await;
    let wanted = [quota(Limit::ConnectionsPerTopic, "t", 10)];
    one.fill(&wanted, 3).await;
    let (script, back) = (
        "for _, n in ipairs(redis.call('ZRANGE', '{rivulet:0}q:nodes', 0, -1)) do \
        redis.call('HINCRBY', '{rivulet:0}q:n:' .. n, 'v', -2) redis.call('HINCRBY', '{rivulet:0}q:n:' .. n, '3:t', -2) end",
        "0",
    );
    redis.command(&["EVAL", script, back]).unwrap();
    assert_eq!(told(&redis, "3:t"), Ok(1));
    told_in_the_end(&redis, "3:t", 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_get_lost_are_no_connections() {
    let redis = RedisServer::start().await;
    let (proxy, one) = behind_a_proxy(&redis).await;
    let wanted =
        [open(Limit::ConnectionsPerSubject, "sub:a", 100_000), open(Limit::ConnectionsTotal, "", 100_000)];
    for (round, network) in [Network::Cut, Network::HalfOpen].into_iter().cycle().take(12).enumerate() {
        let admitting = futures_util::future::join_all((0..20).map(|_| async {
            for _ in 0..10 {
                // Those that Redis cannot answer are let in by the node itself.
                one.admit(&wanted).await.unwrap();
            }
        }));
        let before = one.len();
        let breaking = async {
            // Many are on their way when the network breaks, and some end meanwhile.
            eventually("some come", PATIENCE, || async {
                if one.len() > before + 10 * round { Ok(()) } else { Err("not enough") }
            })
            .await;
            proxy.set(network);
            one.held.lock().truncate(before + 5);
            // Once longer than the deadline: what was sent arrives when nobody waits for it any more.
            tokio::time::sleep(std::time::Duration::from_millis(if round == 3 { 2500 } else { 30 })).await;
            proxy.set(Network::Whole);
        };
        tokio::join!(admitting, breaking);
    }
    let held = one.len();
    assert!(held > 100, "most were let in: {held}");
    told_in_the_end(&redis, "1:sub:a", held).await;
    told_in_the_end(&redis, "0:", held).await;
    one.held.lock().clear();
    told_in_the_end(&redis, "1:sub:a", 0).await;
    told_in_the_end(&redis, "0:", 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_redis_is_away_each_limit_says_what_holds() {
    let redis = RedisServer::start().await;
    let (proxy, one) = behind_a_proxy(&redis).await;
    let two = Player::start(redis.url()).await;
    eventually("they know each other", PATIENCE, || async {
        if one.transport.peers().nodes == 2 { Ok(()) } else { Err("not yet") }
    })
    .await;
    let share = [open(Limit::ConnectionsPerSubject, "sub:a", 10)];
    two.fill(&share, 5).await;
    one.fill(&share, 2).await;
    proxy.set(Network::Cut);
    one.fill(&share, 3).await;
    let refused = one.admit(&share).await.unwrap_err();
    assert!(
        matches!(&refused, AdmitError::Refused(refused) if (refused.max, refused.nodes) == (10, 2)),
        "{refused}"
    );
    let mixed = [open(Limit::ConnectionsPerSubject, "sub:b", 10), quota(Limit::ConnectionsTotal, "", 10)];
    let away = one.admit(&mixed).await.unwrap_err();
    assert!(matches!(away, AdmitError::Away { limit: Limit::ConnectionsTotal, .. }), "{away}");
    proxy.set(Network::Whole);
    told_in_the_end(&redis, "1:sub:a", 10).await;
    assert_eq!((one.len(), two.len()), (5, 5), "nobody was ended");
    eventually("it counts with the others again", PATIENCE, || one.admit(&mixed)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_hangs_shorter_than_the_lease_changes_nothing() {
    let redis = RedisServer::start().await;
    let (one, two) = (Player::start(redis.url()).await, Player::start(redis.url()).await);
    let wanted = [quota(Limit::ConnectionsTotal, "", 6)];
    one.fill(&wanted, 2).await;
    two.fill(&wanted, 2).await;
    redis.freeze();
    let begun = std::time::Instant::now();
    assert!(matches!(one.admit(&wanted).await, Err(AdmitError::Away { .. })));
    assert!(begun.elapsed() < LEASE, "{:?}", begun.elapsed());
    two.held.lock().pop();
    redis.thaw();
    told_in_the_end(&redis, "0:", 3).await;
    one.fill(&wanted, 3).await;
    two.admit(&wanted).await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_primary_is_told_what_the_old_one_knew() {
    let setup = SentinelSetup::start().await;
    let one = Player::start(setup.url()).await;
    let wanted = [quota(Limit::ConnectionsTotal, "", 10)];
    one.fill(&wanted, 4).await;
    let old = setup.master().unwrap();
    setup.proxies[old].set(Network::Cut);
    let new = setup.failed_over(old).await.unwrap();
    one.held.lock().pop();
    told_in_the_end(&setup.servers[new], "0:", 3).await;
    one.fill(&wanted, 7).await;
    told_in_the_end(&setup.servers[new], "0:", 10).await;
    assert!(matches!(one.admit(&wanted).await, Err(AdmitError::Refused(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_holds_is_not_given_out_again_by_a_redis_that_lost_it() {
    let mut redis = RedisServer::start().await;
    let (one, two) = (Player::start(redis.url()).await, Player::start(redis.url()).await);
    let closed = [quota(Limit::ConnectionsPerIp, "192.0.2.7", 10)];
    let shared = [open(Limit::ConnectionsPerSubject, "sub:a", 10)];
    two.fill(&closed, 10).await;
    two.fill(&shared, 10).await;
    eventually("they know each other", PATIENCE, || async {
        if one.transport.peers().nodes == 2 { Ok(()) } else { Err("not yet") }
    })
    .await;
    for is_restarted in [true, false] {
        if is_restarted {
            redis.crash();
            redis.restart_empty().await;
        } else {
            redis.command(&["FLUSHALL"]).unwrap();
        }
        eventually("both are counted again", PATIENCE, || async {
            one.admit(&closed).await.unwrap_err();
            // This node goes on with its share meanwhile, and ends it.
            let _ = one.admit(&shared).await;
            match (told(&redis, "2:192.0.2.7")?, one.len()) {
                (10, 0) => Ok(()),
                found => Err(format!("{found:?}")),
            }
        })
        .await;
        told_in_the_end(&redis, "1:sub:a", 10).await;
        assert_eq!(two.len(), 20, "what was there before stays");
        assert!(matches!(one.admit(&closed).await, Err(AdmitError::Refused(_))));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_admissions_than_redis_takes_are_refused_and_not_let_in_without_asking() {
    let redis = RedisServer::start().await;
    let one = Player::start(redis.url()).await;
    let wanted = [open(Limit::ConnectionsTotal, "", 100_000)];
    let incarnation = redis.command(&["ZRANGE", "{rivulet:0}q:nodes", "0", "-1"]).unwrap();
    redis.freeze();
    let mut admitting: futures_util::stream::FuturesUnordered<_> =
        (0..5000).map(|_| one.admit(&wanted)).collect();
    let first = futures_util::StreamExt::next(&mut admitting).await.unwrap();
    redis.thaw();
    assert!(matches!(&first, Err(AdmitError::Busy(4544))));
    let rest: Vec<_> = futures_util::StreamExt::collect(admitting).await;
    let admitted = rest.iter().filter(|admitted| admitted.is_ok()).count();
    assert!((512..5000).contains(&admitted), "{admitted} were let in");
    told_in_the_end(&redis, "0:", admitted).await;
    let now = redis.command(&["ZRANGE", "{rivulet:0}q:nodes", "0", "-1"]).unwrap();
    assert_eq!(now, incarnation, "what Redis counts was never uncertain");
}
