//! Resuming: from any id, at any moment, without a seam.

use crate::harness::{Hub, exact, local, request, resuming, update};
use rivulet_core::{EventId, Grants, Matcher};
use rivulet_node::{CloseReason, NodeConfig, Resumed};

#[tokio::test]
async fn a_known_id_continues_right_after_it() {
    local(async {
        let hub = Hub::start(NodeConfig::default());
        let mut ids = Vec::new();
        for n in 0..200 {
            ids.push(hub.publish(&[if n % 2 == 0 { "even" } else { "odd" }], &n.to_string()).await);
        }
        let reservation = hub.reserve(resuming(exact(&["even", "odd"]), &ids[9])).await.unwrap();
        assert_eq!(reservation.resumed(), Some(Resumed::Known));
        drop(reservation);
        let mut client = hub.subscribe(resuming(exact(&["even", "odd"]), &ids[9]), 256).await;
        for n in 10..200 {
            assert_eq!(client.data().await, Some(n.to_string()), "one id is exact for two topics");
        }
        hub.publish(&["odd"], "live").await;
        assert_eq!(client.data().await.as_deref(), Some("live"));
    })
    .await;
}

#[tokio::test]
async fn unknown_and_future_ids_are_answered_with_earliest() {
    local(async {
        let hub = Hub::start(NodeConfig::default());
        hub.publish(&["a"], "1").await;
        for last in ["nobody-published-this", "#9007199254740991", "#x", "earliest", ""] {
            let reservation = hub.reserve(resuming(exact(&["a"]), last)).await.unwrap();
            assert_eq!(reservation.resumed(), Some(Resumed::Earliest), "{last:?}");
            drop(reservation);
            let mut client = hub.subscribe(resuming(exact(&["a"]), last), 256).await;
            assert_eq!(client.data().await.as_deref(), Some("1"), "{last:?}");
        }
        assert_eq!(hub.reserve(exact(&["a"])).await.unwrap().resumed(), None);
        hub.is_empty_again().await;
    })
    .await;
}

#[tokio::test]
async fn a_publishers_id_that_was_used_twice_means_the_earliest() {
    local(async {
        let hub = Hub::start(NodeConfig::default());
        for n in 0..4 {
            let mut update = update(&["a"], &n.to_string());
            update.id = Some(EventId::parse("mine").unwrap()).filter(|_| n == 1 || n == 3);
            hub.node.publish(update).await.unwrap();
        }
        let mut client = hub.subscribe(resuming(exact(&["a"]), "mine"), 256).await;
        assert_eq!(client.data().await.as_deref(), Some("2"));
        assert_eq!(client.data().await.as_deref(), Some("3"));
    })
    .await;
}

#[tokio::test]
async fn a_replay_is_checked_against_the_current_token() {
    local(async {
        let hub = Hub::start(NodeConfig::default());
        for n in 0..10 {
            let mut update = update(&["a", &format!("user/{}", n % 2)], &n.to_string());
            update.private = true;
            hub.node.publish(update).await.unwrap();
        }
        let mut granted = resuming(request(vec![Matcher::All]), "earliest");
        granted.grants = Grants { publish: vec![], subscribe: vec![Matcher::exact("user/1").unwrap()] };
        let mut client = hub.subscribe(granted, 256).await;
        for n in [1, 3, 5, 7, 9] {
            assert_eq!(client.data().await, Some(n.to_string()));
        }
    })
    .await;
}

/// Subscribers come at every moment of a stream of updates, each with the id of an earlier one: nobody misses one or
/// sees one twice.
#[tokio::test]
async fn there_is_no_seam_between_replay_and_live() {
    local(async {
        const UPDATES: usize = 3000;
        let hub = std::rc::Rc::new(Hub::start(NodeConfig::default()));
        let (ids, last_ids) = tokio::sync::watch::channel(Vec::<String>::new());
        let publisher = tokio::task::spawn_local({
            let hub = hub.clone();
            async move {
                for n in 0..UPDATES {
                    let topic = ["a", "b", "c"][n % 3];
                    let id = hub.publish(&[topic], &n.to_string()).await;
                    ids.send_modify(|ids| ids.push(id));
                }
            }
        });
        let mut readers = Vec::new();
        for start in (0..UPDATES - 100).step_by(97) {
            let (hub, mut last_ids) = (hub.clone(), last_ids.clone());
            readers.push(tokio::task::spawn_local(async move {
                let seen = start + start % 50;
                last_ids.wait_for(|ids| ids.len() > seen).await.unwrap();
                let last = last_ids.borrow()[start].clone();
                let wanted =
                    if start % 2 == 0 { exact(&["a", "b", "c"]) } else { request(vec![Matcher::All]) };
                let mut client = hub.subscribe(resuming(wanted, &last), 300 + start).await;
                for n in start + 1..UPDATES {
                    assert_eq!(client.data().await, Some(n.to_string()), "started after {start}");
                }
            }));
        }
        publisher.await.unwrap();
        for reader in readers {
            reader.await.unwrap();
        }
        hub.is_empty_again().await;
    })
    .await;
}

#[tokio::test]
async fn a_stream_whose_updates_were_discarded_before_it_read_them_ends_and_says_so_when_it_is_back() {
    local(async {
        let hub = Hub::keeping(50);
        let mut slow = hub.subscribe(exact(&["a"]), 64).await;
        for n in 0..3000 {
            hub.publish(&["a"], &n.to_string()).await;
        }
        let mut last = (String::new(), 0);
        while let Some(event) = slow.next().await {
            if let Some(data) = event.data {
                let n: usize = data.parse().unwrap();
                assert!(
                    last.0.is_empty() || n == last.1 + 1,
                    "{n} follows {}: nothing is skipped silently",
                    last.1
                );
                last = (event.id, n);
            }
        }
        assert!(last.1 < 2999, "the stream has ended before");
        assert_eq!(hub.node.stats().closed[CloseReason::ReplayFailed as usize], 1);
        let back = hub.reserve(resuming(exact(&["a"]), &last.0)).await.unwrap();
        assert_eq!(back.resumed(), Some(Resumed::Earliest));
    })
    .await;
}
