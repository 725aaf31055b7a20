//! Heartbeats and ends: by time, by token.

use std::time::{Duration, SystemTime};

use crate::{
    harness::{Hub, exact, local},
    tap::Tap,
};
use rivulet_node::{CloseReason, NodeConfig, SubscribeError, SubscribeRequest};
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
        request.expires_at = Some(SystemTime::now() + Duration::from_secs(5));
        let mut client = hub.subscribe(request, 4096).await;
        let started = Instant::now();
        while client.next().await.is_some() {}
        let lived = started.elapsed();
        assert!(lived >= Duration::from_secs(4) && lived <= Duration::from_secs(5), "{lived:?}");
        assert_eq!(hub.node.stats().closed[CloseReason::TokenExpired as usize], 1);
    })
    .await;
}

/// A request with a token that expires in so long, and when.
fn expiring(mut request: SubscribeRequest, left: Duration) -> (SubscribeRequest, SystemTime) {
    let at = SystemTime::now() + left;
    request.expires_at = Some(at);
    (request, at)
}

/// Waits until a moment of the wall clock: paused time does not move it.
async fn passed(at: SystemTime) {
    while SystemTime::now() < at {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn no_stream_begins_after_its_token() {
    local(async {
        let (tap, feed) = Tap::start(1, 100);
        let hub = Hub::on(tap.clone(), feed, NodeConfig::default());
        let id = hub.publish(&["a"], "1").await;

        let (late, at) = expiring(exact(&["a"]), Duration::ZERO);
        passed(at).await;
        assert!(matches!(hub.reserve(late).await, Err(SubscribeError::TokenExpired)));

        // While the hub finds where it continues.
        let closed = tap.gate.write().await;
        let (resuming, at) = expiring(hub.resuming(exact(&["a"]), &id), Duration::from_millis(50));
        let (resumed, ()) = tokio::join!(hub.reserve(resuming), async {
            passed(at).await;
            drop(closed);
        });
        assert!(matches!(resumed, Err(SubscribeError::TokenExpired)));

        // While the seat waits for its socket.
        let (slow, at) = expiring(exact(&["a"]), Duration::from_millis(500));
        let reserved = hub.reserve(slow).await.unwrap();
        passed(at).await;
        assert_eq!(hub.open(reserved, 4096).next().await, None, "the socket is closed");
        assert_eq!(hub.node.stats().opened, 0);
        hub.is_empty_again().await;
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
