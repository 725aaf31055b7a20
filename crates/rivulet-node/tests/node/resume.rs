//! Resuming: from any id, at any moment, without a seam.

use crate::harness::{Hub, exact, local, request, update};
use rivulet_core::{EventId, Grants, Matcher};
use rivulet_node::{NodeConfig, Resumed};

#[tokio::test]
async fn a_known_id_continues_right_after_it() {
    local(async {
        let hub = Hub::start(NodeConfig::default());
        let mut ids = Vec::new();
        for n in 0..200 {
            ids.push(hub.publish(&[if n % 2 == 0 { "even" } else { "odd" }], &n.to_string()).await);
        }
        let reservation = hub.reserve(hub.resuming(exact(&["even", "odd"]), &ids[9])).await.unwrap();
        assert_eq!(reservation.resumed(), Some(Resumed::Known));
        drop(reservation);
        let mut client = hub.subscribe(hub.resuming(exact(&["even", "odd"]), &ids[9]), 256).await;
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
        let first = hub.publish(&["a"], "1").await;
        for last in ["nobody-published-this", "#9007199254740991", "#x", "earliest", ""] {
            let reservation = hub.reserve(hub.resuming(exact(&["a"]), last)).await.unwrap();
            assert_eq!(reservation.resumed(), Some(Resumed::Earliest), "{last:?}");
            drop(reservation);
            let mut client = hub.subscribe(hub.resuming(exact(&["a"]), last), 256).await;
            if last != "earliest" {
                let (gap, id) = client.gap().await;
                assert_eq!(gap, format!(r#"{{"topics":["a"],"oldest":"{first}"}}"#), "{last:?}");
                assert!(id < first, "what follows stands after {id}");
            }
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
            hub.node.publish(update, None, Vec::new()).await.unwrap();
        }
        let mut client = hub.subscribe(hub.resuming(exact(&["a"]), "mine"), 256).await;
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
            hub.node.publish(update, None, Vec::new()).await.unwrap();
        }
        let mut granted = hub.resuming(request(vec![Matcher::All]), "earliest");
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
                let mut client = hub.subscribe(hub.resuming(wanted, &last), 300 + start).await;
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
async fn a_stream_whose_updates_were_discarded_before_it_read_them_goes_on_and_says_so() {
    local(async {
        let hub = Hub::keeping(50);
        let mut slow = hub.subscribe(exact(&["a"]), 64).await;
        let mut ids = Vec::new();
        for n in 0..3000 {
            ids.push(hub.publish(&["a"], &n.to_string()).await);
        }
        let (mut next, mut gaps) = (0, 0);
        while next < 3000 {
            let event = slow.event().await.unwrap();
            let data = event.data.unwrap();
            if event.event_type.is_some() {
                let oldest =
                    ids.iter().position(|id| data.contains(&format!("\"oldest\":\"{id}\""))).unwrap();
                assert!(data.starts_with(r#"{"topics":["a"],"#) && oldest > next, "{data} after {next}");
                (next, gaps) = (oldest, gaps + 1);
            } else {
                assert_eq!(data, next.to_string(), "nothing is skipped silently");
                next += 1;
            }
        }
        assert_eq!(gaps, 1);
        hub.publish(&["a"], "live").await;
        assert_eq!(slow.data().await.as_deref(), Some("live"));
        let mut back = hub.subscribe(hub.resuming(exact(&["a"]), &ids[10]), 4096).await;
        assert!(back.gap().await.0.starts_with(r#"{"topics":["a"],"oldest":"#));
        drop((slow, back));
        hub.is_empty_again().await;
    })
    .await;
}
