//! What the transport tells about itself: commands, ticks, backfills, verdicts of limits, the lease.

// In a test a panic is the report.
#![allow(clippy::unwrap_used)]

mod harness;

use std::time::Duration;

use harness::{RedisServer, eventually};
use rivulet_core::{Topic, Update};
use rivulet_node::{
    FeedStatus, Interest, Limit, Pace, Quota, Rate, Scope, Transport, TransportStats, Verdict, Wanted,
    WhenAway,
};
use rivulet_redis::RedisTransport;

fn update(topic: &str) -> Update {
    Update {
        topics: [Topic::parse(topic).unwrap()].into_iter().collect(),
        data: "1".into(),
        private: false,
        id: None,
        event_type: None,
        retry_ms: None,
        trace: None,
    }
}

/// How often a script was called, and its failures that have happened.
fn calls(stats: &TransportStats, script: &str) -> (u64, Vec<(&'static str, u64)>) {
    let command = stats.commands.iter().find(|command| command.script == script).unwrap();
    let errors = command.errors.iter().filter(|(_, count)| *count > 0).copied().collect();
    (command.duration.total(), errors)
}

fn verdicts(stats: &TransportStats, limit: Limit) -> [u64; 3] {
    [Verdict::Admitted, Verdict::Refused, Verdict::Degraded]
        .map(|verdict| stats.verdicts[limit as usize][verdict as usize])
}

fn quota(limit: Limit, max: u32, when_away: WhenAway) -> Wanted {
    let quota = Quota { limit, scope: Scope::new("s"), max, is_of_token: false, when_away };
    Wanted { quotas: vec![quota], rates: Vec::new() }
}

async fn is_live(node: &RedisTransport) -> bool {
    node.feed_status() == FeedStatus::Live
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_are_told_by_script_with_what_went_wrong() {
    let mut server = RedisServer::start().await;
    let (node, _feed) = server.node().await;
    for _ in 0..3 {
        node.append(update("a"), None, &[]).await.unwrap();
    }
    let stats = node.stats();
    assert_eq!(calls(&stats, "append"), (3, vec![]));
    assert_eq!(calls(&stats, "open").0, 1);
    assert!(calls(&stats, "stage").0 == 1 && calls(&stats, "tick").0 >= 1, "{stats:?}");
    assert_eq!((stats.servers_away, stats.in_flight_bytes), (0, 0));
    let append = stats.commands.iter().find(|command| command.script == "append").unwrap();
    assert!(append.duration.sum_nanos > 3_000, "three calls over a socket: {append:?}");

    let () = server.command(&["CONFIG", "SET", "maxmemory", "1"]).await;
    node.append(update("a"), None, &[]).await.unwrap_err();
    assert_eq!(calls(&node.stats(), "append"), (4, vec![("out_of_memory", 1)]));
    let () = server.command(&["CONFIG", "SET", "maxmemory", "0"]).await;

    server.stop();
    eventually("it is known to be away", || async { node.stats().servers_away == 1 }).await;
    node.append(update("a"), None, &[]).await.unwrap_err();
    let (_, errors) = calls(&node.stats(), "append");
    assert!(errors.contains(&("away", 1)), "{errors:?}");
    assert_eq!(calls(&node.stats(), "append").0, 4, "what was not sent took no time");
}

#[tokio::test(flavor = "multi_thread")]
async fn ticks_tell_how_long_they_took_and_how_far_the_clocks_are_apart() {
    let server = RedisServer::start().await;
    let (node, _feed) = server.node().await;
    let heard = || node.stats().tick_round_trip.total();
    eventually("two ticks are back", || async { heard() >= 3 }).await;
    let stats = node.stats();
    let mean = stats.tick_round_trip.sum_nanos / stats.tick_round_trip.total();
    assert!((1_000..5_000_000_000).contains(&mean), "{stats:?}");
    // Both clocks are this machine's.
    assert!(stats.clock_offset_micros.abs() < 1_000_000, "{stats:?}");
    assert_eq!(stats.clock_offset_micros, node.clock_offset_micros());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_break_missed_is_told_as_backfilled() {
    let mut server = RedisServer::start().await;
    let ((one, mut feed), (two, _feed)) = (server.node().await, server.node().await);
    tokio::spawn(async move { while feed.recv().await.is_some() {} });
    let interest = Interest::Topic(Topic::parse("a").unwrap());
    one.retain(&interest);
    one.confirmed(&interest).await.unwrap();
    eventually("it is live", || is_live(&one)).await;
    let before = one.stats();
    assert!(before.backfills_done >= 1 && before.backfilled_updates == 0, "{before:?}");
    // The link of one node only.
    let () = server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
    for _ in 0..50 {
        two.append(update("a"), None, &[]).await.unwrap();
    }
    eventually("all is done", || async { one.stats().backfills_done > before.backfills_done }).await;
    let missed = one.stats().backfilled_updates;
    assert!(missed > 0 && missed <= 50, "{missed}");
    server.stop();
    let _ = tokio::time::timeout(Duration::from_secs(1), one.append(update("a"), None, &[])).await;
    server.start_again().await;
    eventually("it is live again", || is_live(&one)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_tell_their_verdicts_and_whether_they_are_counted() {
    let mut server = RedisServer::start().await;
    let (node, _feed) = server.node().await;
    let stats = node.stats();
    assert!(stats.is_counted, "{stats:?}");
    assert_eq!(stats.counting_lapses, 0);
    let open = quota(Limit::ConnectionsPerIp, 2, WhenAway::Open);
    let mut permits = Vec::new();
    for _ in 0..2 {
        permits.push(node.admit(open.clone()).await.unwrap());
    }
    node.admit(open.clone()).await.unwrap_err();
    assert_eq!(verdicts(&node.stats(), Limit::ConnectionsPerIp), [2, 1, 0]);

    let pace = Pace { count: 1, period: Duration::from_secs(3600), burst: 2 };
    let limit = Limit::PublishesPerTopic;
    let rate = [Rate { limit, scope: Scope::new("a"), pace, when_away: WhenAway::Open }];
    for _ in 0..2 {
        node.append(update("a"), None, &rate).await.unwrap();
    }
    node.append(update("a"), None, &rate).await.unwrap_err();
    assert_eq!(verdicts(&node.stats(), limit), [2, 1, 0]);

    server.stop();
    eventually("it is away", || async { node.stats().servers_away == 1 }).await;
    node.admit(open.clone()).await.unwrap_err();
    node.admit(quota(Limit::ConnectionsPerSubject, 2, WhenAway::Closed)).await.unwrap_err();
    permits.push(node.admit(quota(Limit::ConnectionsTotal, 2, WhenAway::Open)).await.unwrap());
    let stats = node.stats();
    assert_eq!(verdicts(&stats, Limit::ConnectionsPerIp), [2, 1, 1]);
    assert_eq!(verdicts(&stats, Limit::ConnectionsPerSubject), [0, 0, 1]);
    assert_eq!(verdicts(&stats, Limit::ConnectionsTotal), [0, 0, 1]);
    assert!(!stats.is_counted && stats.counting_lapses >= 1, "{stats:?}");
    server.start_again().await;
    eventually("it is counted again", || async { node.stats().is_counted }).await;
}
