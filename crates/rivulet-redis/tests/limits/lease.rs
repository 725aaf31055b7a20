//! Leases: nodes that die, and nodes that leave.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use rivulet_node::{Limit, Peers, Quota, Transport, Wanted};
use rivulet_tests::{PATIENCE, eventually, redis::RedisServer};
use tokio::task::JoinSet;

use crate::player::{LEASE, Player, quota, told, told_in_the_end};

/// Connections that come and go on a node, and never are too many.
async fn hammer(player: &Player, wanted: Quota, here: Arc<AtomicUsize>, stop: Arc<AtomicBool>) {
    let mut clients = JoinSet::new();
    for _ in 0..16 {
        let (transport, here, stop) = (player.transport.clone(), here.clone(), stop.clone());
        let wanted = wanted.clone();
        clients.spawn(async move {
            while !stop.load(Ordering::Acquire) {
                let admitted =
                    transport.admit(Wanted { quotas: vec![wanted.clone()], rates: Vec::new() }).await;
                if let Ok(permit) = admitted {
                    // Counted while the permit is held, and a little less: never more than there are.
                    let most = here.fetch_add(1, Ordering::AcqRel) + 1;
                    assert!(most <= wanted.max as usize, "{most} at once");
                    tokio::task::yield_now().await;
                    here.fetch_sub(1, Ordering::AcqRel);
                    drop(permit);
                }
            }
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
}

#[test]
fn eight_nodes_never_exceed_a_quota_and_those_that_die_give_it_back() {
    let runtime =
        || tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (living, dying) = (runtime(), runtime());
    let redis = living.block_on(RedisServer::start());
    let start = |url: String| async move {
        let mut players = Vec::new();
        for _ in 0..4 {
            players.push(Player::start(url.clone()).await);
        }
        players
    };
    let survivors = living.block_on(start(redis.url()));
    let victims = dying.block_on(dying.spawn(start(redis.url()))).unwrap();
    let wanted = quota(Limit::ConnectionsPerSubject, "sub:a", 40);
    living.block_on(async {
        let (here, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let all = survivors
            .iter()
            .chain(&victims)
            .map(|player| hammer(player, wanted.clone(), here.clone(), stop.clone()));
        let watch = async {
            // Long enough for some thousands of connections.
            tokio::time::sleep(std::time::Duration::from_secs(3)).await;
            stop.store(true, Ordering::Release);
        };
        tokio::join!(futures_util::future::join_all(all), watch);
        told_in_the_end(&redis, "1:sub:a", 0).await;
        for player in survivors.iter().chain(&victims) {
            player.fill(std::slice::from_ref(&wanted), 5).await;
        }
        survivors[0].admit(std::slice::from_ref(&wanted)).await.unwrap_err();
    });
    // No task of theirs runs on: nothing is given back by them.
    dying.shutdown_background();
    living.block_on(async {
        survivors[0].admit(std::slice::from_ref(&wanted)).await.unwrap_err();
        let begun = std::time::Instant::now();
        survivors[1].fill(std::slice::from_ref(&wanted), 20).await;
        assert!(begun.elapsed() < LEASE + PATIENCE / 3, "{:?}", begun.elapsed());
        survivors[0].admit(std::slice::from_ref(&wanted)).await.unwrap_err();
        let nodes = || async {
            let nodes = survivors[0].transport.peers().nodes;
            if nodes == 4 { Ok(()) } else { Err(format!("{nodes} nodes")) }
        };
        eventually("the dead are forgotten", PATIENCE, nodes).await;
        assert_eq!(told(&redis, "1:sub:a"), Ok(40));
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_leaves_takes_everything_with_it() {
    let redis = RedisServer::start().await;
    let wanted = quota(Limit::ConnectionsPerIp, "192.0.2.7", 3);
    let counting = || redis.keys().into_iter().filter(|key| key.contains("}q:") || key.contains("}r:"));
    let (one, two) = (Player::start(redis.url()).await, Player::start(redis.url()).await);
    one.fill(std::slice::from_ref(&wanted), 3).await;
    assert_eq!(counting().count(), 4, "the leases, when they began, and what each holds");
    one.transport.close().await;
    assert_eq!(told(&redis, "2:192.0.2.7"), Ok(0), "at once");
    two.fill(std::slice::from_ref(&wanted), 3).await;
    // A transport that is dropped without a word does the same in the background.
    drop((one, two));
    eventually("no key is left", PATIENCE, || async {
        let left: Vec<String> = counting().collect();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_about_to_stop_is_none_to_compare_with() {
    let redis = RedisServer::start().await;
    let (one, two) = (Player::start(redis.url()).await, Player::start(redis.url()).await);
    let wanted = [quota(Limit::ConnectionsTotal, "", 99)];
    one.fill(&wanted, 3).await;
    two.fill(&wanted, 4).await;
    let knows = async |player: &Player, expected: Peers| {
        eventually(format!("{expected:?}"), PATIENCE, || async {
            let peers = player.transport.peers();
            if peers == expected { Ok(()) } else { Err(format!("{peers:?}")) }
        })
        .await;
    };
    let all = Peers { nodes: 2, connections: 7, open_nodes: 2, open_connections: 7 };
    knows(&one, all).await;
    two.transport.leave();
    let staying = Peers { open_nodes: 1, open_connections: 3, ..all };
    knows(&one, staying).await;
    knows(&two, staying).await;
    // It says so again when it has to be counted anew.
    redis.command(&["FLUSHALL"]).unwrap();
    let three = Player::start(redis.url()).await;
    knows(&three, Peers { nodes: 3, connections: 7, open_nodes: 2, open_connections: 3 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_renews_its_lease_and_keeps_its_places() {
    let redis = RedisServer::start().await;
    let wanted = quota(Limit::ConnectionsTotal, "", 3);
    let (one, two) = (Player::start(redis.url()).await, Player::start(redis.url()).await);
    one.fill(std::slice::from_ref(&wanted), 3).await;
    let begun = std::time::Instant::now();
    while begun.elapsed() < LEASE * 2 {
        two.admit(std::slice::from_ref(&wanted)).await.unwrap_err();
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!((one.len(), told(&redis, "0:")), (3, Ok(3)));
}
