//! Kicks: the admin listener of one node ends connections on all.

use std::{sync::Arc, time::Duration};

use rivulet_tests::{
    Hub, PATIENCE, Request, Response,
    chaos_proxy::{ChaosProxy, Network},
    eventually,
    redis::RedisServer,
};
use serde_json::{Value, json};

use crate::tokens::subscribe;

async fn kick(hub: &Hub, target: &Value) -> Response {
    kick_raw(hub, target.to_string().as_bytes()).await
}

async fn kick_raw(hub: &Hub, body: &[u8]) -> Response {
    let request = Request::new("POST", "/kick").header("Content-Type", "application/json").body(body);
    request.send(hub.admin()).await
}

async fn expect_ended(hub: &Hub, target: Value, ended: u32) {
    let answer = kick(hub, &target).await;
    assert_eq!(answer.status, 200, "{target}: {answer:?}\n{}", answer.text());
    assert_eq!(answer.json(), json!({"ended": ended, "nodes": 2, "nodes_unanswered": 0}), "{target}");
}

/// The connections that `/debug/connections` tells of.
async fn listed(hub: &Hub, query: &str) -> Vec<Value> {
    let answer = Request::new("GET", &format!("/debug/connections?{query}")).send(hub.admin()).await;
    assert_eq!(answer.status, 200, "{query}: {}", answer.text());
    answer.json()["connections"].as_array().expect("a list").clone()
}

