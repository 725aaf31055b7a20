//! What a node measures: streams by state, how long updates take, how long workers work.

use std::time::Duration;

use rivulet_core::{Dialect, TraceContext};
use rivulet_node::{HistogramSnapshot, NodeConfig, StreamState, Verdict, Wanted};

use crate::harness::{Hub, exact, local, memory, update};

/// How many streams are in a state, by dialect; once the worker has had its turn.
async fn expect_streams(hub: &Hub, expected: &[(StreamState, [usize; 2])]) {
    let mut counts = [[0; 2]; StreamState::ALL.len()];
    for (state, dialects) in expected {
        counts[*state as usize] = *dialects;
    }
    let found = tokio::time::timeout(Duration::from_secs(20), async {
        while hub.node.stats().streams != counts {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    let found = found.await;
    assert!(found.is_ok(), "{expected:?}, and not {:?}", hub.node.stats().streams);
}

#[tokio::test(start_paused = true)]
async fn streams_are_counted_by_state_and_dialect() {
    use StreamState::{Live, Parting, Reserved};
    local(async {
        let hub = Hub::start(NodeConfig { heartbeat: None, ..NodeConfig::default() });
        let mut old = exact(&["a"]);
        old.dialect = Dialect::V0;
        let reserved = hub.reserve(old.clone()).await.unwrap();
        let _new = hub.subscribe(exact(&["a"]), 1 << 16).await;
        expect_streams(&hub, &[(Reserved, [1, 0]), (Live, [0, 1])]).await;
        let mut stuck = hub.open(reserved, 100);
        expect_streams(&hub, &[(Live, [1, 1])]).await;
        drop(hub.reserve(old).await.unwrap());
        hub.publish(&["a"], &"x".repeat(10_000)).await;
        let drain = tokio::task::spawn_local({
            let node = hub.node.clone();
            async move { node.drain(Duration::ZERO).await }
        });
        // The other one takes its rest at once, and goes.
        expect_streams(&hub, &[(Parting, [1, 0])]).await;
        stuck.retry_at_end().await;
        expect_streams(&hub, &[]).await;
        drain.await.unwrap();
        hub.is_empty_again().await;
    })
    .await;
}

#[tokio::test]
async fn who_reads_the_log_is_counted_as_replaying_until_it_has_caught_up() {
    local(async {
        let hub = Hub::start(NodeConfig { heartbeat: None, ..NodeConfig::default() });
        let first = hub.publish(&["a"], "1").await;
        for _ in 0..10 {
            hub.publish(&["a"], &"x".repeat(10_000)).await;
        }
        let before = hub.node.stats().write_latency.total();
        let back = hub.reserve(hub.resuming(exact(&["a"]), &first)).await.unwrap();
        expect_streams(&hub, &[(StreamState::Reserved, [0, 1])]).await;
        let mut slow = hub.open(back, 100);
        expect_streams(&hub, &[(StreamState::Replaying, [0, 1])]).await;
        for _ in 0..10 {
            slow.data().await.unwrap();
        }
        expect_streams(&hub, &[(StreamState::Live, [0, 1])]).await;
        let stats = hub.node.stats();
        assert_eq!(stats.write_latency.total(), before, "the age of what is read from the log says nothing");
        drop(slow);
        hub.is_empty_again().await;
        expect_streams(&hub, &[]).await;
    })
    .await;
}

/// Traces that a histogram shows.
fn shown(histogram: &HistogramSnapshot) -> Vec<[u8; 16]> {
    histogram.exemplars.iter().flatten().map(|exemplar| exemplar.trace_id).collect()
}

#[tokio::test]
async fn every_live_write_is_measured_and_a_sampled_one_is_shown() {
    local(async {
        let hub = Hub::start(NodeConfig { heartbeat: None, ..NodeConfig::default() });
        let mut clients = Vec::new();
        for _ in 0..40 {
            clients.push(hub.subscribe(exact(&["a"]), 4096).await);
        }
        for n in 0..5 {
            hub.publish(&["a"], &n.to_string()).await;
        }
        hub.publish(&["b"], "nobody wants it").await;
        for client in &mut clients {
            for n in 0..5 {
                assert_eq!(client.data().await, Some(n.to_string()));
            }
        }
        let stats = hub.node.stats();
        assert_eq!((stats.write_latency.total(), stats.deliveries), (200, 200));
        assert_eq!(stats.dispatch.total(), 5, "one matcher on one worker");
        let minute = 60_000_000_000;
        assert!(stats.write_latency.sum_nanos < 200 * minute, "clocks are the same here: {stats:?}");
        assert!((1..5 * minute).contains(&stats.dispatch.sum_nanos), "{stats:?}");
        assert_eq!((shown(&stats.write_latency), shown(&stats.dispatch)), (vec![], vec![]));

        for (trace, flags) in [([7; 16], 1), ([8; 16], 0)] {
            let mut traced = update(&["a"], "traced");
            traced.trace = TraceContext::new(trace, [1; 8], flags, "").map(Box::new);
            hub.node.publish(traced, None, Vec::new()).await.unwrap();
            for client in &mut clients {
                client.data().await.unwrap();
            }
        }
        let stats = hub.node.stats();
        assert!(shown(&stats.write_latency).iter().all(|trace| *trace == [7; 16]), "{stats:?}");
        assert!(!shown(&stats.write_latency).is_empty(), "{stats:?}");
        assert_eq!(shown(&stats.dispatch), [[7; 16]]);
        drop(clients);
        hub.is_empty_again().await;
    })
    .await;
}

#[tokio::test]
async fn an_update_that_two_matchers_select_is_dispatched_for_each() {
    local(async {
        let hub = Hub::start(NodeConfig { heartbeat: None, ..NodeConfig::default() });
        let mut one = hub.subscribe(exact(&["a"]), 4096).await;
        let mut both = hub.subscribe(exact(&["a", "b"]), 4096).await;
        hub.publish(&["a", "b"], "1").await;
        for client in [&mut one, &mut both] {
            assert_eq!(client.data().await.as_deref(), Some("1"));
        }
        let stats = hub.node.stats();
        assert_eq!((stats.write_latency.total(), stats.dispatch.total()), (2, 2));
        drop((one, both));
        hub.is_empty_again().await;
    })
    .await;
}

#[tokio::test]
async fn workers_are_busy_while_they_serve_and_have_their_own_streams() {
    local(async {
        let hub = Hub::start(NodeConfig::default());
        let other = hub.node.enter();
        let reserved = hub.reserve_as(&other, exact(&["a"]), "sub:a", "192.0.2.7").await.unwrap();
        let mut clients = vec![hub.open(reserved, 4096)];
        clients.push(hub.subscribe(exact(&["a"]), 4096).await);
        clients.push(hub.subscribe(exact(&["a"]), 4096).await);
        let before = hub.node.stats().workers;
        hub.publish(&["a"], "1").await;
        for client in &mut clients {
            assert_eq!(client.data().await.as_deref(), Some("1"));
        }
        let after = hub.node.stats().workers;
        assert_eq!(after.iter().map(|worker| worker.streams).collect::<Vec<_>>(), [2, 1]);
        for (before, after) in before.iter().zip(&after) {
            assert!(after.busy > before.busy, "{before:?} {after:?}");
        }
        drop(clients);
        hub.is_empty_again().await;
    })
    .await;
}

#[tokio::test]
async fn limits_tell_what_they_have_said() {
    local(async {
        let (transport, feed) = memory(1, 10);
        let limits = rivulet_node::LimitsConfig { connections_total: Some(1), ..Default::default() };
        let hub = Hub::on(transport, feed, NodeConfig::default());
        let client = rivulet_node::Client::anonymous("192.0.2.7".parse().unwrap());
        let wanted = || limits.to_subscribe(&client, &Default::default(), &[]);
        let permit = hub.node.admit(wanted()).await.unwrap();
        hub.node.admit(wanted()).await.unwrap_err();
        hub.node.admit(wanted()).await.unwrap_err();
        hub.node.admit(Wanted::default()).await.unwrap();
        let verdicts = hub.node.transport_stats().verdicts;
        let total = verdicts[rivulet_node::Limit::ConnectionsTotal as usize];
        assert_eq!(total[Verdict::Admitted as usize], 1);
        assert_eq!(total[Verdict::Refused as usize], 2);
        assert_eq!(verdicts.iter().flatten().sum::<u64>(), 3, "{verdicts:?}");
        drop(permit);
    })
    .await;
}
