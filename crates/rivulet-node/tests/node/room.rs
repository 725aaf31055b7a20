//! Room: whom a node lets in, and whether new clients should be sent to it.

use std::time::Duration;

use crate::{
    harness::{Hub, exact, local},
    tap::Tap,
};
use rivulet_node::{NodeConfig, Refusal, SubscribeError, Unready};
use tokio::time::sleep;

#[tokio::test(start_paused = true)]
async fn so_many_may_replay_at_the_same_time_and_a_turn_comes_back() {
    local(async {
        let (tap, feed) = Tap::start(1, 100_000);
        let hub = Hub::on(tap.clone(), feed, NodeConfig { replays_max: 2, ..NodeConfig::default() });
        let id = hub.publish(&["a"], "0").await;
        for n in 1..200 {
            hub.publish(&["a"], &n.to_string()).await;
        }
        let wish = || hub.resuming(exact(&["a"]), &id);
        let mut first = hub.subscribe(wish(), 64).await;
        let second = hub.reserve(wish()).await.unwrap();
        assert_eq!(hub.node.stats().replaying, 2);
        assert!(matches!(hub.reserve(wish()).await, Err(SubscribeError::ReplaysBusy)));
        assert_eq!(hub.node.stats().connections, 2, "nothing is taken from who is refused");
        let mut new = hub.subscribe(exact(&["a"]), 1 << 16).await;
        drop(second);
        let second = hub.reserve(wish()).await.unwrap();
        for n in 1..200 {
            assert_eq!(first.data().await, Some(n.to_string()));
        }
        hub.publish(&["a"], "live").await;
        assert_eq!(first.data().await.as_deref(), Some("live"));
        assert_eq!(new.data().await.as_deref(), Some("live"));
        assert_eq!(hub.node.stats().replaying, 1, "the first one is live");
        let third = hub.reserve(wish()).await.unwrap();
        assert_eq!(hub.node.stats().refused[Refusal::Replays as usize], 1);
        drop((first, second, third, new));
        hub.is_empty_again().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn who_fell_off_a_ring_needs_no_turn_to_replay() {
    local(async {
        let hub = Hub::start(NodeConfig { replays_max: 0, ..NodeConfig::default() });
        let mut slow = hub.subscribe(exact(&["a"]), 64).await;
        for n in 0..3000 {
            hub.publish(&["a"], &n.to_string()).await;
            tokio::task::yield_now().await;
        }
        for n in 0..3000 {
            assert_eq!(slow.data().await, Some(n.to_string()));
        }
        assert!(hub.node.stats().replays > 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_node_with_hardly_any_memory_refuses_and_says_so() {
    local(async {
        let hub = Hub::start(NodeConfig::default());
        let mut seated = hub.subscribe(exact(&["a"]), 4096).await;
        hub.node.set_memory_tight(true);
        assert!(matches!(hub.node.check_room(), Err(SubscribeError::MemoryTight)));
        assert!(matches!(hub.reserve(exact(&["a"])).await, Err(SubscribeError::MemoryTight)));
        assert_eq!(hub.node.readiness(), [Unready::MemoryTight]);
        assert_eq!(hub.node.stats().refused[Refusal::Memory as usize], 2);
        hub.publish(&["a"], "who is seated is served").await;
        assert!(seated.data().await.is_some());
        hub.node.leave();
        assert_eq!(hub.node.readiness(), [Unready::Leaving, Unready::MemoryTight]);
        hub.node.set_memory_tight(false);
        assert!(hub.node.check_room().is_ok());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_was_full_is_ready_again_when_a_tenth_is_free() {
    local(async {
        let hub = Hub::start(NodeConfig { connections_max: 20, ..NodeConfig::default() });
        let mut clients = Vec::new();
        for _ in 0..20 {
            assert_eq!(hub.node.readiness(), []);
            clients.push(hub.subscribe(exact(&["a"]), 4096).await);
        }
        assert!(matches!(hub.node.check_room(), Err(SubscribeError::NodeFull)));
        assert_eq!(hub.node.stats().refused[Refusal::Full as usize], 1);
        for left in [20, 19, 18] {
            clients.truncate(left);
            sleep(Duration::from_millis(10)).await;
            let full = Unready::Full { connections: left, connections_max: 20 };
            assert_eq!(hub.node.readiness(), [full]);
        }
        assert!(hub.node.check_room().is_ok(), "who comes all the same is served");
        clients.truncate(17);
        sleep(Duration::from_millis(10)).await;
        assert_eq!(hub.node.readiness(), []);
    })
    .await;
}
