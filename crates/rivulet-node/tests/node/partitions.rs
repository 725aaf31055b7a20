//! Seats over several partitions: order, ids of their own, the seam, and updates that stand in more than one.

use std::{collections::HashSet, rc::Rc, time::Duration};

use rivulet_core::{EventId, Matcher, Partitions};
use rivulet_node::{NodeConfig, Resumed, SubscribeRequest};

use crate::harness::{Client, Event, Hub, exact, local, request, update};

const TOPICS: [&str; 10] = ["t0", "t1", "t2", "t3", "t4", "t5", "t6", "t7", "t8", "t9"];

/// Two topics of different partitions, of 8.
fn apart() -> [&'static str; 2] {
    let partitions = Partitions::new(8).unwrap();
    let of = |name: &str| partitions.of(&rivulet_core::Topic::parse(name).unwrap());
    let other = TOPICS.into_iter().find(|name| of(name) != of("t0")).unwrap();
    ["t0", other]
}

async fn take(client: &mut Client, len: usize) -> Vec<Event> {
    let mut events = Vec::with_capacity(len);
    for _ in 0..len {
        let event = client.event().await.unwrap();
        assert_eq!(event.event_type, None, "nothing is missing");
        events.push(event);
    }
    events
}

fn wishes() -> [SubscribeRequest; 2] {
    [exact(&TOPICS), request(vec![Matcher::exact("t3").unwrap(), Matcher::All])]
}

