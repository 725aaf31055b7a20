//! Limits that change, each with whom it lets through before and after.

use std::sync::Arc;

use rivulet_tests::{
    PATIENCE, Request, Response, Subscriber,
    chaos_proxy::{ChaosProxy, Network},
    eventually, metrics,
    redis::RedisServer,
    tokens::{PUBLISHER_KEY, SUBSCRIBER_KEY, sign},
};
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use crate::configured::Configured;

fn token(subject: &str, claim: &Value, key: &str) -> String {
    let claims = json!({"mercure": claim, "sub": subject});
    sign(&jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256), &claims, key)
}

fn subscription(topic: &str, subject: &str) -> Request {
    let token = token(subject, &json!({"subscribe": []}), SUBSCRIBER_KEY);
    Request::subscribe(&format!("topic={topic}")).bearer(&token)
}

fn publication(fields: &[(&str, &str)], subject: &str) -> Request {
    Request::publish(fields).bearer(&token(subject, &json!({"publish": ["*"]}), PUBLISHER_KEY))
}

async fn open(hub: &Configured, topic: &str, subject: &str) -> Result<Subscriber, Response> {
    Subscriber::try_open(hub.hub.address(), &subscription(topic, subject)).await
}

/// Which limit refuses this stream; nothing if none does.
async fn limit(hub: &Configured, topic: &str, subject: &str) -> String {
    match open(hub, topic, subject).await {
        Ok(_) => String::new(),
        Err(refusal) => refusal.json()["limit"].as_str().unwrap_or("it says none").to_owned(),
    }
}

#[tokio::test]
async fn quotas_of_subjects_and_topics_change() {
    let hub = Configured::start(&[]).await;
    let mut streams = vec![open(&hub, "a", "alice").await, open(&hub, "a", "alice").await];
    hub.reload(&[("limit-connections-per-subject", "2")]).await;
    // A quota that is new counts who comes from then on.
    streams.extend([open(&hub, "a", "alice").await, open(&hub, "a", "alice").await]);
    assert_eq!(limit(&hub, "a", "alice").await, "connections_per_subject");
    streams.push(open(&hub, "a", "bob").await);
    hub.reload(&[("limit-connections-per-topic", "1")]).await;
    streams.push(open(&hub, "b", "alice").await);
    assert_eq!(limit(&hub, "b", "bob").await, "connections_per_topic");
    streams.push(open(&hub, "c", "bob").await);
    for stream in streams {
        stream.expect("a place");
    }
}

#[tokio::test]
async fn rates_of_addresses_subjects_and_topics_change() {
    let hub = Configured::start(&[]).await;
    let publish = async |topic: &str| {
        let answer = hub.hub.send(&publication(&[("topic", topic), ("data", "x")], "alice")).await;
        let refused = answer.status != 200;
        if refused {
            answer.json()["limit"].as_str().unwrap_or("it says none").to_owned()
        } else {
            String::new()
        }
    };
    for _ in 0..3 {
        assert_eq!([limit(&hub, "a", "alice").await, publish("a").await], ["", ""]);
    }
    hub.reload(&[("limit-subscribes-per-ip", "'1/1h'")]).await;
    assert_eq!(limit(&hub, "a", "alice").await, "");
    assert_eq!(limit(&hub, "a", "bob").await, "subscribes_per_ip");
    hub.reload(&[("limit-subscribes-per-subject", "'1/1h'"), ("limit-publishes-per-topic", "'1/1h'")]).await;
    assert_eq!([limit(&hub, "a", "alice").await, limit(&hub, "a", "bob").await], ["", ""]);
    assert_eq!(limit(&hub, "a", "alice").await, "subscribes_per_subject");
    assert_eq!([publish("a").await, publish("b").await], ["", ""]);
    assert_eq!(publish("a").await, "publishes_per_topic");
    hub.reload(&[]).await;
    assert_eq!([limit(&hub, "a", "alice").await, publish("a").await], ["", ""]);
}

#[tokio::test]
async fn a_batch_may_be_longer_or_shorter() {
    let hub = Configured::start(&[]).await;
    let batch = async || {
        let line = "{\"topic\":\"a\",\"data\":\"a line that is longer than fifty bytes, with all of it\"}\n";
        let request = Request::new("POST", "/.well-known/mercure").body(line.as_bytes());
        let token = token("alice", &json!({"publish": ["*"]}), PUBLISHER_KEY);
        hub.hub.send(&request.header("Content-Type", "application/x-ndjson").bearer(&token)).await.status
    };
    assert_eq!(batch().await, 200);
    hub.reload(&[("batch-limit", "50")]).await;
    assert_eq!(batch().await, 413);
    hub.reload(&[("body-limit", "50")]).await;
    assert_eq!(batch().await, 200, "the longest update is another thing");
}

