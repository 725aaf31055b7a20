//! Heartbeats and ends: by time, by token.

use std::time::Duration;

use crate::harness::{Hub, exact, local};
use rivulet_node::{CloseReason, NodeConfig};
use tokio::time::{Instant, sleep};

#[tokio::test(start_paused = true)]
async fn an_idle_connection_gets_heartbeats_that_carry_a_cursor() {
    local(async {
        let hub = Hub::start(NodeConfig { lifetime: None, ..NodeConfig::default() });
        let mut client = hub.subscribe(exact(&["a"]), 4096).await;
        let first = hub.publish(&["a"], "1").await;
        assert_eq!(client.next().await.unwrap().id, first);
        let elsewhere = hub.publish(&["b"], "of no interest here").await;
        let started = Instant::now();
        let beat = client.next().await.unwrap();
        assert_eq!(beat.data, None, "a heartbeat fires no event");
        assert!(beat.id >= elsewhere, "{} says that nothing up to {elsewhere} is missing", beat.id);
        let waited = started.elapsed();
        assert!(waited >= Duration::from_secs(14) && waited <= Duration::from_secs(17), "{waited:?}");
        let second = client.next().await.unwrap();
        assert_eq!(second.data, None);
        assert!(second.id >= beat.id);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_ends_within_its_lifetime() {
    local(async {
        let lifetime = Some(Duration::from_secs(100));
        let hub = Hub::start(NodeConfig { lifetime, ..NodeConfig::default() });
        let mut ends = Vec::new();
        for _ in 0..20 {
            let mut client = hub.subscribe(exact(&["a"]), 4096).await;
            let started = Instant::now();
            ends.push(tokio::task::spawn_local(async move {
                while client.next().await.is_some() {}
                started.elapsed()
            }));
        }
        for end in ends {
            let lived = end.await.unwrap();
            assert!(lived >= Duration::from_secs(79) && lived <= Duration::from_secs(101), "{lived:?}");
        }
        assert_eq!(hub.node.stats().closed[CloseReason::Lifetime as usize], 20);
        hub.is_empty_again().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_never_outlives_its_token() {
    local(async {
        let hub = Hub::start(NodeConfig::default());
        let mut request = exact(&["a"]);
        request.expires_in = Some(Duration::from_secs(5));
        let mut client = hub.subscribe(request, 4096).await;
        let started = Instant::now();
        while client.next().await.is_some() {}
        let lived = started.elapsed();
        assert!(lived >= Duration::from_secs(4) && lived <= Duration::from_secs(5), "{lived:?}");
        assert_eq!(hub.node.stats().closed[CloseReason::TokenExpired as usize], 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_is_noticed_at_once() {
    local(async {
        let hub = Hub::start(NodeConfig::default());
        let client = hub.subscribe(exact(&["a"]), 4096).await;
        assert_eq!(hub.node.stats().connections, 1);
        drop(client);
        sleep(Duration::from_millis(10)).await;
        assert_eq!(hub.node.stats().connections, 0);
        assert_eq!(hub.node.stats().closed[CloseReason::ClientGone as usize], 1);
    })
    .await;
}
