//! The slot of partition 0, where connections are counted, moves to another primary of a cluster.

use std::time::Duration;

use rivulet_tests::{
    Hub, PATIENCE, Response, Subscriber, eventually, metrics::Metrics, redis_cluster::RedisCluster,
};

use crate::tokens::subscribe;

/// The shortest lease: the slot is on its way for longer than that.
const FLAGS: [&str; 4] = ["--limits-lease", "5s", "--limit-connections-per-subject", "4"];
/// Until a lease has lapsed, or was taken anew.
const LEASES: Duration = Duration::from_secs(40);

async fn try_open(hub: &Hub, subject: &str) -> Result<Subscriber, Response> {
    Subscriber::try_open(hub.address(), &subscribe("a", subject)).await
}

async fn expect_refused(hub: &Hub, subject: &str) {
    let refusal = try_open(hub, subject).await.expect_err("there is no place");
    assert_eq!(refusal.expect_problem(429, "quota-exceeded")["limit"], "connections_per_subject");
}

/// Waits until each node says this.
async fn expect(hubs: [&Hub; 2], name: &str, labels: &str, is_right: impl Fn(f64) -> bool) {
    eventually(format!("{name}{{{labels}}}"), LEASES, || async {
        for hub in hubs {
            let found = Metrics::scrape(hub.admin())?.sum(name, labels);
            if !found.is_some_and(&is_right) {
                return Err(format!("{found:?}"));
            }
        }
        Ok(())
    })
    .await;
}

/// Publishes, and sees it arrive on every stream.
async fn expect_delivered(hub: &Hub, streams: &mut [Subscriber], data: &str) {
    let publish = || async {
        // Its own partition is not on its way, but a cluster may be changing its mind.
        let request = rivulet_tests::Request::publish(&[("topic", "a"), ("data", data)]);
        let answer = hub.send(&request.bearer(&rivulet_tests::tokens::publisher(&["*"]))).await;
        if answer.status == 200 { Ok(()) } else { Err(format!("{answer:?}")) }
    };
    eventually("it is published", PATIENCE, publish).await;
    for stream in streams {
        let event = stream.event().await;
        assert_eq!(event.data(), data);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_hold_while_the_slot_of_partition_0_moves_and_count_exactly_afterwards() {
    let cluster = RedisCluster::start().await;
    let here = Hub::start_at(&cluster.url(), &FLAGS).await;
    let there = Hub::start_at(&cluster.url(), &FLAGS).await;
    let both = [&here, &there];
    expect(both, "rivulet_hub_nodes", "", |nodes| nodes == 2.0).await;
    let mut streams = Vec::new();
    for hub in [&here, &here, &there, &there] {
        streams.push(try_open(hub, "alice").await.expect("a place"));
    }
    expect_refused(&here, "alice").await;
    expect_delivered(&here, &mut streams, "before").await;

    // Some keys are there, some are here: no script runs on them.
    let (leases, slot, from) = cluster.find("*}q:nodes").expect("nodes are counted");
    let to = cluster.primaries().expect("primaries").into_iter().find(|primary| *primary != from);
    let to = to.expect("another primary");
    cluster.begin_move(slot, from, to).expect("it begins");
    cluster.move_some(&[&leases], from, to).expect("a key moves");
    expect(both, "rivulet_lease_valid", "", |valid| valid == 0.0).await;
    // Half of four for each of two nodes: there is no room for her, and for somebody else there is.
    for hub in both {
        expect_refused(hub, "alice").await;
    }
    streams.push(try_open(&there, "bob").await.expect("this node's share has room"));
    let degraded = "limit=\"connections_per_subject\",verdict=\"degraded\"";
    let answered = there.metrics().sum("rivulet_limit_verdicts_total", degraded);
    assert!(answered.is_some_and(|answered| answered >= 2.0), "{answered:?}");
    expect_delivered(&there, &mut streams, "meanwhile").await;

    cluster.move_keys(slot, from, to).expect("the keys move");
    cluster.end_move(slot, from, to).expect("it ends");
    expect(both, "rivulet_lease_valid", "", |valid| valid == 1.0).await;
    expect(both, "rivulet_hub_connections", "", |connections| connections == 5.0).await;
    assert_eq!(cluster.find("*}q:nodes"), Ok((leases, slot, to)));
    expect_delivered(&here, &mut streams, "afterwards").await;
    for hub in both {
        expect_refused(hub, "alice").await;
        let ended = hub.metrics().sum("rivulet_streams_closed_total", "");
        assert_eq!(ended, Some(0.0), "no stream was ended");
    }
    // What one node gives back, the other one gives out, and no more than that.
    streams.remove(3);
    let again = eventually("a place is free", PATIENCE, || async {
        try_open(&here, "alice").await.map_err(|refusal| format!("{refusal:?}"))
    });
    streams.push(again.await);
    for hub in both {
        expect_refused(hub, "alice").await;
    }
    expect(both, "rivulet_hub_connections", "", |connections| connections == 5.0).await;
}
