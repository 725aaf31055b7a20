//! How streams leave a node: when they stall, when it stops, when it holds more than others.

use std::{sync::Arc, time::Duration};

use rivulet_tests::{Hub, PATIENCE, Request, eventually, metrics, redis::RedisServer, tokens};

use crate::configured::Configured;

/// How long a node may take to hear of the others, and to let a few streams go.
const SHED: Duration = Duration::from_secs(40);

async fn expect_closed(hub: &Configured, reason: &str, patience: Duration, meanwhile: impl AsyncFn()) {
    eventually(format!("a stream is {reason}"), patience, || async {
        meanwhile().await;
        match closed(hub, reason) {
            Some(count) if count > 0.0 => Ok(()),
            count => Err(format!("{count:?}")),
        }
    })
    .await;
}

fn closed(hub: &Configured, reason: &str) -> Option<f64> {
    hub.hub.metrics().sum("rivulet_streams_closed_total", &format!("reason=\"{reason}\""))
}

#[tokio::test]
async fn who_takes_nothing_has_another_deadline() {
    let hub = Configured::start(&[("write-deadline", "'10m'")]).await;
    hub.reload(&[("write-deadline", "'1s'")]).await;
    let _stalled = hub.hub.subscribe("topic=a").await;
    let data = "x".repeat(256 * 1024);
    expect_closed(&hub, "stalled", 2 * PATIENCE, async || {
        assert_eq!(hub.publish(&data, tokens::PUBLISHER_KEY).await, 200);
    })
    .await;
}

#[tokio::test]
async fn a_node_that_stops_goes_on_serving_for_as_long_as_was_said_last() {
    let mut hub = Configured::start(&[]).await;
    hub.reload(&[("drain-delay", "'5m'")]).await;
    hub.hub.signal("TERM");
    eventually("it is not ready any more", PATIENCE, || async {
        match metrics::get(hub.hub.admin(), "/ready")? {
            (503, _) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let mut stream = hub.hub.open(&Request::subscribe("topic=a")).await;
    assert_eq!(hub.publish("1", tokens::PUBLISHER_KEY).await, 200);
    assert_eq!(stream.data(1).await, ["1"], "without a delay it would have ended by now");
    hub.hub.crash();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_overfull_node_begins_to_let_streams_go() {
    let redis = Arc::new(RedisServer::start().await);
    let lease = ("limits-lease", "'5s'");
    let overfull = Configured::start_at(&redis.url(), &[], &[lease]).await;
    let _other = Hub::start_at(&redis.url(), &["--limits-lease", "5s"]).await;
    let mut streams = Vec::new();
    for _ in 0..60 {
        streams.push(overfull.hub.subscribe("topic=a").await);
    }
    eventually("the nodes know of each other", PATIENCE, || async {
        let nodes = overfull.gauge("rivulet_hub_nodes");
        if nodes == 2.0 { Ok(()) } else { Err(format!("{nodes}")) }
    })
    .await;
    assert_eq!(closed(&overfull, "drained"), Some(0.0), "nobody has told it to");
    overfull.reload(&[lease, ("shed", "100")]).await;
    expect_closed(&overfull, "drained", SHED, async || {}).await;
}
