//! Gaps: said exactly to those who lost something, once, and to nobody else.

use std::sync::Arc;

use rivulet_core::{EventId, Matcher, Partition, Partitions, Topic};
use rivulet_node::{NodeConfig, Resumed};

use crate::{
    harness::{Client, Hub, exact, local, memory, request, update},
    tap::Tap,
};

fn tapped(partitions: u16, count: usize) -> (Hub, Arc<Tap>) {
    let (tap, feed) = Tap::start(partitions, count);
    (Hub::on(tap.clone(), feed, NodeConfig::default()), tap)
}

fn gap(topics: &str, oldest: &str) -> String {
    format!(r#"{{"topics":[{topics}],"oldest":"{oldest}"}}"#)
}

async fn expect(client: &mut Client, expected: &[&str]) {
    for data in expected {
        assert_eq!(client.data().await.as_deref(), Some(*data));
    }
}

#[tokio::test]
async fn a_gap_names_the_topics_that_lost_updates() {
    local(async {
        for partitions in [1, 8] {
            let (transport, feed) = memory(partitions, 3);
            let hub = Hub::on(transport, feed, NodeConfig::default());
            let mut stream = hub.subscribe(exact(&["busy", "quiet"]), 1 << 16).await;
            hub.publish(&["quiet"], "q0").await;
            hub.publish(&["busy"], "b0").await;
            expect(&mut stream, &["q0"]).await;
            let last = stream.event().await.unwrap().id;
            let mut ids = Vec::new();
            for n in 1..=9 {
                ids.push(hub.publish(&["busy"], &format!("b{n}")).await);
            }
            hub.publish(&["quiet"], "q1").await;
            let wish = hub.resuming(exact(&["busy", "quiet"]), &last);
            let reservation = hub.reserve(wish).await.unwrap();
            assert_eq!(reservation.resumed(), Some(Resumed::Earliest));
            let mut client = hub.open(reservation, 4096);
            let mut got = Vec::new();
            let mut gaps = Vec::new();
            for _ in 0..5 {
                let event = client.event().await.unwrap();
                match event.event_type {
                    Some(_) => gaps.push((event.data.unwrap(), event.id)),
                    None => got.push(event.data.unwrap()),
                }
            }
            got.sort();
            assert_eq!(got, ["b7", "b8", "b9", "q1"]);
            assert_eq!(gaps[0].0, gap(r#""busy""#, &ids[6]));
            // The gap's own id leads to what is kept, without another gap.
            let after = hub.reserve(hub.resuming(exact(&["busy", "quiet"]), &gaps[0].1)).await.unwrap();
            assert_eq!(after.resumed(), Some(Resumed::Known));
            let quiet = hub.reserve(hub.resuming(exact(&["quiet"]), &last)).await.unwrap();
            assert_eq!(quiet.resumed(), Some(Resumed::Known), "it lost nothing");
        }
    })
    .await;
}

#[tokio::test]
async fn ids_that_are_not_of_this_hub_get_one_gap_and_everything() {
    local(async {
        let hub = Hub::partitioned(8);
        let names: Vec<String> = (0..20).map(|n| format!("topic-{n}")).collect();
        for name in &names {
            hub.publish(&[name], name).await;
        }
        let all = || request(vec![Matcher::All]);
        for last in ["nobody-published-this", "#5", "#64:5", "#8:5,9+1", "#8:9007199254740991", "#8:x"] {
            let reservation = hub.reserve(hub.resuming(all(), last)).await.unwrap();
            assert_eq!(reservation.resumed(), Some(Resumed::Earliest), "{last:?}");
            let mut client = hub.open(reservation, 200);
            let (told, id) = client.gap().await;
            assert!(told.starts_with(r#"{"topics":["*"],"oldest":"#), "{told}");
            let mut got = Vec::new();
            for _ in &names {
                got.push(client.data().await.unwrap());
            }
            got.sort();
            let mut expected = names.clone();
            expected.sort();
            assert_eq!(got, expected, "{last:?}");
            drop(client);
            // The gap's id is before everything that followed.
            let again = hub.reserve(hub.resuming(all(), &id)).await.unwrap();
            assert_eq!(again.resumed(), Some(Resumed::Known), "{id}");
            let mut again = hub.open(again, 200);
            for _ in &names {
                again.data().await.unwrap();
            }
        }
        let mut client = hub.subscribe(hub.resuming(all(), "earliest"), 200).await;
        for _ in &names {
            client.data().await.unwrap();
        }
        hub.publish(&["live"], "live").await;
        expect(&mut client, &["live"]).await;
    })
    .await;
}

#[tokio::test]
async fn a_publishers_id_is_known_over_all_partitions_of_a_young_hub() {
    local(async {
        let hub = Hub::partitioned(8);
        let names: Vec<String> = (0..20).map(|n| format!("topic-{n}")).collect();
        for name in &names {
            let mut update = update(&[name], name);
            update.id = EventId::parse(&format!("id-{name}")).ok();
            hub.node.publish(update, None, Vec::new()).await.unwrap();
        }
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let wish = hub.resuming(exact(&names), "id-topic-9");
        let reservation = hub.reserve(wish).await.unwrap();
        assert_eq!(reservation.resumed(), Some(Resumed::Known));
        let mut client = hub.open(reservation, 300);
        let mut got = std::collections::HashSet::new();
        // What stands in other partitions shortly before it may come again; what comes after it must.
        while !(10..20).all(|n| got.contains(&format!("topic-{n}"))) {
            assert!(got.insert(client.data().await.unwrap()));
        }
        assert!(!got.contains("topic-9"));
    })
    .await;
}

fn partition(partitions: u16, name: &str) -> Partition {
    Partitions::new(partitions).unwrap().of(&Topic::parse(name).unwrap())
}

#[tokio::test]
async fn what_the_feed_lost_is_read_from_the_log_and_nobody_is_told_of_a_gap() {
    local(async {
        for (partitions, topics) in [(1, None), (1, Some(&["a"][..])), (8, None), (8, Some(&["a"]))] {
            let (hub, tap) = tapped(partitions, 100_000);
            let home = partition(partitions, "a");
            let mut clients = vec![
                hub.subscribe(exact(&["a"]), 4096).await,
                hub.subscribe(exact(&["a", "b", "c", "d"]), 4096).await,
                hub.subscribe(request(vec![Matcher::All]), 4096).await,
            ];
            let mut other = hub.subscribe(exact(&["other"]), 4096).await;
            hub.publish(&["a"], "before").await;
            hub.publish(&["other"], "before").await;
            for client in &mut clients {
                expect(client, &["before"]).await;
            }
            expect(&mut clients[2], &["before"]).await;
            expect(&mut other, &["before"]).await;
            tap.go_deaf(home);
            for n in 0..500 {
                hub.publish(&["a"], &n.to_string()).await;
            }
            tap.hear_again(home, topics).await;
            hub.publish(&["a"], "after").await;
            for client in &mut clients {
                for n in 0..500 {
                    assert_eq!(client.data().await, Some(n.to_string()));
                }
                expect(client, &["after"]).await;
            }
            hub.publish(&["other"], "live").await;
            expect(&mut other, &["live"]).await;
            expect(&mut clients[2], &["live"]).await;
            drop((clients, other));
            hub.is_empty_again().await;
        }
    })
    .await;
}

#[tokio::test]
async fn what_the_feed_and_the_log_lost_is_told_to_those_who_lack_it() {
    local(async {
        for partitions in [1, 8] {
            let (hub, tap) = tapped(partitions, 5);
            let home = partition(partitions, "a");
            let mut client = hub.subscribe(exact(&["a"]), 4096).await;
            let mut several = hub.subscribe(exact(&["b", "a"]), 4096).await;
            let mut all = hub.subscribe(request(vec![Matcher::All]), 4096).await;
            let mut other = hub.subscribe(exact(&["b"]), 4096).await;
            tap.go_deaf(home);
            let mut ids = Vec::new();
            for n in 0..20 {
                ids.push(hub.publish(&["a"], &n.to_string()).await);
            }
            tap.hear_again(home, None).await;
            for (client, names) in [(&mut client, r#""a""#), (&mut several, r#""a""#), (&mut all, r#""a""#)] {
                let (told, id) = client.gap().await;
                assert_eq!(told, gap(names, &ids[15]));
                assert_ne!(id, ids[15]);
                expect(client, &["15", "16", "17", "18", "19"]).await;
            }
            hub.publish(&["b"], "b").await;
            hub.publish(&["a"], "a").await;
            expect(&mut client, &["a"]).await;
            expect(&mut other, &["b"]).await;
            for client in [&mut several, &mut all] {
                let mut got = [client.data().await, client.data().await];
                got.sort();
                assert_eq!(got, [Some("a".to_owned()), Some("b".to_owned())]);
            }
            drop((client, several, all, other));
            hub.is_empty_again().await;
        }
    })
    .await;
}

/// The memory transport's own feed, not taken for so long that the log has discarded what it missed.
#[tokio::test]
async fn a_node_that_took_its_feed_too_slowly_says_what_is_lost() {
    local(async {
        let (transport, feed) = memory(1, 50);
        let hub = Hub::on(transport.clone(), feed, NodeConfig::default());
        let mut client = hub.subscribe(exact(&["a"]), 1 << 16).await;
        let mut other = hub.subscribe(exact(&["b"]), 1 << 16).await;
        let publish = |n: usize| {
            let appended =
                rivulet_node::Transport::append(&*transport, update(&["a"], &n.to_string()), None, &[]);
            async { appended.await.unwrap() }
        };
        for n in 0..5000 {
            // Without a pause in which the node could take anything.
            publish(n).await;
        }
        let (mut next, mut gaps) = (0, 0);
        while next < 5000 {
            let event = client.event().await.unwrap();
            match event.event_type {
                Some(_) => gaps += 1,
                None => {
                    let n: usize = event.data.unwrap().parse().unwrap();
                    assert!(n == next || (n > next && gaps == 1), "{n} after {next}");
                    next = n + 1;
                }
            }
        }
        assert_eq!(gaps, 1);
        hub.publish(&["b"], "b").await;
        expect(&mut other, &["b"]).await;
    })
    .await;
}
