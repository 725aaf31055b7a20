//! Shedding: a node above the mean lets streams go, slowly, and not further down than near the mean.

use std::{sync::Arc, time::Duration};

use crate::{
    harness::{Client, Hub, exact, local},
    tap::Tap,
};
use rivulet_core::Partition;
use rivulet_node::{CloseReason, FeedStatus, NodeConfig, Peers, StalePartition};
use tokio::time::sleep;

/// So many nodes, all of which take connections.
fn of(nodes: u32, connections: u64) -> Peers {
    Peers { nodes, connections, open_nodes: nodes, open_connections: connections }
}

async fn crowded(shed: Option<f64>, peers: Peers) -> (Hub, Arc<Tap>, Vec<Client>) {
    let (tap, feed) = Tap::start(1, 100);
    *tap.peers.lock() = Some(peers);
    let config = NodeConfig { shed, heartbeat: None, lifetime: None, ..NodeConfig::default() };
    let hub = Hub::on(tap.clone(), feed, config);
    let mut clients = Vec::new();
    for _ in 0..60 {
        clients.push(hub.subscribe(exact(&["a"]), 4096).await);
    }
    (hub, tap, clients)
}

#[tokio::test(start_paused = true)]
async fn a_node_above_the_mean_sheds_down_to_its_margin() {
    local(async {
        let (hub, tap, clients) = crowded(Some(0.25), of(2, 60)).await;
        let drained = || hub.node.stats().closed[CloseReason::Drained as usize];
        // It listens to the others for a while first.
        sleep(Duration::from_secs(40)).await;
        let half = drained();
        assert!((5..=8).contains(&half), "a quarter of sixty per minute: {half}");
        sleep(Duration::from_secs(30)).await;
        let whole = drained();
        assert!((11..=15).contains(&whole), "a quarter of sixty per minute: {whole}");
        sleep(Duration::from_secs(600)).await;
        assert_eq!(drained(), 20, "down to ten more than the mean of thirty");
        let mut told = 0;
        *tap.peers.lock() = Some(of(2, 80));
        hub.node.shutdown().await;
        for mut client in clients {
            told += usize::from(client.retry_at_end().await.is_some());
        }
        assert_eq!(told, 20, "who was let go was told when to come back");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_alone_or_near_the_mean_or_not_told_to_sheds_nothing() {
    let cases = [
        (Some(1.0), of(1, 60)),
        (Some(1.0), of(2, 100)),
        // The other one is leaving.
        (Some(1.0), Peers { nodes: 2, connections: 60, open_nodes: 1, open_connections: 60 }),
        (Some(0.0), of(2, 60)),
        (None, of(2, 60)),
    ];
    for (shed, peers) in cases {
        local(async {
            let (hub, _tap, clients) = crowded(shed, peers).await;
            sleep(Duration::from_secs(300)).await;
            assert_eq!(hub.node.stats().connections, 60, "{shed:?} {peers:?}");
            drop(clients);
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_shed_while_the_others_cannot_be_heard_nor_right_after() {
    local(async {
        let (hub, tap, clients) = crowded(Some(1.0), of(2, 60)).await;
        let stale = StalePartition {
            partition: Partition::default(),
            since: Duration::from_secs(9),
            reason: "no answer".to_owned(),
        };
        *tap.status.lock() = FeedStatus::Stale(vec![stale]);
        sleep(Duration::from_secs(300)).await;
        *tap.status.lock() = FeedStatus::Live;
        sleep(Duration::from_secs(9)).await;
        assert_eq!(hub.node.stats().connections, 60);
        sleep(Duration::from_secs(60)).await;
        assert_eq!(hub.node.stats().connections, 40, "down to ten more than the mean of thirty");
        drop(clients);
    })
    .await;
}
