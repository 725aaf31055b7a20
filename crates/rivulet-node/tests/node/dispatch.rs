//! Dispatch: who receives what, once, in order, and that a slow reader harms nobody.

use std::time::Duration;

use crate::harness::{Hub, exact, local, request, update};
use rivulet_core::{Grants, Matcher};
use rivulet_node::{CloseReason, NodeConfig, SubscribeError};

#[tokio::test]
async fn a_subscriber_receives_what_is_published_after_it_opened() {
    local(async {
        let hub = Hub::start(NodeConfig::default());
        hub.publish(&["a"], "before").await;
        let mut client = hub.subscribe(exact(&["a"]), 4096).await;
        let id = hub.publish(&["a"], "after").await;
        hub.publish(&["b"], "other").await;
        hub.publish(&["a"], "last").await;
        let event = client.next().await.unwrap();
        assert_eq!((event.id, event.data.as_deref()), (id, Some("after")));
        assert_eq!(client.data().await.as_deref(), Some("last"));
        drop(client);
        hub.is_empty_again().await;
    })
    .await;
}

#[tokio::test]
async fn an_update_that_matches_twice_arrives_once() {
    local(async {
        let hub = Hub::start(NodeConfig::default());
        let matchers = vec![
            Matcher::exact("https://example.com/a/1").unwrap(),
            Matcher::exact("https://example.com/b").unwrap(),
            Matcher::exact("https://example.com/b").unwrap(),
            Matcher::selector("https://example.com/a/{id}").unwrap(),
            Matcher::All,
        ];
        let mut client = hub.subscribe(request(matchers), 1 << 16).await;
        for n in 0..50 {
            hub.publish(&["https://example.com/a/1", "https://example.com/b"], &n.to_string()).await;
            hub.publish(&["https://example.com/b"], &format!("b{n}")).await;
        }
        for n in 0..50 {
            assert_eq!(client.data().await, Some(n.to_string()));
            assert_eq!(client.data().await, Some(format!("b{n}")));
        }
        assert_eq!(hub.node.stats().encoded, 100, "each update is encoded once");
        drop(client);
        hub.is_empty_again().await;
    })
    .await;
}