#[tokio::test]
async fn every_id_of_a_stream_over_several_partitions_continues_exactly_after_it() {
    local(async {
        for wish in wishes() {
            let hub = Hub::partitioned(8);
            let mut stream = hub.subscribe(wish.clone(), 100).await;
            for n in 0..200_usize {
                hub.publish(&[TOPICS[n * n % 10]], &format!("{n} {}", "x".repeat(n))).await;
            }
            let events = take(&mut stream, 200).await;
            for at in [0, 1, 17, 100, 198, 199] {
                let resumed = hub.resuming(wish.clone(), &events[at].id);
                let reservation = hub.reserve(resumed).await.unwrap();
                assert_eq!(reservation.resumed(), Some(Resumed::Known), "{}", events[at].id);
                let mut client = hub.open(reservation, 64);
                let mut seen: HashSet<_> = events[..=at].iter().map(|event| event.data.clone()).collect();
                for event in take(&mut client, 199 - at).await {
                    assert!(seen.insert(event.data), "once");
                }
            }
            drop(stream);
            hub.is_empty_again().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_stream_of_one_partition_has_short_ids() {
    local(async {
        let hub = Hub::partitioned(8);
        let mut client = hub.subscribe(exact(&["t0"]), 4096).await;
        let id = hub.publish(&["t0"], "one").await;
        assert!(id.starts_with("#8:") && !id.contains(','), "{id}");
        assert_eq!(client.event().await.unwrap().id, id);
        let mut own = update(&["t0"], "two");
        own.id = EventId::parse("mine").ok();
        hub.node.publish(own, None, Vec::new()).await.unwrap();
        assert_eq!(client.event().await.unwrap().id, "mine");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn ids_become_short_again_once_all_partitions_are_verified() {
    local(async {
        let hub = Hub::on_memory(8, NodeConfig { lifetime: None, ..NodeConfig::default() });
        let mut client = hub.subscribe(request(vec![Matcher::All]), 1 << 16).await;
        for name in TOPICS {
            hub.publish(&[name], name).await;
        }
        let events = take(&mut client, 10).await;
        assert!(events[9].id.contains(','), "{}", events[9].id);
        let beat = client.next().await.unwrap();
        assert!(beat.data.is_none() && beat.id.starts_with("#8:") && !beat.id.contains(','), "{}", beat.id);
        let known = hub.reserve(hub.resuming(request(vec![Matcher::All]), &beat.id)).await.unwrap();
        assert_eq!(known.resumed(), Some(Resumed::Known));
        tokio::time::sleep(Duration::from_secs(3)).await;
        hub.publish(&["t0"], "later").await;
        let later = client.event().await.unwrap();
        assert!(later.id.matches(',').count() <= 1, "{}", later.id);
    })
    .await;
}

/// Subscribers come at every moment of a stream of updates, each with the id of an earlier one: nobody misses one or
/// sees one twice, and each partition is in order.
#[tokio::test]
async fn there_is_no_seam_between_replay_and_live_over_several_partitions() {
    local(async {
        const UPDATES: usize = 2000;
        for wish in wishes() {
            let hub = Rc::new(Hub::partitioned(8));
            let mut observer = hub.subscribe(wish.clone(), 1 << 16).await;
            let (seen, last_ids) = tokio::sync::watch::channel(Vec::<Event>::new());
            let publisher = tokio::task::spawn_local({
                let hub = hub.clone();
                async move {
                    for n in 0..UPDATES {
                        hub.publish(&[TOPICS[n % 10]], &n.to_string()).await;
                        tokio::task::yield_now().await;
                    }
                }
            });
            let observing = tokio::task::spawn_local(async move {
                for _ in 0..UPDATES {
                    let event = observer.event().await.unwrap();
                    seen.send_modify(|events| events.push(event));
                }
            });
            let mut readers = Vec::new();
            for start in (0..UPDATES - 100).step_by(97) {
                let (hub, mut last_ids, wish) = (hub.clone(), last_ids.clone(), wish.clone());
                readers.push(tokio::task::spawn_local(async move {
                    last_ids.wait_for(|events| events.len() > start + start % 50).await.unwrap();
                    let before: Vec<_> = last_ids.borrow()[..=start].to_vec();
                    let mut client = hub.subscribe(hub.resuming(wish, &before[start].id), 100 + start).await;
                    let number = |event: &Event| event.data.as_ref().unwrap().parse::<usize>().unwrap();
                    let mut missing: HashSet<usize> = (0..UPDATES).collect();
                    let mut last = [None; 10];
                    before.iter().for_each(|event| _ = missing.remove(&number(event)));
                    while !missing.is_empty() {
                        let event = client.event().await.unwrap();
                        let n = number(&event);
                        assert!(missing.remove(&n), "{n} again, after {start}");
                        assert!(last[n % 10] < Some(n), "{n} after {:?}", last[n % 10]);
                        last[n % 10] = Some(n);
                    }
                }));
            }
            publisher.await.unwrap();
            observing.await.unwrap();
            for reader in readers {
                reader.await.unwrap();
            }
            hub.is_empty_again().await;
        }
    })
    .await;
}

#[tokio::test]
async fn an_update_that_stands_in_two_partitions_arrives_once() {
    local(async {
        let [here, there] = apart();
        let template = |text: &str| Matcher::selector(text).unwrap();
        let wishes = [
            exact(&[here, there]),
            exact(&[here]),
            exact(&[there]),
            request(vec![Matcher::All]),
            request(vec![Matcher::exact(there).unwrap(), template("{x}")]),
            request(vec![Matcher::exact(here).unwrap(), template("nothing/{x}")]),
            request(vec![
                template("nothing/{x}"),
                Matcher::exact(there).unwrap(),
                Matcher::exact(here).unwrap(),
            ]),
        ];
        let hub = Hub::partitioned(8);
        let mut clients = Vec::new();
        for wish in &wishes {
            clients.push(hub.subscribe(wish.clone(), 4096).await);
        }
        let mut expected = Vec::new();
        for n in 0..50 {
            let topics = if n % 2 == 0 { [here, there] } else { [there, here] };
            hub.publish(&topics, &n.to_string()).await;
            expected.push(Some(n.to_string()));
        }
        hub.publish(&[here], "end").await;
        hub.publish(&[there], "end").await;
        for wish in &wishes {
            clients.push(hub.subscribe(hub.resuming(wish.clone(), "earliest"), 300).await);
        }
        for (nth, mut client) in clients.into_iter().enumerate() {
            let ends = if nth % 7 == 1 || nth % 7 == 2 || nth % 7 == 5 { 1 } else { 2 };
            let mut got: Vec<_> =
                take(&mut client, 50 + ends).await.into_iter().map(|event| event.data).collect();
            got.retain(|data| data.as_deref() != Some("end"));
            got.sort_by_key(|data| data.as_ref().unwrap().parse::<usize>().unwrap());
            assert_eq!(got, expected, "client {nth}");
        }
        hub.is_empty_again().await;
    })
    .await;
}

/// Most ids name one position, which another partition that has nothing to do may not have reached yet.
#[tokio::test]
async fn an_id_from_a_busy_partition_continues_in_an_idle_one() {
    local(async {
        let [busy, idle] = apart();
        let hub = Hub::partitioned(8);
        hub.publish(&[idle], "before").await;
        let last = hub.publish(&[busy], "last").await;
        for wish in [exact(&[idle]), exact(&[busy, idle]), request(vec![Matcher::All])] {
            let reservation = hub.reserve(hub.resuming(wish, &last)).await.unwrap();
            assert_eq!(reservation.resumed(), Some(Resumed::Known), "{last}");
            let mut client = hub.open(reservation, 4096);
            let live = hub.publish(&[idle], "live").await;
            assert_eq!(client.data().await.as_deref(), Some("live"));
            drop(client);
            // Far ahead it is of no partition's history.
            let position: u64 = live.trim_start_matches("#8:").parse().unwrap();
            let ahead = format!("#8:{}", position + 3_600_000_000);
            let future = hub.reserve(hub.resuming(exact(&[idle]), &ahead)).await.unwrap();
            assert_eq!(future.resumed(), Some(Resumed::Earliest));
        }
    })
    .await;
}
