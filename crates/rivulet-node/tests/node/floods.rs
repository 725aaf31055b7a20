//! Floods: what clients send on their streams costs a bounded part of a worker's time.

use std::time::Duration;

use crate::harness::{Hub, exact, local};
use rivulet_node::{CloseReason, NodeConfig};
use tokio::time::{Instant, sleep};

/// How much of a client is thrown away per quarter of a second.
const SHARE: usize = 256 * 1024;

#[tokio::test(start_paused = true)]
async fn a_client_that_floods_its_stream_is_read_slowly_and_served_at_once() {
    local(async {
        let hub = Hub::start(NodeConfig::default());
        let mut flooder = hub.subscribe(exact(&["a"]), SHARE).await;
        let began = Instant::now();
        for n in 0..16 {
            flooder.send(&vec![b'x'; SHARE]).await;
            hub.publish(&["a"], &n.to_string()).await;
            let published = Instant::now();
            assert_eq!(flooder.data().await, Some(n.to_string()));
            assert!(published.elapsed() < Duration::from_millis(1), "{:?}", published.elapsed());
        }
        // What it sends first, and what its socket holds in the end, waits for nothing.
        let (shares, tick) = (14, Duration::from_millis(250));
        let took = began.elapsed();
        assert!(took >= tick * (shares - 1) && took <= tick * (shares + 2), "{took:?}");
        drop(flooder);
        sleep(3 * tick).await;
        assert_eq!(hub.node.stats().closed[CloseReason::ClientGone as usize], 1);
        hub.is_empty_again().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_crowd_that_floods_takes_turns_and_its_end_is_seen() {
    /// 64 are read per tick.
    const CROWD: usize = 160;
    local(async {
        let hub = Hub::start(NodeConfig::default());
        let mut crowd = Vec::new();
        for _ in 0..CROWD {
            let mut client = hub.subscribe(exact(&["a"]), 2 * SHARE).await;
            client.send(&vec![b'x'; 2 * SHARE]).await;
            crowd.push(client);
        }
        let mut healthy = hub.subscribe(exact(&["b"]), SHARE).await;
        let began = Instant::now();
        drop(crowd);
        hub.publish(&["b"], "1").await;
        assert_eq!(healthy.data().await.as_deref(), Some("1"));
        assert!(began.elapsed() < Duration::from_millis(1), "{:?}", began.elapsed());
        drop(healthy);
        hub.is_empty_again().await;
        // Each has two shares to be thrown away, and its end behind them.
        let (took, tick) = (began.elapsed(), Duration::from_millis(250));
        assert!(took >= tick * 3 && took <= tick * 8, "{took:?}");
    })
    .await;
}