#[tokio::test]
async fn a_kick_ends_connections_on_all_nodes_and_only_those_that_are_meant() {
    let redis = Arc::new(RedisServer::start().await);
    let here = Hub::start(Some(redis.clone()), &["--trusted-proxy", "127.0.0.1"]).await;
    let there = Hub::start(Some(redis), &["--trusted-proxy", "127.0.0.1"]).await;
    let mut alice = [here.open(&subscribe("a", "alice")).await, there.open(&subscribe("b", "alice")).await];
    let mut bob = [here.open(&subscribe("a", "bob")).await, there.open(&subscribe("b", "bob")).await];
    let far = Request::subscribe("topic=a").header("X-Forwarded-For", "198.51.100.7");
    let mut far = there.open(&far).await;

    expect_ended(&here, json!({"subject": "sub:alice"}), 2).await;
    for stream in &mut alice {
        assert_eq!(stream.rest().await, []);
    }
    expect_ended(&here, json!({"subject": "sub:alice"}), 0).await;
    expect_ended(&here, json!({"ip": "198.51.100.7", "topic": "b"}), 0).await;
    expect_ended(&here, json!({"ip": "198.51.100.7"}), 1).await;
    assert_eq!(far.rest().await, []);
    let neighbours = ["2001:db8:1:2::3", "2001:db8:1:2:ffff::4"];
    let from = |ip: &str| Request::subscribe("topic=c").header("X-Forwarded-For", ip);
    let mut near = [here.open(&from(neighbours[0])).await, there.open(&from(neighbours[1])).await];
    assert_eq!(listed(&there, "ip=2001:db8:1:2::/64").await.len(), 1);
    assert_eq!(listed(&there, "ip=2001:db8:1:3::/64").await.len(), 0);
    expect_ended(&here, json!({"ip": "2001:db8:1:3::/64"}), 0).await;
    expect_ended(&here, json!({"ip": "2001:db8:1:2::/64"}), 2).await;
    for stream in &mut near {
        assert_eq!(stream.rest().await, []);
    }
    here.publish(&[("topic", "a"), ("topic", "b"), ("data", "still here")]).await;
    for stream in &mut bob {
        assert_eq!(stream.data(1).await, ["still here"]);
    }
    let found = listed(&there, "topic=b").await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0]["subject"], "sub:bob");
    expect_ended(&here, json!({"subscriber": found[0]["subscriber"]}), 1).await;
    assert_eq!(bob[1].rest().await, []);
    expect_ended(&there, json!({"topic": "a"}), 1).await;
    assert_eq!(bob[0].rest().await, []);
    let kicked = |hub: &Hub| hub.metrics().sum("rivulet_streams_closed_total", "reason=\"kicked\"");
    assert_eq!((kicked(&here), kicked(&there)), (Some(3.0), Some(4.0)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_cut_off_carries_out_a_kick_when_it_is_back() {
    let redis = Arc::new(RedisServer::start().await);
    let proxy = ChaosProxy::start(redis.address()).await;
    let url = format!("redis://{}", proxy.address());
    // One worker: a topic that it knows already needs nobody's word that it is subscribed.
    let flags = ["--workers", "1", "--limits-lease", "5s", "--limit-connections-per-subject", "9"];
    let away = Hub::start_at(&url, &flags).await;
    let here = Hub::start(Some(redis), &flags).await;
    let mut alice = away.open(&subscribe("a", "alice")).await;
    let mut bob = away.open(&subscribe("a", "bob")).await;
    let knows = async |expected: f64| {
        eventually(format!("it knows of {expected} nodes"), 3 * PATIENCE, || async {
            let nodes = here.metrics().sum("rivulet_hub_nodes", "");
            if nodes == Some(expected) { Ok(()) } else { Err(format!("{nodes:?}")) }
        })
        .await;
    };
    knows(2.0).await;
    proxy.set(Network::Cut);
    // Nobody counts it any more then.
    knows(1.0).await;
    let answer = kick(&here, &json!({"subject": "sub:alice"})).await;
    assert_eq!(answer.json(), json!({"ended": 0, "nodes": 1, "nodes_unanswered": 0}));
    // Who comes within half a second may have been there: ages are counted in quarters of one.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut later = away.open(&subscribe("a", "alice")).await;
    proxy.set(Network::Whole);
    assert_eq!(alice.rest().await, []);
    here.publish(&[("topic", "a"), ("data", "still here")]).await;
    for stream in [&mut bob, &mut later] {
        assert_eq!(stream.data(1).await, ["still here"]);
    }
    assert_eq!(away.metrics().sum("rivulet_streams_closed_total", "reason=\"kicked\""), Some(1.0));
}

#[tokio::test]
async fn a_kick_that_cannot_be_read_ends_nobody_and_says_why() {
    let hub = Hub::start(None, &[]).await;
    let mut stream = hub.open(&subscribe("a", "alice")).await;
    let check = async |body: &str, problem_type: &str, words: &[&str]| {
        let answer = kick_raw(&hub, body.as_bytes()).await;
        let problem = answer.expect_problem(400, problem_type);
        let detail = format!("{} {}", problem["detail"], problem["parameter"]);
        for word in words {
            assert!(detail.contains(word), "{word:?} is not in {detail} for {body}");
        }
    };
    check("", "body-invalid", &["JSON object"]).await;
    check("[]", "body-invalid", &["JSON object"]).await;
    check("{}", "parameter-missing", &["subject", "everybody is not meant"]).await;
    check("{\"subjekt\": \"sub:alice\"}", "parameter-unknown", &["subjekt", "subscriber"]).await;
    check("{\"subject\": 7}", "parameter-invalid", &["subject", "7", "a text"]).await;
    check("{\"subject\": \"\"}", "parameter-invalid", &["subject", "4096"]).await;
    check("{\"ip\": \"localhost\"}", "parameter-invalid", &["ip", "localhost", "IP address"]).await;
    check("{\"ip\": \"2001:db8::/48\"}", "parameter-invalid", &["ip", "2001:db8::/48", "/64"]).await;
    let twice = "{\"subject\": \"sub:bob\", \"topic\": \"a\", \"subject\": \"sub:alice\"}";
    check(twice, "parameter-invalid", &["subject", "twice"]).await;
    check("{\"subscriber\": \"x\"}", "parameter-invalid", &["subscriber", "UUID"]).await;
    check("{\"subject\": \"sub:alice\", \"x\": \"y\"}", "parameter-unknown", &["x"]).await;
    let long = json!({"subject": "x".repeat(70_000)}).to_string();
    kick_raw(&hub, long.as_bytes()).await.expect_problem(413, "body-too-long");
    // What a page of any site can make a browser send.
    let forged = Request::new("POST", "/kick")
        .header("Content-Type", "text/plain")
        .body(b"{\"subject\": \"sub:alice\"}")
        .send(hub.admin())
        .await;
    forged.expect_problem(415, "media-type-unsupported");
    let answer = Request::new("GET", "/kick").send(hub.admin()).await;
    answer.expect_problem(405, "method-not-allowed");
    assert_eq!(answer.header("allow"), Some("POST"));
    hub.publish(&[("topic", "a"), ("data", "still here")]).await;
    assert_eq!(stream.data(1).await, ["still here"]);
}

#[tokio::test]
async fn what_a_node_holds_can_be_looked_at_page_by_page() {
    let hub = Hub::start(None, &["--limit-connections-per-subject", "100"]).await;
    let mut streams = Vec::new();
    for number in 0..25 {
        streams.push(hub.open(&subscribe(&format!("t{}", number % 5), "alice")).await);
    }
    streams.push(hub.open(&subscribe("t0", "bob")).await);
    let (mut subscribers, mut after) = (Vec::new(), String::new());
    loop {
        let target = format!("/debug/connections?limit=10{after}");
        let page = Request::new("GET", &target).send(hub.admin()).await.json();
        let connections = page["connections"].as_array().expect("a list");
        assert!(connections.len() <= 10, "{page}");
        subscribers.extend(connections.iter().map(|connection| connection["subscriber"].to_string()));
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    subscribers.sort();
    subscribers.dedup();
    assert_eq!(subscribers.len(), 26);
    assert_eq!(listed(&hub, "subject=sub:bob&state=live").await.len(), 1);
    assert_eq!(listed(&hub, "topic=t0").await.len(), 6);
    assert_eq!(listed(&hub, "state=replaying").await.len(), 0);
    let one = &listed(&hub, "subject=sub:bob").await[0];
    assert_eq!((&one["ip"], &one["state"]), (&json!("127.0.0.1"), &json!("live")), "{one}");
    assert_eq!(one["matchers"], json!(["t0"]), "{one}");
    assert!(one["age_seconds"].as_f64().is_some() && one["cursor"].as_str().is_some(), "{one}");

    let topics = Request::new("GET", "/debug/topics?topic=t0").send(hub.admin()).await.json();
    let topics = topics["topics"].as_array().expect("a list").clone();
    let count: u64 = topics.iter().filter_map(|topic| topic["subscribers"].as_u64()).sum();
    assert_eq!(count, 6, "{topics:?}");
    let feed = Request::new("GET", "/debug/feed").send(hub.admin()).await.json();
    assert_eq!(feed["transport"], "memory");
    assert_eq!(feed["partitions"][0]["live"], true, "{feed}");

    for (path, word) in [
        ("connections?limit=0", "1000"),
        ("connections?limit=1001", "1000"),
        ("connections?state=asleep", "replaying"),
        ("connections?after=x", "next"),
        ("connections?ip=x", "IP address"),
        ("topics?limit=x", "1000"),
    ] {
        let answer = Request::new("GET", &format!("/debug/{path}")).send(hub.admin()).await;
        let problem = answer.expect_problem(400, "parameter-invalid");
        assert!(problem["detail"].as_str().expect("a text").contains(word), "{path}: {problem}");
        let name = path.split(['?', '=']).nth(1);
        assert_eq!(problem["parameter"].as_str(), name, "{problem}");
    }
    for path in ["connections?limt=1", "topics?subject=x", "feed?limit=1"] {
        let answer = Request::new("GET", &format!("/debug/{path}")).send(hub.admin()).await;
        answer.expect_problem(400, "parameter-unknown");
    }
}
