//! A real Prometheus scrapes two real nodes and evaluates the rules.

use std::{sync::Arc, time::Duration};

use regex::Regex;
use rivulet_tests::{Hub, eventually, prometheus::Prometheus, redis::RedisServer};

use super::{
    expressions::{Shipped, expressions},
    shipped::{records, text},
};

/// For what takes several scrapes, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(40);

/// The shipped rules, in which every alert waits for a second only.
fn impatient_rules() -> String {
    let waits = Regex::new(r"(?m)^(\s+for:) \S+$").expect("a pattern");
    let rules = text("k8s/monitoring/rules.yaml");
    let count = waits.find_iter(&rules).count();
    assert!(count > 20, "{count} alerts wait");
    waits.replace_all(&rules, "$1 1s").into_owned()
}

/// Waits until an expression has this many samples.
async fn expect_count(prometheus: &Prometheus, expression: &str, count: usize) {
    eventually(format!("{count} samples of {expression}"), PATIENCE, || async {
        let samples = prometheus.query(expression).await?;
        if samples.len() == count { Ok(()) } else { Err(format!("{samples:?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prometheus_records_two_nodes_and_alerts_when_redis_and_a_node_go() {
    let redis = Arc::new(RedisServer::start().await);
    let node = Hub::start(Some(Arc::clone(&redis)), &[]).await;
    let mut other = Hub::start(Some(Arc::clone(&redis)), &[]).await;
    let prometheus = Prometheus::start(&[node.admin(), other.admin()], &impatient_rules()).await;
    expect_count(&prometheus, "up == 1", 2).await;

    records_have_values(&prometheus, [&node, &other]).await;
    understands_every_expression(&prometheus).await;
    expect_count(&prometheus, "ALERTS{alertstate=\"firing\"}", 0).await;

    let stale = "ALERTS{alertname=\"RivuletFeedStale\", alertstate=\"firing\"}";
    redis.freeze();
    expect_count(&prometheus, stale, 2).await;
    redis.thaw();
    expect_count(&prometheus, stale, 0).await;

    let down = format!(
        "ALERTS{{alertname=\"RivuletNodeDown\", alertstate=\"firing\", instance=\"{}\", severity=\"critical\"}}",
        other.admin()
    );
    other.crash();
    expect_count(&prometheus, &down, 1).await;
    expect_count(&prometheus, "ALERTS{alertname=\"RivuletNodeDown\", alertstate=\"firing\"}", 1).await;
}

/// Publishes on one node and reads on the other until every recorded series has a value that is a number.
async fn records_have_values(prometheus: &Prometheus, [publisher, reader]: [&Hub; 2]) {
    let mut subscriber = reader.subscribe("topic=a").await;
    for name in records() {
        let what = format!("a value of {name}");
        let start = std::time::Instant::now();
        loop {
            publisher.publish(&[("topic", "a"), ("data", "1")]).await;
            assert_eq!(subscriber.event().await.data(), "1");
            let samples = prometheus.query(&name).await.expect("a name is an expression");
            if samples.iter().any(|(_, value)| value.is_finite()) {
                break;
            }
            assert!(start.elapsed() < PATIENCE, "{what}: {samples:?}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

/// The dashboard's variables stand for what Grafana would put there.
async fn understands_every_expression(prometheus: &Prometheus) {
    for Shipped { place, expression } in expressions() {
        let expression =
            expression.replace("$__rate_interval", "5s").replace("$job", ".*").replace("$node", ".*");
        assert!(!expression.contains('$'), "{place}: an unknown variable in {expression}");
        if let Err(error) = prometheus.query(&expression).await {
            panic!("{place}: {error}");
        }
    }
}
