//! Replays of many at once: they share what is read, and nobody waits for a page that is no use.

use std::{
    sync::{
        Arc,
        atomic::Ordering::{Relaxed, SeqCst},
    },
    time::Duration,
};

use rivulet_core::{EventId, Matcher};
use rivulet_node::{NodeConfig, SubscribeError};

use crate::{
    harness::{Hub, exact, local, request, update},
    tap::Tap,
};

fn tapped(partitions: u16) -> (Hub, Arc<Tap>) {
    let (tap, feed) = Tap::start(partitions, 100_000);
    let config = NodeConfig { lifetime: None, heartbeat: None, ..NodeConfig::default() };
    (Hub::on(tap.clone(), feed, config), tap)
}

#[tokio::test(start_paused = true)]
async fn a_thousand_that_come_back_at_once_read_little_more_than_one() {
    local(async {
        // Those of several partitions have ids of their own: fewer do here.
        for (partitions, clients, wish) in [(1, 1000, exact(&["a"])), (8, 100, request(vec![Matcher::All]))] {
            let (hub, tap) = tapped(partitions);
            let mut stream = hub.subscribe(wish.clone(), 1 << 16).await;
            hub.publish(&["a"], "start").await;
            let start = stream.event().await.unwrap().id;
            drop(stream);
            for n in 0..300 {
                hub.publish(&[["a", "b", "c"][n % if partitions == 1 { 1 } else { 3 }]], &n.to_string())
                    .await;
            }
            let read = async |clients: usize| {
                tap.reads.store(0, SeqCst);
                let mut readers = Vec::new();
                for n in 0..clients {
                    let reservation = hub.reserve(hub.resuming(wish.clone(), &start)).await.unwrap();
                    let mut reader = hub.open(reservation, 1000 + n * 7);
                    readers.push(tokio::task::spawn_local(async move {
                        for _ in 0..300 {
                            reader.data().await.unwrap();
                        }
                    }));
                }
                for reader in readers {
                    reader.await.unwrap();
                }
                tap.reads.load(SeqCst)
            };
            let one = read(1).await;
            // What the one has read is not kept for so long.
            tokio::time::sleep(Duration::from_secs(3)).await;
            let all = read(clients).await;
            assert!(all <= 20 * one, "{all} reads for {clients}, {one} for one");
            hub.is_empty_again().await;
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn clients_that_come_back_at_different_places_share_too() {
    local(async {
        let (hub, tap) = tapped(1);
        let mut ids = Vec::new();
        for n in 0..600 {
            ids.push(hub.publish(&["a"], &n.to_string()).await);
        }
        let mut clients = Vec::new();
        for (n, id) in ids.iter().enumerate().take(300) {
            clients.push((n, hub.subscribe(hub.resuming(exact(&["a"]), id), 1 << 17).await));
        }
        for (start, client) in &mut clients {
            for n in *start + 1..600 {
                assert_eq!(client.data().await, Some(n.to_string()));
            }
        }
        let reads = tap.reads.load(SeqCst);
        assert!(reads < 40, "{reads} reads for 300 clients that need 10 at most each");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn where_a_publishers_id_stands_is_asked_once_for_all() {
    local(async {
        let (hub, tap) = tapped(1);
        let hub = std::rc::Rc::new(hub);
        for n in 0..20 {
            let mut update = update(&["a"], &n.to_string());
            update.id = Some(EventId::parse("mine").unwrap()).filter(|_| n == 9);
            hub.node.publish(update, None, Vec::new()).await.unwrap();
        }
        for (id, first) in [("mine", 10), ("nobody's", 0)] {
            let come_back = |n: usize| {
                let (hub, wish) = (hub.clone(), hub.resuming(exact(&["a"]), id));
                tokio::task::spawn_local(async move {
                    // Some come together, some when the answer is there.
                    tokio::time::sleep(Duration::from_millis(n as u64 / 100)).await;
                    let mut client = hub.subscribe(wish, 1 << 12).await;
                    if first == 0 {
                        client.gap().await;
                    }
                    for n in first..20 {
                        assert_eq!(client.data().await, Some(n.to_string()));
                    }
                })
            };
            for client in (0..300).map(come_back).collect::<Vec<_>>() {
                client.await.unwrap();
            }
            assert_eq!(tap.locates.swap(0, SeqCst), 1, "{id}");
        }
        // An id that was not known may be now: an answer does not serve for long.
        let mut named = update(&["a"], "20");
        named.id = Some(EventId::parse("nobody's").unwrap());
        hub.node.publish(named, None, Vec::new()).await.unwrap();
        tokio::time::sleep(Duration::from_secs(3)).await;
        hub.publish(&["a"], "21").await;
        let mut client = hub.subscribe(hub.resuming(exact(&["a"]), "nobody's"), 1 << 12).await;
        assert_eq!(client.data().await.as_deref(), Some("21"));
        drop(client);
        hub.is_empty_again().await;
    })
    .await;
}

#[tokio::test]
async fn large_updates_are_read_one_by_one() {
    local(async {
        let (hub, tap) = tapped(1);
        let data = "x".repeat(1 << 20);
        for _ in 0..20 {
            hub.publish(&["a"], &data).await;
        }
        let mut client = hub.subscribe(hub.resuming(exact(&["a"]), "earliest"), 1 << 16).await;
        for _ in 0..20 {
            assert_eq!(client.data().await.unwrap().len(), 1 << 20);
        }
        assert_eq!(*tap.largest.lock(), [1, 1 << 20]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_read_for_streams_that_have_ended() {
    local(async {
        let (tap, feed) = Tap::start(1, 100_000);
        let hub = Hub::on(tap.clone(), feed, NodeConfig { replay_reads_max: 1, ..NodeConfig::default() });
        // A page holds one of them: nobody can take another's.
        let data = "x".repeat(100_000);
        let mut clients = Vec::new();
        for _ in 0..20 {
            let id = hub.publish(&["a"], &data).await;
            hub.publish(&["a"], &data).await;
            hub.publish(&["a"], &data).await;
            clients.push(hub.subscribe(hub.resuming(exact(&["a"]), &id), 64).await);
        }
        // The pages are not kept for so long.
        tokio::time::sleep(Duration::from_secs(3)).await;
        let closed = tap.gate.write().await;
        tap.reads.store(0, SeqCst);
        for client in &mut clients {
            client.data().await.unwrap();
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        drop(clients);
        hub.is_empty_again().await;
        drop(closed);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(tap.reads.load(SeqCst), 1, "that had begun");
    })
    .await;
}

#[tokio::test]
async fn a_page_from_the_end_of_the_log_is_not_given_to_who_needs_more() {
    local(async {
        for (partitions, wish) in [(1, exact(&["a"])), (8, exact(&["a", "b", "c"]))] {
            let (hub, tap) = tapped(partitions);
            let mut live = hub.subscribe(wish.clone(), 1 << 16).await;
            hub.publish(&["a"], "0").await;
            let start = live.event().await.unwrap().id;
            for round in 1..50 {
                hub.publish(&["a"], &round.to_string()).await;
                live.event().await.unwrap();
                tap.reads.store(0, SeqCst);
                // The pages of the rounds before are still kept, and end before what the rings have seen.
                let mut client = hub.subscribe(hub.resuming(wish.clone(), &start), 4096).await;
                for n in 1..=round {
                    assert_eq!(client.data().await, Some(n.to_string()));
                }
                let reads = tap.reads.load(SeqCst);
                assert!(reads <= 9, "{reads} reads in round {round}");
            }
            drop(live);
            hub.is_empty_again().await;
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_log_that_cannot_be_read_refuses_at_once_and_delays_who_is_seated() {
    local(async {
        let (hub, tap) = tapped(1);
        for n in 0..200 {
            hub.publish(&["a"], &n.to_string()).await;
        }
        let mut client = hub.subscribe(hub.resuming(exact(&["a"]), "earliest"), 64).await;
        assert_eq!(client.data().await.as_deref(), Some("0"));
        tap.broken.store(true, SeqCst);
        tokio::time::sleep(Duration::from_secs(3)).await;
        let started = std::time::Instant::now();
        let refused = hub.reserve(hub.resuming(exact(&["a"]), "#5")).await;
        assert!(matches!(refused, Err(SubscribeError::Transport(_))));
        assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
        let mended = tokio::task::spawn_local(async move {
            tokio::time::sleep(Duration::from_secs(8)).await;
            tap.broken.store(false, Relaxed);
        });
        for n in 1..200 {
            assert_eq!(client.data().await, Some(n.to_string()));
        }
        assert!(mended.is_finished(), "it held nothing of the log while it took nothing");
        drop(client);
        hub.is_empty_again().await;
    })
    .await;
}
