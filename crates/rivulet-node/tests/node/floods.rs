//! Floods: what clients send on their streams costs a bounded part of a worker's time.

use std::time::Duration;

use crate::harness::{Hub, exact, local};
use rivulet_node::{CloseReason, NodeConfig};
use tokio::time::{Instant, sleep};

/// How much of a client is thrown away per quarter of a second.
const SHARE: usize = 64 * 1024;

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
