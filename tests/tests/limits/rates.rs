//! Rates: how often somebody subscribes or publishes, on all nodes together.

use std::sync::Arc;

use rivulet_tests::{Hub, Request, Response, redis::RedisServer, wire::HUB_PATH};
use serde_json::{Value, json};

use crate::tokens::{publisher, subscribe};

/// Checks a refusal by a rate: which limit, its value, whose it is, and when to come back, also in the header fields.
fn expect_rate(answer: &Response, limit: &str, count: u32, period: u32, scope: &Value) {
    let problem = answer.expect_problem(429, "rate-exceeded");
    assert_eq!(problem["limit"], limit, "{problem}");
    assert_eq!(problem["value"], count, "{problem}");
    assert_eq!(problem["period"], period, "{problem}");
    assert_eq!(problem["scope"], *scope, "{problem}");
    let wait = answer.header("retry-after").expect("a Retry-After");
    assert_eq!(problem["retry_after"].to_string(), wait, "{problem}");
    let policy = format!("\"{limit}\";q={count};w={period}");
    assert_eq!(answer.header("ratelimit-policy"), Some(&*policy), "{answer:?}");
    assert_eq!(answer.header("ratelimit"), Some(&*format!("\"{limit}\";r=0;t={wait}")), "{answer:?}");
}

#[tokio::test]
async fn rates_of_subscriptions_hold_on_two_nodes_together() {
    let redis = Arc::new(RedisServer::start().await);
    let flags = ["--limit-subscribes-per-subject", "2/h", "--limit-subscribes-per-ip", "4/h"];
    let here = Hub::start(Some(redis.clone()), &flags).await;
    let there = Hub::start(Some(redis), &flags).await;
    drop(here.open(&subscribe("a", "alice")).await);
    drop(there.open(&subscribe("a", "alice")).await);
    let scope = json!({"kind": "subject", "text": "sub:alice"});
    for hub in [&here, &there] {
        let answer = hub.send(&subscribe("a", "alice")).await;
        expect_rate(&answer, "subscribes_per_subject", 2, 3600, &scope);
    }
    // Who is refused has used up nothing of the address's share.
    drop(there.open(&subscribe("a", "bob")).await);
    drop(here.open(&subscribe("a", "carol")).await);
    let ip = json!({"kind": "ip", "text": "127.0.0.1"});
    expect_rate(&here.send(&subscribe("a", "dave")).await, "subscribes_per_ip", 4, 3600, &ip);
}

#[tokio::test]
async fn who_asks_again_and_again_at_a_full_quota_uses_up_his_rate() {
    let redis = Arc::new(RedisServer::start().await);
    let flags = ["--limit-connections-per-subject", "1", "--limit-subscribes-per-subject", "3/h"];
    let hub = Hub::start(Some(redis), &flags).await;
    let mut stream = hub.open(&subscribe("a", "alice")).await;
    for _ in 0..2 {
        let answer = hub.send(&subscribe("a", "alice")).await;
        assert_eq!(answer.expect_problem(429, "quota-exceeded")["limit"], "connections_per_subject");
    }
    let scope = json!({"kind": "subject", "text": "sub:alice"});
    expect_rate(&hub.send(&subscribe("a", "alice")).await, "subscribes_per_subject", 3, 3600, &scope);
    hub.publish(&[("topic", "a"), ("data", "still here")]).await;
    assert_eq!(stream.data(1).await, ["still here"]);
}

#[tokio::test]
async fn rates_of_publishers_hold_on_two_nodes_together_and_what_is_refused_is_not_published() {
    let redis = Arc::new(RedisServer::start().await);
    let flags = ["--limit-publishes-per-subject", "3/h", "--limit-publishes-per-topic", "2/h"];
    let here = Hub::start(Some(redis.clone()), &flags).await;
    let there = Hub::start(Some(redis), &flags).await;
    let mut stream = there.subscribe("topic=a&topic=b&topic=c").await;
    let publish = |topic: &str, data: &str| {
        Request::publish(&[("topic", topic), ("data", data)]).bearer(&publisher("alice"))
    };
    assert_eq!(here.send(&publish("a", "1")).await.status, 200);
    assert_eq!(there.send(&publish("a", "2")).await.status, 200);
    let topic = json!({"kind": "topic", "text": "a"});
    expect_rate(&here.send(&publish("a", "no")).await, "publishes_per_topic", 2, 3600, &topic);
    assert_eq!(there.send(&publish("b", "3")).await.status, 200);
    let subject = json!({"kind": "subject", "text": "sub:alice"});
    expect_rate(&here.send(&publish("c", "no")).await, "publishes_per_subject", 3, 3600, &subject);
    let bob = Request::publish(&[("topic", "c"), ("data", "4")]).bearer(&publisher("bob"));
    assert_eq!(here.send(&bob).await.status, 200);
    assert_eq!(stream.data(4).await, ["1", "2", "3", "4"]);
}

#[tokio::test]
async fn each_line_of_a_batch_counts_and_a_refused_one_is_told_in_its_place() {
    let redis = Arc::new(RedisServer::start().await);
    let hub = Hub::start(Some(redis), &["--limit-publishes-per-topic", "2/h"]).await;
    let line = |topic: &str| format!("{}\n", json!({"topic": topic, "data": "x"}));
    let body = [line("a"), line("a"), line("a"), line("b")].concat();
    let request = Request::new("POST", HUB_PATH)
        .header("Content-Type", "application/x-ndjson")
        .body(body.as_bytes())
        .bearer(&publisher("alice"));
    let answer = hub.send(&request).await;
    let lines: Vec<Value> = answer
        .text()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}")))
        .collect();
    assert_eq!(lines.len(), 4, "{lines:?}");
    for number in [0, 1, 3] {
        assert!(lines[number]["id"].is_string(), "{lines:?}");
    }
    let problem = &lines[2]["error"];
    assert_eq!(problem["type"], "urn:rivulet:problem:rate-exceeded", "{lines:?}");
    assert_eq!(problem["limit"], "publishes_per_topic", "{lines:?}");
    assert!(problem["retry_after"].as_u64().is_some_and(|wait| (1..=1800).contains(&wait)), "{lines:?}");
}
