//! Limits of the hub as clients meet them: quotas and rates, whose they are, and how a refusal explains itself.
#![allow(clippy::unwrap_used, reason = "a test fails where it unwraps")]

mod hub;

use std::sync::{Arc, atomic::Ordering::SeqCst};

use hub::{HUB, Hub, client::Stream, eventually, header, problem, token, transport::Gated};
use reqwest::Response;
use rivulet_node::{LimitsConfig, MemoryTransport, NodeConfig, Refusal, Retention};
use serde_json::{Value, json};

async fn start(limits: LimitsConfig) -> Hub {
    let (transport, feed) = MemoryTransport::start(Retention::default());
    Hub::start_on(transport, feed, NodeConfig::default(), hub::both(), |config| {
        config.anonymous = true;
        config.limits = Arc::new(limits);
        config.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    })
    .await
}

/// A token of dialect 1.0 with this subject and these limits.
fn token_of(subject: &str, limits: Option<Value>) -> String {
    let mut claims = token::v1_claims(&["*"], &["*"]);
    claims["sub"] = subject.into();
    if let Some(limits) = limits {
        claims["rivulet_limits"] = limits;
    }
    token::sign("at+jwt", &claims)
}

async fn subscribe(hub: &Hub, query: &str, token: Option<&str>, from: &str) -> Response {
    let request = hub.request("GET", &format!("{HUB}?{query}")).header("X-Forwarded-For", from);
    token.iter().fold(request, |request, token| request.bearer_auth(token)).send().await.unwrap()
}

/// Checks that a header and the member tell when to come back; answers the document.
async fn refused(response: Response, status: u16, slug: &str, waits: std::ops::RangeInclusive<u64>) -> Value {
    let after: u64 = header(&response, "retry-after").unwrap().parse().unwrap();
    assert!(waits.contains(&after), "{after}");
    let document = problem(response, status, slug).await;
    assert_eq!(document["retry_after"], after, "{document}");
    assert!(document["detail"].as_str().unwrap().contains(&format!("in {after} s")), "{document}");
    document
}

async fn quota_exceeded(response: Response, limit: &str, value: u32, scope: Value) {
    assert_eq!(header(&response, "ratelimit"), None);
    let document = refused(response, 429, "quota-exceeded", 15..=19).await;
    assert_eq!((&document["limit"], &document["value"]), (&json!(limit), &json!(value)), "{document}");
    assert_eq!((&document["scope"], &document["period"]), (&scope, &Value::Null), "{document}");
    let detail = document["detail"].as_str().unwrap();
    assert!(detail.starts_with(&format!("{limit} is {value}, and the {}", scope["kind"].as_str().unwrap())));
}

fn limited(hub: &Hub, limit: &str) -> u64 {
    let limited = hub.stats.snapshot().limited;
    limited.into_iter().find(|(found, _)| found.as_str() == limit).unwrap().1
}

fn refusals(hub: &Hub, slug: &str) -> u64 {
    hub.stats.snapshot().refused.into_iter().find(|(found, _)| *found == slug).unwrap().1
}

