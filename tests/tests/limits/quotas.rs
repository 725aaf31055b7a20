//! Quotas: how many connections there are at the same time, on all nodes together.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rivulet_tests::{Hub, PATIENCE, Request, Response, Subscriber, eventually, redis::RedisServer};
use serde_json::json;

use crate::tokens::{subscribe, subscriber_with};

/// The shortest that a hub allows.
const LEASE: Duration = Duration::from_secs(5);

/// Checks a refusal by a quota: which limit, its value, whose it is, and when to come back.
fn expect_quota(answer: &Response, limit: &str, value: u32, scope: &serde_json::Value) {
    let problem = answer.expect_problem(429, "quota-exceeded");
    assert_eq!(problem["limit"], limit, "{problem}");
    assert_eq!(problem["value"], value, "{problem}");
    assert_eq!(problem["scope"], *scope, "{problem}");
    let wait = answer.header("retry-after").expect("a Retry-After");
    assert!(wait.parse::<u32>().is_ok_and(|wait| (1..=60).contains(&wait)), "{wait}");
    assert_eq!(problem["retry_after"].to_string(), wait, "{problem}");
    let detail = problem["detail"].as_str().expect("a text");
    for part in [limit, &value.to_string(), &format!("try again in {wait} s")] {
        assert!(detail.contains(part), "{part:?} is not in {detail:?}");
    }
}

/// Waits until a node admits somebody whom it refused.
async fn admitted(hub: &Hub, request: &Request, patience: Duration) -> Subscriber {
    let address = hub.address();
    eventually("a place is free", patience, || async {
        Subscriber::try_open(address, request).await.map_err(|refusal| format!("{refusal:?}"))
    })
    .await
}

#[tokio::test]
async fn a_subjects_quota_holds_on_two_nodes_together() {
    let redis = Arc::new(RedisServer::start().await);
    let flags = ["--limit-connections-per-subject", "3"];
    let here = Hub::start(Some(redis.clone()), &flags).await;
    let there = Hub::start(Some(redis), &flags).await;
    let alice = subscribe("a", "alice");
    let mut streams = vec![here.open(&alice).await, here.open(&alice).await, there.open(&alice).await];
    let scope = json!({"kind": "subject", "text": "sub:alice"});
    for hub in [&here, &there] {
        expect_quota(&hub.send(&alice).await, "connections_per_subject", 3, &scope);
        // Somebody else has places of its own, and who has no token counts by its address.
        drop(hub.open(&subscribe("a", "bob")).await);
        drop(hub.subscribe("topic=a").await);
    }
    // What a node gives back, another one gives out.
    streams.pop();
    streams.push(admitted(&here, &alice, PATIENCE).await);
    expect_quota(&there.send(&alice).await, "connections_per_subject", 3, &scope);
    let refused = |hub: &Hub| {
        hub.metrics()
            .sum("rivulet_limit_refusals_total", "limit=\"connections_per_subject\"")
            .expect("a counter")
    };
    assert!(refused(&here) >= 1.0 && refused(&there) >= 2.0, "{} {}", refused(&here), refused(&there));
}

#[tokio::test]
async fn quotas_of_addresses_topics_and_the_hub_hold_on_two_nodes_together() {
    let redis = Arc::new(RedisServer::start().await);
    let flags = ["--limit-connections-per-ip", "4", "--limit-connections-per-topic", "2"];
    let flags = [&flags[..], &["--limit-connections-total", "5", "--trusted-proxy", "127.0.0.1"]].concat();
    let here = Hub::start(Some(redis.clone()), &flags).await;
    let there = Hub::start(Some(redis), &flags).await;
    let from =
        |ip: &str, topic: &str| Request::subscribe(&format!("topic={topic}")).header("X-Forwarded-For", ip);
    let mut streams = Vec::new();
    for (hub, topic) in [(&here, "a"), (&there, "a"), (&here, "b"), (&there, "b")] {
        streams.push(hub.open(&from("192.0.2.1", topic)).await);
    }
    let topic = json!({"kind": "topic", "text": "a"});
    expect_quota(&here.send(&from("192.0.2.2", "a")).await, "connections_per_topic", 2, &topic);
    let ip = json!({"kind": "ip", "text": "192.0.2.1"});
    expect_quota(&there.send(&from("192.0.2.1", "c")).await, "connections_per_ip", 4, &ip);
    streams.push(there.open(&from("192.0.2.2", "c")).await);
    let hub = json!({"kind": "hub"});
    expect_quota(&here.send(&from("192.0.2.3", "d")).await, "connections_total", 5, &hub);
}

#[tokio::test]
async fn a_plan_can_buy_more_and_a_typing_mistake_in_it_is_told() {
    let redis = Arc::new(RedisServer::start().await);
    let hub = Hub::start(Some(redis), &["--limit-connections-per-subject", "1"]).await;
    let with = |limits: serde_json::Value| {
        let token = subscriber_with("carol", &json!({"rivulet_limits": limits}));
        Request::subscribe("topic=a").bearer(&token)
    };
    let plan = with(json!({"connections_per_subject": 2}));
    let _streams = [hub.open(&plan).await, hub.open(&plan).await];
    let scope = json!({"kind": "subject", "text": "sub:carol"});
    expect_quota(&hub.send(&plan).await, "connections_per_subject", 2, &scope);
    let answer = hub.send(&with(json!({"connections_per_subjects": 9}))).await;
    assert_eq!(answer.status, 401, "{answer:?}");
    assert!(answer.text().contains("connections_per_subjects"), "{}", answer.text());
}

#[tokio::test]
async fn what_a_killed_node_held_is_free_again_within_the_lease() {
    let redis = Arc::new(RedisServer::start().await);
    let lease = format!("{}s", LEASE.as_secs());
    let flags = ["--limit-connections-per-subject", "4", "--limits-lease", &lease];
    let mut killed = Hub::start(Some(redis.clone()), &flags).await;
    let lives = Hub::start(Some(redis), &flags).await;
    let alice = subscribe("a", "alice");
    let mut streams = Vec::new();
    for hub in [&killed, &killed, &killed, &lives] {
        streams.push(hub.open(&alice).await);
    }
    assert_eq!(lives.send(&alice).await.status, 429);
    killed.crash();
    let died = Instant::now();
    for _ in 0..3 {
        streams.push(admitted(&lives, &alice, PATIENCE).await);
    }
    let took = died.elapsed();
    // A lease that was renewed in the moment of death lasts for its whole time; a second for the clients' looking.
    assert!(took <= LEASE + Duration::from_secs(1), "regained after {took:?}");
    assert_eq!(lives.send(&alice).await.status, 429, "and not one more");
    streams.drain(..3);
    drop(streams);
    lives.expect_connections(0).await;
}

#[tokio::test]
async fn a_node_that_stops_gives_its_places_back_at_once() {
    let redis = Arc::new(RedisServer::start().await);
    let flags = ["--limit-connections-per-subject", "2", "--limits-lease", "5m"];
    let mut stops = Hub::start(Some(redis.clone()), &flags).await;
    let lives = Hub::start(Some(redis.clone()), &flags).await;
    let alice = subscribe("a", "alice");
    let streams = [stops.open(&alice).await, stops.open(&alice).await];
    assert_eq!(lives.send(&alice).await.status, 429);
    assert!(stops.stop().success(), "{}", stops.log());
    let _places = [admitted(&lives, &alice, PATIENCE).await, admitted(&lives, &alice, PATIENCE).await];
    drop(streams);
}
