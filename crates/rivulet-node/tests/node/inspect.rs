//! What an operator sees of a node.

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

use crate::{
    harness::{Hub, exact, local, request},
    tap::Tap,
};
use rivulet_core::{Grants, Matcher};
use rivulet_node::{
    CloseReason, KickTarget, NodeConfig, Reservation,
    inspect::{ConnectionInfo, ConnectionState, ConnectionsQuery, MatcherKind, TopicsQuery},
};
use tokio::time::sleep;

async fn all(hub: &Hub, query: ConnectionsQuery) -> Vec<ConnectionInfo> {
    let (mut found, mut query) = (Vec::new(), query);
    loop {
        let page = hub.node.connections(query.clone()).await;
        assert!(page.connections.len() <= query.limit, "a page is no longer than it may be");
        found.extend(page.connections);
        let Some(next) = page.next else { return found };
        query.after = Some(next.to_string().parse().unwrap());
    }
}

fn query(who: KickTarget, state: Option<ConnectionState>) -> ConnectionsQuery {
    ConnectionsQuery { who, state, after: None, limit: 1000 }
}

#[tokio::test(start_paused = true)]
async fn a_connection_shows_who_it_is_where_it_stands_and_when_it_ends() {
    local(async {
        let hub = Hub::start(NodeConfig { lifetime: None, ..NodeConfig::default() });
        let topics: Vec<String> = (0..12).map(|n| format!("topic/{n}")).collect();
        let mut wish = exact(&topics.iter().map(String::as_str).collect::<Vec<_>>());
        wish.expires_at = Some(SystemTime::now() + Duration::from_secs(3600));
        let reserved = hub.reserve_as(&hub.worker, wish, "sub:ann", "192.0.2.7").await.unwrap();
        let subscriber = reserved.subscriber_id();
        let mut client = hub.open(reserved, 1000);
        sleep(Duration::from_secs(100)).await;
        let first = hub.publish(&["topic/3"], "first").await;
        while client.event().await.unwrap().id != first {}
        hub.publish(&["topic/3"], &"x".repeat(5000)).await;
        std::thread::sleep(Duration::from_millis(20));
        hub.publish(&["topic/4"], "last").await;
        sleep(Duration::from_secs(2)).await;

        let [seen] = all(&hub, query(KickTarget::default(), None)).await.try_into().unwrap();
        assert_eq!((seen.subscriber, seen.worker), (subscriber, 0));
        assert_eq!(seen.subject.as_deref(), Some("sub:ann"));
        assert_eq!(seen.ip, Some("192.0.2.7".parse().unwrap()));
        assert_eq!((seen.age.as_secs(), seen.idle.as_secs()), (102, 2), "{seen:?}");
        assert_eq!(seen.state, ConnectionState::Blocked);
        assert_eq!((seen.matchers.as_slice(), seen.matcher_count), (&topics[..10], 12));
        assert!(seen.is_behind && seen.bytes_pending > 3000 && seen.bytes_pending < 5100, "{seen:?}");
        assert!(seen.lag >= Duration::from_millis(20) && seen.lag < Duration::from_secs(5), "{seen:?}");
        assert!(seen.cursor > first, "{seen:?}");
        let ends_in = seen.ends_in.unwrap().as_secs();
        assert!((3495..=3498).contains(&ends_in), "{ends_in}");
        assert_eq!(seen.ends_as, CloseReason::TokenExpired);

        client.event().await.unwrap();
        client.event().await.unwrap();
        let [seen] = all(&hub, query(KickTarget::default(), None)).await.try_into().unwrap();
        assert_eq!((seen.state, seen.is_behind, seen.lag), (ConnectionState::Live, false, Duration::ZERO));
        assert_eq!(seen.bytes_pending, 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn connections_are_found_by_their_state() {
    local(async {
        let (tap, feed) = Tap::start(1, 1000);
        let hub = Hub::on(tap.clone(), feed, NodeConfig { heartbeat: None, ..NodeConfig::default() });
        let id = hub.publish(&["a"], "0").await;
        for n in 1..200 {
            hub.publish(&["a"], &n.to_string()).await;
        }
        let reserved = hub.reserve(exact(&["b"])).await.unwrap();
        let live = hub.subscribe(exact(&["b"]), 4096).await;
        let blocked = hub.subscribe(exact(&["c"]), 64).await;
        hub.publish(&["c"], &"x".repeat(500)).await;
        let resumed = hub.reserve(hub.resuming(exact(&["a"]), &id)).await.unwrap();
        let closed = tap.gate.write().await;
        let replaying = hub.open(resumed, 1 << 16);
        sleep(Duration::from_secs(1)).await;
        let count = async |state| all(&hub, query(KickTarget::default(), Some(state))).await.len();
        for state in [
            ConnectionState::Reserved,
            ConnectionState::Live,
            ConnectionState::Blocked,
            ConnectionState::Replaying,
        ] {
            assert_eq!(count(state).await, 1, "{state:?}");
        }
        let parting = async {
            sleep(Duration::from_secs(1)).await;
            assert_eq!(count(ConnectionState::Parting).await, 1, "the blocked one takes its time");
        };
        tokio::join!(hub.node.drain(Duration::ZERO), parting);
        drop((closed, reserved, live, blocked, replaying));
        hub.is_empty_again().await;
    })
    .await;
}

#[tokio::test]
async fn a_list_is_paged_through_over_all_workers_and_shows_everybody_once() {
    local(async {
        let hub = Hub::start(NodeConfig::default());
        let workers = [hub.worker.clone(), hub.node.enter()];
        let mut reserved: Vec<Reservation> = Vec::new();
        for n in 0..3000 {
            let (subject, topic) = (format!("sub:{}", n % 3), format!("topic/{}", n % 7));
            let wish = exact(&[&topic]);
            reserved.push(hub.reserve_as(&workers[n % 2], wish, &subject, "192.0.2.7").await.unwrap());
        }
        // Holes in the lists.
        let mut nth = 0;
        reserved.retain(|_| {
            nth += 1;
            nth % 5 != 0
        });
        let wanted = |keep: fn(usize) -> bool| (0..3000).filter(|n| n % 5 != 4 && keep(*n)).count();
        let subject = KickTarget { subject: Some("sub:1".to_owned()), ..KickTarget::default() };
        let topic = KickTarget { topic: Some("topic/2".to_owned()), ..KickTarget::default() };
        let cases = [
            (KickTarget::default(), 7, wanted(|_| true)),
            (KickTarget::default(), 1000, wanted(|_| true)),
            (subject.clone(), 100, wanted(|n| n % 3 == 1)),
            (topic.clone(), 256, wanted(|n| n % 7 == 2)),
            (KickTarget { topic: topic.topic, ..subject }, 10, wanted(|n| n % 21 == 16)),
            (KickTarget { ip: Some("192.0.2.8".parse().unwrap()), ..KickTarget::default() }, 10, 0),
        ];
        for (who, limit, expected) in cases {
            let found = all(&hub, ConnectionsQuery { who: who.clone(), limit, ..Default::default() }).await;
            let ids: BTreeSet<_> = found.iter().map(|connection| connection.subscriber).collect();
            assert_eq!((found.len(), ids.len()), (expected, expected), "{who:?}, {limit} a page");
        }
        drop(reserved);
        hub.is_empty_again().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn topics_show_their_subscribers_and_what_is_kept_for_them() {
    local(async {
        let hub = Hub::partitioned(2);
        let mut wish = request(vec![Matcher::exact("a").unwrap(), Matcher::selector("x/{y}").unwrap()]);
        wish.grants = Grants::default();
        let _first = hub.subscribe(wish, 64).await;
        let _second = hub.subscribe(exact(&["a"]), 1 << 16).await;
        let (mut ids, data) = (Vec::new(), "x".repeat(100));
        for _ in 0..3 {
            ids.push(hub.publish(&["a"], &data).await);
        }
        sleep(Duration::from_millis(100)).await;
        let page = hub.node.topics(TopicsQuery { limit: 1000, ..TopicsQuery::default() }).await;
        assert_eq!((page.topics.len(), page.next), (3, None), "a pattern is there for each partition");
        let query = TopicsQuery { topic: Some("a".to_owned()), after: None, limit: 1000 };
        let [a] = hub.node.topics(query).await.topics.try_into().unwrap();
        assert_eq!((a.kind, a.subscribers, a.behind, a.ring_len), (MatcherKind::Exact, 2, 1, 3));
        assert!(a.ring_bytes > 300 && a.floor < ids[0], "{a:?}");
        assert_eq!(a.last, ids[2]);
        let page = hub.node.topics(TopicsQuery { limit: 2, ..TopicsQuery::default() }).await;
        assert_eq!(page.topics.len(), 2);
        let rest = TopicsQuery { after: page.next, limit: 2, ..TopicsQuery::default() };
        assert_eq!(hub.node.topics(rest).await.topics.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn the_feed_shows_how_far_every_partition_is() {
    local(async {
        let hub = Hub::partitioned(2);
        let _other = hub.node.enter();
        let id = hub.publish(&["a"], "1").await;
        let verified = async {
            loop {
                let feed = hub.node.feed().await;
                if feed.iter().all(|partition| partition.verified > id) {
                    return feed;
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        let feed = tokio::time::timeout(Duration::from_secs(10), verified).await.unwrap();
        assert_eq!(feed.iter().map(|partition| partition.partition.number()).collect::<Vec<_>>(), [0, 1]);
        assert!(feed.iter().all(|partition| partition.stale.is_none()), "{feed:?}");
        assert!(feed.iter().all(|partition| partition.age < Duration::from_secs(10)), "{feed:?}");
    })
    .await;
}