#[tokio::test]
async fn private_updates_reach_only_who_was_granted_one_of_their_topics() {
    local(async {
        let hub = Hub::start(NodeConfig::default());
        let mut granted = exact(&["https://example.com/books/1"]);
        granted.grants = Grants {
            publish: vec![],
            subscribe: vec![Matcher::selector("https://example.com/users/{id}").unwrap()],
        };
        let mut friend = hub.subscribe(granted, 4096).await;
        let mut stranger = hub.subscribe(exact(&["https://example.com/books/1"]), 4096).await;
        let mut secret = update(&["https://example.com/books/1", "https://example.com/users/7"], "secret");
        secret.private = true;
        hub.node.publish(secret, None, Vec::new()).await.unwrap();
        hub.publish(&["https://example.com/books/1"], "public").await;
        assert_eq!(friend.data().await.as_deref(), Some("secret"));
        assert_eq!(friend.data().await.as_deref(), Some("public"));
        assert_eq!(stranger.data().await.as_deref(), Some("public"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_ends_alone() {
    local(async {
        let config = NodeConfig { heartbeat: None, lifetime: None, ..NodeConfig::default() };
        let hub = Hub::start(config);
        let mut stuck = hub.subscribe(exact(&["a"]), 64).await;
        let mut healthy = hub.subscribe(exact(&["a"]), 64).await;
        for n in 0..3000 {
            hub.publish(&["a"], &format!("{n} {}", "x".repeat(2000))).await;
            assert!(healthy.data().await.unwrap().starts_with(&format!("{n} ")));
            let stats = hub.node.stats();
            assert!(stats.ring_bytes <= (1 << 20) + 4096, "the ring is bounded: {stats:?}");
            assert_eq!(stats.ring_frames, stats.ring_frames_max, "there is one ring: {stats:?}");
            assert!(stats.ring_frames * 2_000 <= stats.ring_bytes, "{stats:?}");
        }
        tokio::time::sleep(Duration::from_secs(21)).await;
        let stats = hub.node.stats();
        assert_eq!(stats.closed[CloseReason::Stalled as usize], 1, "{stats:?}");
        assert_eq!(stats.connections, 1);
        hub.publish(&["a"], "still here").await;
        assert_eq!(healthy.data().await.as_deref(), Some("still here"));
        while stuck.next().await.is_some() {}
        drop(healthy);
        hub.is_empty_again().await;
    })
    .await;
}

#[tokio::test]
async fn a_reader_that_fell_off_the_ring_reads_the_log_and_misses_nothing() {
    local(async {
        let hub = Hub::start(NodeConfig::default());
        let mut slow = hub.subscribe(exact(&["a"]), 512).await;
        let mut picky = hub.subscribe(request(vec![Matcher::All]), 512).await;
        for n in 0..2000 {
            hub.publish(&["a"], &n.to_string()).await;
            hub.publish(&["b"], &format!("b{n}")).await;
        }
        for n in 0..2000 {
            assert_eq!(slow.data().await, Some(n.to_string()));
            assert_eq!(picky.data().await, Some(n.to_string()));
            assert_eq!(picky.data().await, Some(format!("b{n}")));
        }
        assert!(hub.node.stats().replays >= 1, "the ring holds fewer frames than that");
        hub.publish(&["a"], "live").await;
        assert_eq!(slow.data().await.as_deref(), Some("live"));
        drop((slow, picky));
        hub.is_empty_again().await;
    })
    .await;
}

#[tokio::test]
async fn many_subscribers_are_served_in_slices_and_each_sees_all_in_order() {
    local(async {
        let hub = Hub::start(NodeConfig::default());
        let mut clients = Vec::new();
        for n in 0..300 {
            let topic = format!("own/{}", n % 7);
            clients.push(hub.subscribe(exact(&["shared", &topic]), 1 << 16).await);
        }
        for n in 0..200 {
            hub.publish(&["shared"], &n.to_string()).await;
        }
        hub.publish(&["own/3"], "own").await;
        for (index, client) in clients.iter_mut().enumerate() {
            for n in 0..200 {
                assert_eq!(client.data().await, Some(n.to_string()), "client {index}");
            }
        }
        assert_eq!(clients[3].data().await.as_deref(), Some("own"));
        drop(clients);
        hub.is_empty_again().await;
    })
    .await;
}

#[tokio::test]
async fn a_full_node_refuses_and_a_place_comes_back() {
    local(async {
        let hub = Hub::start(NodeConfig { connections_max: 2, ..NodeConfig::default() });
        let first = hub.subscribe(exact(&["a"]), 64).await;
        let reserved = hub.reserve(exact(&["a"])).await.unwrap();
        let refused = hub.reserve(exact(&["a"])).await;
        assert!(matches!(refused, Err(SubscribeError::NodeFull)));
        drop(reserved);
        let second = hub.subscribe(exact(&["b"]), 64).await;
        drop((first, second));
        hub.is_empty_again().await;
        assert_eq!(hub.node.stats().opened, 2);
    })
    .await;
}

#[tokio::test]
async fn a_stopping_node_ends_all_streams_and_takes_no_more() {
    local(async {
        let hub = Hub::start(NodeConfig::default());
        let mut client = hub.subscribe(exact(&["a"]), 64).await;
        let reserved = hub.reserve(exact(&["a"])).await.unwrap();
        let stopped = tokio::task::spawn_local({
            let node = hub.node.clone();
            async move { node.shutdown().await }
        });
        assert_eq!(client.next().await, None);
        assert!(matches!(hub.reserve(exact(&["a"])).await, Err(SubscribeError::Closing)));
        let mut late = hub.open(reserved, 64);
        assert_eq!(late.next().await, None, "a seat that was reserved before ends as well");
        stopped.await.unwrap();
        assert_eq!(hub.node.stats().closed[CloseReason::NodeShutdown as usize], 2);
        hub.is_empty_again().await;
    })
    .await;
}
