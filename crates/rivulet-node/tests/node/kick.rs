//! Kicks: whom they end, and what becomes of a reservation.

use std::time::Duration;

use crate::{
    harness::{Client, Hub, exact, local, request},
    tap::Tap,
};
use rivulet_core::Matcher;
use rivulet_node::{
    CloseReason, FeedEvent, Kick, KickReport, KickTarget, NodeConfig, SubscribeError, SubscribeRequest,
    Worker,
};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep},
};

struct Someone<'a> {
    subject: &'a str,
    ip: &'a str,
    wish: SubscribeRequest,
}

fn everybody() -> [Someone<'static>; 4] {
    [
        Someone { subject: "sub:ann", ip: "192.0.2.1", wish: exact(&["a", "b"]) },
        Someone { subject: "sub:ann", ip: "192.0.2.2", wish: exact(&["b"]) },
        Someone { subject: "sub:bob", ip: "::ffff:192.0.2.1", wish: exact(&["c"]) },
        Someone { subject: "sub:cid", ip: "2001:db8::1", wish: request(vec![Matcher::All]) },
    ]
}

#[tokio::test(start_paused = true)]
async fn a_kick_ends_whom_it_names_and_nobody_else() {
    let subject = |name: &str| KickTarget { subject: Some(name.to_owned()), ..KickTarget::default() };
    let ip = |ip: &str| KickTarget { ip: Some(ip.parse().unwrap()), ..KickTarget::default() };
    let topic = |topic: &str| KickTarget { topic: Some(topic.to_owned()), ..KickTarget::default() };
    let cases = [
        (subject("sub:ann"), &[0, 1][..]),
        (subject("ann"), &[]),
        (ip("192.0.2.1"), &[0, 2]),
        (ip("2001:db8::1"), &[3]),
        (topic("b"), &[0, 1]),
        (topic("*"), &[3]),
        (KickTarget { ip: Some("192.0.2.2".parse().unwrap()), ..subject("sub:ann") }, &[1]),
        (KickTarget { ip: Some("192.0.2.2".parse().unwrap()), ..subject("sub:bob") }, &[]),
    ];
    for (target, expected) in cases {
        local(async {
            let hub = Hub::start(NodeConfig::default());
            let workers = [hub.worker.clone(), hub.node.enter()];
            let mut clients = Vec::new();
            for (nth, who) in everybody().into_iter().enumerate() {
                let reserved =
                    hub.reserve_as(&workers[nth % 2], who.wish, who.subject, who.ip).await.unwrap();
                clients.push(hub.open(reserved, 4096));
            }
            let report = hub.node.kick(target.clone()).await.unwrap();
            let all = KickReport { ended: expected.len(), nodes: 1, nodes_unanswered: 0 };
            assert_eq!(report, all, "{target:?}");
            assert_eq!(hub.node.stats().closed[CloseReason::Kicked as usize], expected.len() as u64);
            hub.publish(&["a", "b", "c"], "still here").await;
            for (nth, client) in clients.iter_mut().enumerate() {
                let event = client.next().await;
                assert_eq!(event.is_none(), expected.contains(&nth), "{nth} of {target:?}: {event:?}");
            }
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn one_subscriber_is_kicked_by_its_id_and_not_told_to_come_back() {
    local(async {
        let hub = Hub::start(NodeConfig::default());
        let reserved = hub.reserve(exact(&["a"])).await.unwrap();
        let subscriber = Some(reserved.subscriber_id());
        let mut client = hub.open(reserved, 4096);
        let other = hub.subscribe(exact(&["a"]), 4096).await;
        let target = KickTarget { subscriber, ..KickTarget::default() };
        assert_eq!(hub.node.kick(target.clone()).await.unwrap().ended, 1);
        assert_eq!(client.retry_at_end().await, None);
        assert_eq!(hub.node.kick(target).await.unwrap().ended, 0, "it has gone");
        assert_eq!(hub.node.stats().connections, 1);
        drop(other);
        hub.is_empty_again().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_kick_that_names_nobody_ends_nobody() {
    local(async {
        let (tap, feed) = Tap::start(1, 100);
        let hub = Hub::on(tap.clone(), feed, NodeConfig::default());
        let _client = hub.subscribe(exact(&["a"]), 4096).await;
        assert!(hub.node.kick(KickTarget::default()).await.is_err());
        // Nor if another node says so.
        assert_eq!(kick(&tap, KickTarget::default(), None).await, 0);
        assert_eq!(hub.node.stats().connections, 1);
    })
    .await;
}

async fn kick(tap: &Tap, target: KickTarget, count_max: Option<usize>) -> usize {
    let (ended, answer) = oneshot::channel();
    tap.say(FeedEvent::Kick(Box::new(Kick { target, count_max, before: None, ended })));
    answer.await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_kick_with_a_number_ends_the_youngest_of_all_workers() {
    local(async {
        let (tap, feed) = Tap::start(1, 100);
        let hub = Hub::on(tap.clone(), feed, NodeConfig { lifetime: None, ..NodeConfig::default() });
        let workers = [hub.worker.clone(), hub.node.enter()];
        let subscribe = async |worker: &Worker| {
            let reserved = hub.reserve_as(worker, exact(&["a"]), "sub:ann", "192.0.2.1").await.unwrap();
            sleep(Duration::from_secs(1)).await;
            hub.open(reserved, 4096)
        };
        let mut clients: Vec<Client> = Vec::new();
        for nth in [0, 1, 1, 0, 0, 1, 0, 0] {
            clients.push(subscribe(&workers[nth]).await);
        }
        let target = KickTarget { subject: Some("sub:ann".to_owned()), ..KickTarget::default() };
        assert_eq!(kick(&tap, target.clone(), Some(3)).await, 3);
        for mut young in clients.drain(5..) {
            assert_eq!(young.retry_at_end().await, None);
        }
        assert_eq!(hub.node.stats().connections, 5, "the oldest are still there");
        assert_eq!(kick(&tap, target.clone(), Some(0)).await, 0);
        assert_eq!(kick(&tap, target, Some(100)).await, 5);
        hub.is_empty_again().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_late_kick_ends_those_who_were_there_when_it_was_told() {
    local(async {
        let (tap, feed) = Tap::start(1, 100);
        let hub = Hub::on(tap.clone(), feed, NodeConfig { lifetime: None, ..NodeConfig::default() });
        let start = Instant::now();
        let mut clients: Vec<Client> = Vec::new();
        for _ in 0..10 {
            sleep(Duration::from_secs(1)).await;
            clients.push(hub.subscribe(exact(&["a"]), 4096).await);
        }
        let late = async |told_s: f64| {
            let (ended, answer) = oneshot::channel();
            let target = KickTarget { topic: Some("a".to_owned()), ..KickTarget::default() };
            let before = Some(start + Duration::from_secs_f64(told_s));
            tap.say(FeedEvent::Kick(Box::new(Kick { target, count_max: None, before, ended })));
            answer.await.unwrap()
        };
        assert_eq!(late(0.0).await, 0, "nobody was there");
        assert_eq!(late(4.001).await, 4, "also who came just before it was told");
        assert_eq!(late(4.4).await, 0, "again; the next came afterwards");
        assert_eq!(late(4.99).await, 1, "or perhaps not: who is meant must not stay");
        sleep(Duration::from_secs(100)).await;
        assert_eq!(late(8.4).await, 3, "however late it is");
        for mut ended in clients.drain(..8) {
            assert_eq!(ended.retry_at_end().await, None, "not to come back");
        }
        assert_eq!(hub.node.stats().connections, 2);
        drop(clients);
        hub.is_empty_again().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_kick_whose_asker_has_given_up_is_not_begun() {
    local(async {
        let (tap, feed) = Tap::start(1, 100);
        let hub = Hub::on(tap.clone(), feed, NodeConfig::default());
        let _stays = hub.subscribe(exact(&["a"]), 4096).await;
        let _goes = hub.subscribe(exact(&["b"]), 4096).await;
        let topic = |topic: &str| KickTarget { topic: Some(topic.to_owned()), ..KickTarget::default() };
        for count_max in [None, Some(1)] {
            let (ended, answer) = oneshot::channel();
            drop(answer);
            let kick = Kick { target: topic("a"), count_max, before: None, ended };
            tap.say(FeedEvent::Kick(Box::new(kick)));
        }
        // Kicks are carried out one after another: when this one is done, those before it are over.
        assert_eq!(kick(&tap, topic("b"), None).await, 1);
        assert_eq!(hub.node.stats().connections, 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_reservation_that_is_kicked_fails_cleanly() {
    local(async {
        let (tap, feed) = Tap::start(1, 100);
        let hub = Hub::on(tap.clone(), feed, NodeConfig::default());
        let id = hub.publish(&["a"], "1").await;
        let target = KickTarget { topic: Some("a".to_owned()), ..KickTarget::default() };

        let kicked = hub.reserve(exact(&["a"])).await.unwrap();
        let dropped = hub.reserve(exact(&["a"])).await.unwrap();
        assert_eq!(hub.node.kick(target.clone()).await.unwrap().ended, 2);
        assert_eq!(hub.node.stats().connections, 0, "its place came back at once");
        // Another one has its key now.
        let mut other = hub.subscribe(exact(&["b"]), 4096).await;
        let mut late = hub.open(kicked, 4096);
        assert_eq!(late.next().await, None, "the socket is closed");
        drop(dropped);
        hub.publish(&["b"], "still here").await;
        assert_eq!(other.data().await.as_deref(), Some("still here"));

        // One that reads where it continues.
        let closed = tap.gate.write().await;
        let resuming = hub.reserve(hub.resuming(exact(&["a"]), &id));
        let (resumed, report) = tokio::join!(resuming, async {
            sleep(Duration::from_secs(1)).await;
            let report = hub.node.kick(target.clone()).await;
            drop(closed);
            report
        });
        assert_eq!(report.unwrap().ended, 1);
        assert!(matches!(resumed, Err(SubscribeError::Kicked)));
        let stats = hub.node.stats();
        assert_eq!(
            (stats.opened, stats.closed[CloseReason::Kicked as usize]),
            (1, 0),
            "no stream of theirs began"
        );
        drop(other);
        hub.is_empty_again().await;
    })
    .await;
}

#[tokio::test]
async fn a_kick_looks_at_every_seat_of_a_large_worker() {
    local(async {
        let hub = Hub::start(NodeConfig::default());
        let mut reserved = Vec::new();
        for _ in 0..5000 {
            reserved.push(hub.reserve_as(&hub.worker, exact(&["a"]), "sub:ann", "192.0.2.1").await.unwrap());
        }
        let last = hub.reserve_as(&hub.worker, exact(&["a"]), "sub:bob", "192.0.2.1").await.unwrap();
        let subject =
            |subject: &str| KickTarget { subject: Some(subject.to_owned()), ..KickTarget::default() };
        assert_eq!(hub.node.kick(subject("sub:bob")).await.unwrap().ended, 1);
        assert_eq!(hub.node.kick(subject("sub:ann")).await.unwrap().ended, 5000);
        drop((reserved, last));
        hub.is_empty_again().await;
    })
    .await;
}