#[tokio::test]
async fn the_memory_of_bodies_grows_and_shrinks_under_those_who_send() {
    let hub = Configured::start(&[]).await;
    let long = "x".repeat(500);
    let whole = publication(&[("topic", "a"), ("data", &long), ("type", &long)], "alice");
    let whole = whole.header("Connection", "close").encode();
    let (first, rest) = whole.split_at(whole.len() - 100);
    let mut slow = TcpStream::connect(hub.hub.address()).await.expect("the hub listens");
    slow.write_all(first).await.expect("the hub reads");
    eventually("most of a body has arrived", PATIENCE, || async {
        let held = hub.gauge("rivulet_body_bytes");
        if held > 800.0 { Ok(()) } else { Err(format!("{held} bytes")) }
    })
    .await;
    let publish = async || hub.hub.send(&publication(&[("topic", "a"), ("data", &long)], "bob")).await.status;
    assert_eq!(publish().await, 200);
    let sizes = ["body-limit", "batch-limit", "bodies-in-flight"].map(|name| (name, "1200"));
    hub.reload(&sizes).await;
    assert_eq!(publish().await, 503, "the slow one holds what there is");
    hub.reload(&[sizes[0], sizes[1], ("bodies-in-flight", "5000")]).await;
    assert_eq!(publish().await, 200);
    hub.reload(&sizes).await;
    slow.write_all(rest).await.expect("the hub reads");
    let mut answer = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut slow, &mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 "), "who began before is taken: {answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_is_closed_and_opened_while_redis_is_away() {
    let redis = Arc::new(RedisServer::start().await);
    let proxy = ChaosProxy::start(redis.address()).await;
    // One worker: a topic that it knows already needs nobody's word that it is subscribed.
    let base = [("limit-connections-per-subject", "9"), ("limits-lease", "'5s'")];
    let url = format!("redis://{}", proxy.address());
    let hub = Configured::start_at(&url, &["--workers", "1"], &base).await;
    let _streams =
        [open(&hub, "a", "alice").await, open(&hub, "a", "alice").await, open(&hub, "a", "alice").await];
    proxy.set(Network::Cut);
    eventually("the node notices", PATIENCE, || async {
        match metrics::get(hub.hub.admin(), "/ready")? {
            (503, _) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    assert_eq!(limit(&hub, "a", "alice").await, "", "its share has room");
    hub.reload(&[&base[..], &[("limit-closed", "['connections-per-subject']")]].concat()).await;
    let refusal = open(&hub, "a", "alice").await.expect_err("nobody is let through");
    assert_eq!(refusal.expect_problem(503, "limits-away")["limit"], "connections_per_subject");
    hub.reload(&base).await;
    assert_eq!(limit(&hub, "a", "alice").await, "", "its share has room again");
    proxy.set(Network::Whole);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_there_before_a_quota_was_raised_is_not_too_many_after_an_outage() {
    let redis = Arc::new(RedisServer::start().await);
    let proxy = ChaosProxy::start(redis.address()).await;
    let settings = |per_subject| {
        [
            ("limit-connections-per-subject", per_subject),
            ("limit-connections-total", "8"),
            ("limits-lease", "'5s'"),
        ]
    };
    let cut_off = Configured::start_at(&format!("redis://{}", proxy.address()), &[], &settings("3")).await;
    let mut streams = Vec::new();
    for subject in ["alice", "alice", "alice", "bob", "bob"] {
        streams.push(open(&cut_off, "a", subject).await.expect("a place"));
    }
    cut_off.reload(&settings("8")).await;
    let other = Configured::start_at(&redis.url(), &[], &settings("8")).await;
    proxy.set(Network::HalfOpen);
    // Of alice's eight all are taken in the end; of the hub's eight, ten, once the lease has ended.
    for _ in 0..5 {
        let opened = eventually("a place", PATIENCE, || async {
            open(&other, "a", "alice").await.map_err(|refusal| refusal.status.to_string())
        });
        streams.push(opened.await);
    }
    proxy.set(Network::Whole);
    // The hub's excess ends last, with the youngest: if some of alice's had been ended before, no more would have to go.
    eventually("bob's end, who came last", 2 * PATIENCE, || async {
        let left = cut_off.gauge("rivulet_connections").to_string();
        if left == "3" { Ok(()) } else { Err(format!("{left} are left")) }
    })
    .await;
    drop(streams);
}
