//! What readers that take nothing may keep in memory.

use std::time::Duration;

use crate::harness::{Client, Hub, exact, local};
use rivulet_node::{CloseReason, NodeConfig};
use tokio::{task::LocalSet, time::sleep};

const BOUND: usize = 16 << 20;

fn quiet() -> NodeConfig {
    NodeConfig { heartbeat: None, lifetime: None, ..NodeConfig::default() }
}

fn stalled(hub: &Hub) -> u64 {
    hub.node.stats().closed[CloseReason::Stalled as usize]
}

#[tokio::test(start_paused = true)]
async fn stalled_readers_of_large_updates_pin_no_more_than_the_bound() {
    local(async {
        let hub = Hub::start(quiet());
        let mut healthy = hub.subscribe(exact(&["healthy"]), 4096).await;
        let mut readers: Vec<(String, Client)> = Vec::new();
        for n in 0..50 {
            let topic = format!("own/{n}");
            let reader = hub.subscribe(exact(&[&topic]), 64).await;
            readers.push((topic, reader));
        }
        let data = "x".repeat(900_000);
        for (topic, _) in &readers {
            hub.publish(&[topic], &data).await;
            sleep(Duration::from_millis(300)).await;
            let pinned = hub.node.stats().pinned_bytes;
            assert!(pinned <= BOUND, "{pinned} bytes are pinned");
        }
        let (ended, pinned) = (stalled(&hub), hub.node.stats().pinned_bytes);
        assert!((32..=38).contains(&ended), "{ended} of 50 were ended");
        assert_eq!(pinned / 900_000, 50 - usize::try_from(ended).unwrap(), "the others keep theirs");
        hub.publish(&["healthy"], "1").await;
        assert_eq!(healthy.data().await.as_deref(), Some("1"));
        let (_, youngest) = readers.last_mut().unwrap();
        assert_eq!(youngest.data().await, Some(data), "those who stall for the longest time go first");
        drop((healthy, readers));
        hub.is_empty_again().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_crowd_that_reads_the_same_large_update_slowly_pins_it_once() {
    local(async {
        let hub = Hub::start(quiet());
        let mut readers = Vec::new();
        for _ in 0..100 {
            readers.push(hub.subscribe(exact(&["a"]), 1000).await);
        }
        let data = "x".repeat(900_000);
        hub.publish(&["a"], &data).await;
        sleep(Duration::from_millis(300)).await;
        let pinned = hub.node.stats().pinned_bytes;
        assert!((900_000..910_000).contains(&pinned), "{pinned}");
        assert_eq!(readers[7].data().await.as_ref(), Some(&data));
        assert_eq!(stalled(&hub), 0);
        drop(readers);
        hub.is_empty_again().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_frame_counts_once_in_memory_however_many_rings_and_workers_hold_it() {
    local(async {
        let hub = Hub::start(quiet());
        let topics = ["a", "b", "c", "d"];
        let mut readers = Vec::new();
        for topic in topics {
            readers.push(hub.subscribe(exact(&[topic]), 64).await);
        }
        let elsewhere = LocalSet::new();
        let other = elsewhere.run_until(async {
            let reserved = hub.node.enter().reserve(exact(&topics[..1]), None).await.unwrap();
            hub.open(reserved, 64)
        });
        readers.push(other.await);
        let (data, updates) = ("x".repeat(100_000), 5);
        for _ in 0..updates {
            hub.publish(&topics, &data).await;
        }
        elsewhere.run_until(sleep(Duration::from_millis(300))).await;
        let stats = hub.node.stats();
        assert_eq!((stats.ring_frames, stats.ring_frames_max), (readers.len() * updates, updates));
        assert!(stats.ring_bytes > readers.len() * updates * data.len(), "{stats:?}");
        let once = updates * data.len();
        assert!((once..once + 5_000).contains(&stats.frame_bytes), "{stats:?}");
        elsewhere.run_until(async { drop(readers) }).await;
        drop(elsewhere);
        hub.is_empty_again().await;
        assert_eq!(hub.node.stats().frame_bytes, 0, "nobody holds them any more");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_rest_of_a_large_update_does_not_keep_all_of_it_if_it_is_small() {
    local(async {
        let hub = Hub::start(quiet());
        let mut reader = hub.subscribe(exact(&["a"]), 100_000).await;
        let data = "x".repeat(101_000);
        hub.publish(&["a"], &data).await;
        sleep(Duration::from_millis(300)).await;
        let pinned = hub.node.stats().pinned_bytes;
        assert!((1000..=2048).contains(&pinned), "{pinned}");
        assert_eq!(reader.data().await, Some(data));
        drop(reader);
        hub.is_empty_again().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_a_worker_is_bounded_in_bytes() {
    local(async {
        let hub = Hub::start(quiet());
        let elsewhere = LocalSet::new();
        let mut reader = elsewhere
            .run_until(async {
                let worker = hub.node.enter();
                let reserved = worker.reserve(exact(&["a"]), None).await.unwrap();
                hub.open(reserved, 4096)
            })
            .await;
        // Its worker has stopped running.
        let data = "x".repeat(1_000_000);
        for _ in 0..80 {
            hub.publish(&["a"], &data).await;
        }
        sleep(Duration::from_secs(1)).await;
        let received = hub.node.stats().received;
        assert!((64..=68).contains(&received), "the pump waits after 64 MiB: {received}");
        elsewhere
            .run_until(async {
                assert_eq!(reader.data().await, Some(data));
                while hub.node.stats().received < 80 {
                    sleep(Duration::from_millis(10)).await;
                }
            })
            .await;
    })
    .await;
}
