//! Drain: streams end in even slices, gently, and a node that leaves serves until then.

use std::time::Duration;

use crate::{
    harness::{Client, Hub, exact, local},
    tap::Tap,
};
use rivulet_node::{CloseReason, NodeConfig, NodePhase, Refusal, SubscribeError, Unready};
use tokio::time::{Instant, sleep};

const PERIOD: Duration = Duration::from_secs(10);

fn quiet() -> NodeConfig {
    NodeConfig { heartbeat: None, lifetime: None, ..NodeConfig::default() }
}

#[tokio::test(start_paused = true)]
async fn streams_end_in_even_slices_and_each_is_told_when_to_come_back() {
    local(async {
        let hub = Hub::start(quiet());
        let mut ends = Vec::new();
        for _ in 0..200 {
            let mut client = hub.subscribe(exact(&["a"]), 4096).await;
            ends.push(tokio::task::spawn_local(async move {
                let retry = client.retry_at_end().await.expect("each is told");
                (Instant::now(), retry)
            }));
        }
        let started = Instant::now();
        hub.node.drain(PERIOD).await;
        let drained = started.elapsed();
        assert!(drained >= PERIOD * 9 / 10 && drained <= PERIOD + Duration::from_secs(1), "{drained:?}");
        let (mut per_second, mut retries) = ([0; 11], Vec::new());
        for end in ends {
            let (at, retry) = end.await.unwrap();
            per_second[usize::try_from((at - started).as_secs()).unwrap()] += 1;
            retries.push(retry);
        }
        assert!(per_second[..9].iter().all(|count| (15..=25).contains(count)), "{per_second:?}");
        assert!(retries.iter().all(|retry| (1000..=10_000).contains(retry)), "{retries:?}");
        retries.sort_unstable();
        assert!(retries[20] < 3500 && retries[180] > 7500, "they are spread: {retries:?}");
        assert_eq!(hub.node.stats().closed[CloseReason::Drained as usize], 200);
        hub.is_empty_again().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_never_cut_within_an_update() {
    local(async {
        let hub = Hub::start(quiet());
        let mut slow = hub.subscribe(exact(&["a"]), 1000).await;
        let data = "x".repeat(20_000);
        hub.publish(&["a"], &data).await;
        hub.publish(&["a"], "this one was not begun").await;
        sleep(Duration::from_millis(100)).await;
        let drain = hub.node.drain(Duration::ZERO);
        let read = async {
            sleep(Duration::from_secs(1)).await;
            assert_eq!(slow.next().await.unwrap().data, Some(data));
            slow.retry_at_end().await
        };
        let ((), retry) = tokio::join!(drain, read);
        assert!(retry.is_some());
        assert_eq!(hub.node.stats().closed[CloseReason::Drained as usize], 1);
        hub.is_empty_again().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_takes_nothing_does_not_hold_a_drain_up() {
    local(async {
        let hub = Hub::start(quiet());
        let stuck = hub.subscribe(exact(&["a"]), 64).await;
        hub.publish(&["a"], &"x".repeat(1000)).await;
        sleep(Duration::from_millis(100)).await;
        let started = Instant::now();
        hub.node.drain(Duration::from_secs(1)).await;
        let took = started.elapsed();
        assert!(took >= Duration::from_secs(2) && took <= Duration::from_millis(3500), "{took:?}");
        assert_eq!(hub.node.stats().closed[CloseReason::Drained as usize], 1);
        drop(stuck);
        hub.is_empty_again().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_leaves_serves_until_it_drains() {
    local(async {
        let hub = Hub::start(quiet());
        assert_eq!((hub.node.phase(), hub.node.readiness()), (NodePhase::Open, vec![]));
        hub.node.leave();
        assert_eq!(hub.node.readiness(), [Unready::Leaving]);
        assert!(hub.node.is_serving() && !hub.node.is_open() && hub.node.stats().draining);
        let (mut late, mut latest) =
            (hub.subscribe(exact(&["a"]), 4096).await, hub.subscribe(exact(&["a"]), 4096).await);
        hub.publish(&["a"], "1").await;
        assert_eq!(late.data().await.as_deref(), Some("1"));
        assert_eq!(latest.data().await.as_deref(), Some("1"));
        let drain = hub.node.drain(PERIOD);
        let refused = async {
            sleep(Duration::from_millis(100)).await;
            assert_eq!(hub.node.phase(), NodePhase::Draining);
            assert!(matches!(hub.node.check_room(), Err(SubscribeError::Closing)));
            assert!(matches!(hub.reserve(exact(&["a"])).await, Err(SubscribeError::Closing)));
            hub.publish(&["a"], "publishers are served").await;
            let ((one, told_one), (other, told_other)) =
                tokio::join!(last_data(&mut late), last_data(&mut latest));
            // The first slices may take one of the two, never both.
            assert!([one, other].contains(&"publishers are served".to_owned()));
            assert!(told_one && told_other, "when to come back");
        };
        tokio::join!(drain, refused);
        assert_eq!(hub.node.stats().refused[Refusal::Closing as usize], 2);
        hub.node.shutdown().await;
        assert_eq!(hub.node.phase(), NodePhase::Closed);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_node_without_streams_drains_at_once() {
    local(async {
        let hub = Hub::start(quiet());
        let started = Instant::now();
        hub.node.drain(PERIOD).await;
        assert_eq!(started.elapsed(), Duration::ZERO);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_seat_that_was_reserved_before_a_drain_is_let_go_too() {
    local(async {
        let hub = Hub::start(quiet());
        let reserved = hub.reserve(exact(&["a"])).await.unwrap();
        let forgotten = hub.reserve(exact(&["a"])).await.unwrap();
        let drain = async {
            let started = Instant::now();
            hub.node.drain(PERIOD).await;
            started.elapsed()
        };
        let open = async {
            sleep(Duration::from_secs(1)).await;
            hub.open(reserved, 4096).retry_at_end().await
        };
        let (took, retry) = tokio::join!(drain, open);
        assert!(retry.is_some());
        assert!(
            took <= PERIOD + Duration::from_secs(4),
            "it does not wait for the other one for ever: {took:?}"
        );
        drop(forgotten);
        hub.is_empty_again().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_waits_for_the_log_is_let_go() {
    local(async {
        let (tap, feed) = Tap::start(1, 1000);
        let hub = Hub::on(tap.clone(), feed, quiet());
        let mut ids = Vec::new();
        for n in 0..200 {
            ids.push(hub.publish(&["a"], &n.to_string()).await);
        }
        let reserved = hub.reserve(hub.resuming(exact(&["a"]), &ids[0])).await.unwrap();
        let closed = tap.gate.write().await;
        let mut client = hub.open(reserved, 1 << 16);
        assert_eq!(client.data().await.as_deref(), Some("1"));
        sleep(Duration::from_secs(1)).await;
        assert_eq!(hub.node.stats().replaying, 1);
        hub.node.drain(Duration::ZERO).await;
        assert_eq!(last_data(&mut client).await, ("64".to_owned(), true), "one page, and when to come back");
        drop(closed);
        hub.is_empty_again().await;
    })
    .await;
}

/// The last data before the end, and whether the client was told to come back.
async fn last_data(client: &mut Client) -> (String, bool) {
    let (mut last, mut told) = (String::new(), false);
    while let Some(event) = client.next().await {
        told |= event.retry.is_some();
        last = event.data.unwrap_or(last);
    }
    (last, told)
}