/// The limits, the one that is reached, its scope; and another one's token, query and address.
type Case<'a> = (LimitsConfig, &'a str, Value, Option<(&'a str, &'a str, &'a str)>);

#[tokio::test(flavor = "multi_thread")]
async fn each_quota_refuses_the_one_too_many_and_takes_the_next_when_a_place_is_free() {
    let alice = token_of("alice", None);
    let bob = token_of("bob", None);
    let cases: [Case<'_>; 4] = [
        (
            LimitsConfig { connections_total: Some(2), ..LimitsConfig::default() },
            "connections_total",
            json!({"kind": "hub"}),
            None,
        ),
        (
            LimitsConfig { connections_per_subject: Some(2), ..LimitsConfig::default() },
            "connections_per_subject",
            json!({"kind": "subject", "text": format!("sub:{} alice", token::ISSUER)}),
            Some((&bob, "match=a", "192.0.2.1")),
        ),
        (
            LimitsConfig { connections_per_ip: Some(2), ..LimitsConfig::default() },
            "connections_per_ip",
            json!({"kind": "ip", "text": "192.0.2.1"}),
            Some((&alice, "match=a", "192.0.2.2")),
        ),
        (
            LimitsConfig { connections_per_topic: Some(2), ..LimitsConfig::default() },
            "connections_per_topic",
            json!({"kind": "topic", "text": "a"}),
            Some((&alice, "match=b", "192.0.2.1")),
        ),
    ];
    for (limits, limit, scope, other) in cases {
        let hub = start(limits).await;
        let first = Stream::of(subscribe(&hub, "match=a", Some(&alice), "192.0.2.1").await);
        let second = Stream::of(subscribe(&hub, "match=a", Some(&alice), "192.0.2.1").await);
        for _ in 0..2 {
            let third = subscribe(&hub, "match=a", Some(&alice), "192.0.2.1").await;
            quota_exceeded(third, limit, 2, scope.clone()).await;
        }
        assert_eq!((limited(&hub, limit), refusals(&hub, "quota-exceeded")), (2, 2));
        if let Some((token, query, from)) = other {
            drop(Stream::of(subscribe(&hub, query, Some(token), from).await));
        }
        drop(first);
        eventually("its place is free", || hub.node.peers().connections == 1).await;
        drop(Stream::of(subscribe(&hub, "match=a", Some(&alice), "192.0.2.1").await));
        drop(second);
        hub.left_nothing().await;
        eventually("every place is free", || hub.node.peers().connections == 0).await;
        assert_eq!(hub.stats.snapshot().admitted, 3 + u64::from(other.is_some()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_token_is_limited_by_address() {
    let hub = start(LimitsConfig { connections_per_subject: Some(1), ..LimitsConfig::default() }).await;
    let stream = Stream::of(subscribe(&hub, "topic=a", None, "2001:db8:1:2::3").await);
    let scope = json!({"kind": "subject", "text": "ip:2001:db8:1:2::/64"});
    let neighbour = subscribe(&hub, "topic=a", None, "2001:db8:1:2:ffff::4").await;
    quota_exceeded(neighbour, "connections_per_subject", 1, scope).await;
    drop(Stream::of(subscribe(&hub, "topic=a", None, "2001:db8:1:3::3").await));
    // A token makes somebody else of them.
    drop(Stream::of(subscribe(&hub, "match=a", Some(&token_of("alice", None)), "2001:db8:1:2::3").await));
    drop(stream);
    hub.left_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn head_is_counted_and_gives_its_place_back() {
    let hub = start(LimitsConfig { connections_total: Some(1), ..LimitsConfig::default() }).await;
    let head = || hub.request("HEAD", &format!("{HUB}?match=a")).send();
    for _ in 0..3 {
        assert_eq!(head().await.unwrap().status(), 200);
        eventually("its place is free", || hub.node.peers().connections == 0).await;
    }
    let stream = hub.stream("match=a").await;
    let response = head().await.unwrap();
    assert_eq!(response.status(), 429);
    assert!(header(&response, "retry-after").is_some());
    drop(stream);
    hub.left_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rates_of_subscriptions_are_told_in_members_and_headers() {
    let pace = || Some("2/m,burst=1".parse().unwrap());
    let by_ip = LimitsConfig { subscribes_per_ip: pace(), ..LimitsConfig::default() };
    let by_subject = LimitsConfig { subscribes_per_subject: pace(), ..LimitsConfig::default() };
    let alice = token_of("alice", None);
    for (limits, limit, scope, others) in [
        (by_ip, "subscribes_per_ip", json!({"kind": "ip", "text": "192.0.2.1"}), "192.0.2.2"),
        (
            by_subject,
            "subscribes_per_subject",
            json!({"kind": "subject", "text": format!("sub:{} alice", token::ISSUER)}),
            "192.0.2.1",
        ),
    ] {
        let hub = start(limits).await;
        drop(Stream::of(subscribe(&hub, "match=a", Some(&alice), "192.0.2.1").await));
        let response = subscribe(&hub, "match=a", Some(&alice), "192.0.2.1").await;
        assert_eq!(header(&response, "ratelimit-policy"), Some(format!("\"{limit}\";q=2;w=60").as_str()));
        let rate_limit = header(&response, "ratelimit").unwrap().to_owned();
        let document = refused(response, 429, "rate-exceeded", 25..=30).await;
        assert_eq!(rate_limit, format!("\"{limit}\";r=0;t={}", document["retry_after"]));
        let members = ["limit", "value", "scope", "period", "burst"].map(|member| document[member].clone());
        assert_eq!(members, [json!(limit), json!(2), scope, json!(60), json!(1)]);
        assert_eq!(limited(&hub, limit), 1);
        let bob = token_of("bob", None);
        drop(Stream::of(subscribe(&hub, "match=a", Some(&bob), others).await));
        hub.left_nothing().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rates_of_publications_hold_for_subjects_and_topics() {
    let pace = || Some("1/h,burst=2".parse().unwrap());
    let (alice, bob) = (token_of("alice", None), token_of("bob", None));
    let hub = start(LimitsConfig { publishes_per_subject: pace(), ..LimitsConfig::default() }).await;
    for topic in ["a", "b"] {
        assert_eq!(hub.post(&alice, &format!("topic={topic}")).await.status(), 200);
    }
    let document = refused(hub.post(&alice, "topic=c").await, 429, "rate-exceeded", 3500..=3600).await;
    assert_eq!(document["limit"], "publishes_per_subject");
    assert_eq!(hub.post(&bob, "topic=c").await.status(), 200);
    assert_eq!(hub.node.stats().published, 3);

    let hub = start(LimitsConfig { publishes_per_topic: pace(), ..LimitsConfig::default() }).await;
    assert_eq!(hub.post(&alice, "topic=a").await.status(), 200);
    assert_eq!(hub.post(&bob, "topic=b&topic=a").await.status(), 200);
    let document =
        refused(hub.post(&alice, "topic=b&topic=a").await, 429, "rate-exceeded", 3500..=3600).await;
    assert_eq!(document["scope"], json!({"kind": "topic", "text": "a"}));
    // Nothing was taken from the other topic.
    assert_eq!(hub.post(&alice, "topic=b").await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_a_rate_refuses_does_not_stop_the_batch() {
    let pace = Some("1/h,burst=1".parse().unwrap());
    let hub = start(LimitsConfig { publishes_per_topic: pace, ..LimitsConfig::default() }).await;
    let body = ["a", "a", "b", "a"].map(|topic| format!("{{\"topic\":\"{topic}\"}}\n")).concat();
    let request = hub.request("POST", HUB).header("Content-Type", "application/x-ndjson");
    let response = request.bearer_auth(token_of("alice", None)).body(body).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let text = response.text().await.unwrap();
    let answers: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        answers.iter().map(|answer| answer["id"].is_string()).collect::<Vec<_>>(),
        [true, false, true, false]
    );
    for refused in [&answers[1]["error"], &answers[3]["error"]] {
        assert_eq!(refused["type"], "urn:rivulet:problem:rate-exceeded", "{refused}");
        assert_eq!((&refused["status"], &refused["scope"]["text"]), (&json!(429), &json!("a")));
        assert!((3500..=3600).contains(&refused["retry_after"].as_u64().unwrap()), "{refused}");
    }
    assert_eq!((limited(&hub, "publishes_per_topic"), hub.node.stats().published), (2, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_may_allow_more_or_less_than_is_configured() {
    let limits = LimitsConfig {
        connections_per_subject: Some(1),
        publishes_per_subject: Some("1/h,burst=1".parse().unwrap()),
        ..LimitsConfig::default()
    };
    let hub = start(limits).await;
    let plan = json!({"connections_per_subject": 2, "publishes_per_subject": "3/h"});
    let alice = token_of("alice", Some(plan));
    let first = Stream::of(subscribe(&hub, "match=a", Some(&alice), "192.0.2.1").await);
    let second = Stream::of(subscribe(&hub, "match=a", Some(&alice), "192.0.2.1").await);
    let scope = json!({"kind": "subject", "text": format!("sub:{} alice", token::ISSUER)});
    let third = subscribe(&hub, "match=a", Some(&alice), "192.0.2.1").await;
    quota_exceeded(third, "connections_per_subject", 2, scope).await;
    for _ in 0..3 {
        assert_eq!(hub.post(&alice, "topic=a").await.status(), 200);
    }
    assert_eq!(
        refused(hub.post(&alice, "topic=a").await, 429, "rate-exceeded", 1100..=1200).await["value"],
        3
    );

    let wrong = token_of("alice", Some(json!({"connection_per_subject": 9})));
    let document =
        problem(subscribe(&hub, "match=a", Some(&wrong), "").await, 401, "token-claim-malformed").await;
    assert!(document["detail"].as_str().unwrap().contains("\"connection_per_subject\""), "{document}");
    assert_eq!(refusals(&hub, "token-claim-malformed"), 1);
    drop((first, second));
    hub.left_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_node_refuses_before_it_looks_at_anything() {
    let (transport, feed) = MemoryTransport::start(Retention::default());
    let config = NodeConfig { connections_max: 1, ..NodeConfig::default() };
    let hub = Hub::start_on(transport, feed, config, hub::both(), |config| config.anonymous = true).await;
    let only = hub.stream("match=a").await;
    // Neither the token nor the parameters would pass.
    let request = hub.request("GET", &format!("{HUB}?match=")).bearer_auth("not a token");
    let document = refused(request.send().await.unwrap(), 503, "node-full", 2..=5).await;
    let members = ["limit", "value", "scope"].map(|member| document[member].clone());
    assert_eq!(members, [json!("node_connections"), json!(1), json!({"kind": "node"})]);
    assert!(document["detail"].as_str().unwrap().contains("at most 1 connections"), "{document}");
    let query = hub.request("QUERY", HUB).body("match=a").send().await.unwrap();
    refused(query, 503, "node-full", 2..=5).await;
    assert_eq!(hub.post(&token::v0(&["*"], &[]), "topic=a").await.status(), 200);
    assert_eq!(refusals(&hub, "node-full"), 2);
    drop(only);
    hub.left_nothing().await;
    hub.node.shutdown().await;
    refused(hub.get("match=a").await, 503, "node-closing", 2..=5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_back_to_a_node_that_is_busy_with_replays_is_refused_before_it_costs() {
    let (transport, feed) = Gated::start();
    let config = NodeConfig { replays_max: 0, ..NodeConfig::default() };
    let hub = Hub::start_on(transport, feed, config, hub::both(), |config| config.anonymous = true).await;
    // The token would not pass.
    let request = hub.request("GET", &format!("{HUB}?match=a")).bearer_auth("not a token");
    let document =
        refused(request.header("Last-Event-ID", "x").send().await.unwrap(), 503, "replays-busy", 2..=5).await;
    let members = ["limit", "value", "scope"].map(|member| document[member].clone());
    assert_eq!(members, [json!("node_replays"), json!(0), json!({"kind": "node"})]);
    assert_eq!((refusals(&hub, "replays-busy"), hub.stats.snapshot().admitted), (1, 0));
    assert_eq!(hub.node.stats().refused[Refusal::Replays as usize], 1);
    drop(hub.stream("match=a").await);
    hub.left_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_limit_that_cannot_be_counted_says_so_and_nothing_about_why() {
    let (transport, feed) = Gated::start();
    transport.limits_away.store(true, SeqCst);
    let limits = LimitsConfig { connections_per_ip: Some(5), ..LimitsConfig::default() };
    let hub = Hub::start_on(transport, feed, NodeConfig::default(), hub::both(), |config| {
        config.anonymous = true;
        config.limits = Arc::new(limits);
    })
    .await;
    let document = refused(hub.get("match=a").await, 503, "limits-away", 4..=8).await;
    let members = ["limit", "value", "scope"].map(|member| document[member].clone());
    assert_eq!(members, [json!("connections_per_ip"), json!(5), json!({"kind": "ip", "text": "127.0.0.1"})]);
    assert!(!document.to_string().contains("redis"), "{document}");
    assert_eq!((limited(&hub, "connections_per_ip"), hub.stats.snapshot().admitted), (1, 0));
    hub.left_nothing().await;
}
