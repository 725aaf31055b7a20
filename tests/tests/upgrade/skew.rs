//! Nodes of this release and of the next on one Redis: whatever one writes, the other reads.

use std::sync::Arc;

use rivulet_tests::{
    Hub, PATIENCE, Request, eventually,
    redis_cluster::RedisCluster,
    tokens::{SUBSCRIBER_KEY, publisher, sign},
    wire::form,
};
use serde_json::json;

use crate::build::{Build, both, unreadable};

fn subscribe(topic: &str, subject: &str) -> Request {
    let claims = json!({"mercure": {"subscribe": []}, "sub": subject});
    let header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256);
    Request::subscribe(&format!("topic={topic}")).bearer(&sign(&header, &claims, SUBSCRIBER_KEY))
}

fn keyed(key: &str, fields: &[(&str, &str)]) -> Request {
    Request::publish(fields).bearer(&publisher(&["*"])).header("Idempotency-Key", key)
}

/// Both nodes have read everything.
fn expect_all_read(hubs: &[Hub]) {
    for hub in hubs {
        assert_eq!(unreadable(hub), [0.0, 0.0], "{}", hub.log());
        assert_eq!(hub.metrics().sum("rivulet_updates_lost_total", ""), Some(0.0), "{}", hub.log());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_node_of_one_release_publishes_arrives_and_replays_at_the_other() {
    let (_redis, hubs) = both(&[]).await;
    let mut streams = Vec::new();
    for hub in &hubs {
        streams.push(hub.subscribe("topic=a").await);
        streams.push(hub.subscribe("topic=*").await);
    }
    let mut ids = Vec::new();
    for number in 0..20 {
        let data = number.to_string();
        let topics = [("topic", "a"), ("topic", "b"), ("data", &data), ("type", "t"), ("retry", "7")];
        ids.push(hubs[number % 2].publish(&topics).await);
    }
    let expected: Vec<String> = (0..20).map(|number| number.to_string()).collect();
    for stream in &mut streams {
        let (mut data, mut seen) = (Vec::new(), Vec::new());
        for _ in 0..20 {
            let event = stream.event().await;
            assert_eq!((event.kind.as_deref(), event.retry), (Some("t"), Some(7)), "{event:?}");
            data.push(event.data().to_owned());
            seen.push(event.id().to_owned());
        }
        assert_eq!((&data, &seen), (&expected, &ids));
    }
    // From the topics' streams, and through the index.
    for hub in &hubs {
        for matcher in ["b", "*"] {
            let query = form(&[("topic", matcher), ("lastEventID", &ids[4])]);
            assert_eq!(hub.subscribe(&query).await.data(15).await, expected[5..], "{matcher}");
        }
    }
    expect_all_read(&hubs);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publishers_own_id_and_idempotency_key_hold_at_both_releases() {
    let (_redis, hubs) = both(&[]).await;
    let mut stream = hubs[0].subscribe("topic=a").await;
    for (number, (first, other)) in [(0, 1), (1, 0)].into_iter().enumerate() {
        let (key, id) = (format!("key-{number}"), format!("urn:x:{number}"));
        let fields = [("topic", "a"), ("data", &*key), ("id", &*id)];
        let answer = hubs[first].send(&keyed(&key, &fields)).await;
        assert_eq!((answer.status, answer.text()), (200, &*id));
        let repeat = hubs[other].send(&keyed(&key, &fields)).await;
        assert_eq!((repeat.status, repeat.text()), (200, &*id), "a repeat");
        let changed = hubs[other].send(&keyed(&key, &[("topic", "a"), ("data", "other")])).await;
        changed.expect_problem(422, "idempotency-key-reused");
        hubs[first].publish(&[("topic", "a"), ("data", "after")]).await;
        let query = form(&[("topic", "a"), ("lastEventID", &id)]);
        assert_eq!(hubs[other].subscribe(&query).await.data(1).await, ["after"]);
        assert_eq!(stream.data(2).await, [&*key, "after"], "each once");
    }
    expect_all_read(&hubs);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quotas_and_rates_count_both_releases() {
    let flags = ["--limit-connections-per-subject", "3", "--limit-publishes-per-topic", "4/h,burst=4"];
    let (redis, hubs) = both(&flags).await;
    let alice = subscribe("a", "alice");
    let mut streams =
        vec![hubs[0].open(&alice).await, hubs[1].open(&alice).await, hubs[1].open(&alice).await];
    for hub in &hubs {
        hub.send(&alice).await.expect_problem(429, "quota-exceeded");
    }
    // The last one stands at the next release, the first one at this.
    for (gives, takes, at) in [(1, 0, 2), (0, 1, 0)] {
        drop(streams.remove(at));
        let address = hubs[takes].address();
        let stream = eventually("a place is free", PATIENCE, || async {
            let opened = rivulet_tests::Subscriber::try_open(address, &alice).await;
            opened.map_err(|refusal| format!("{refusal:?}"))
        })
        .await;
        streams.push(stream);
        hubs[gives].send(&alice).await.expect_problem(429, "quota-exceeded");
    }
    for number in 0..4 {
        hubs[number % 2].publish(&[("topic", "r"), ("data", "x")]).await;
    }
    for hub in &hubs {
        let refused = hub.send(&Request::publish(&[("topic", "r")]).bearer(&publisher(&["*"]))).await;
        refused.expect_problem(429, "rate-exceeded");
    }
    // Each says of itself what it says of itself, and each is counted by both.
    let incarnations = redis.command(&["ZRANGE", "{rivulet:0}q:nodes", "0", "-1"]).expect("a set");
    let said: Vec<String> = incarnations
        .lines()
        .map(|name| redis.command(&["HGET", &format!("{{rivulet:0}}q:n:{name}"), "f"]).expect("a hash"))
        .collect();
    assert!(said.len() == 2 && said.contains(&"3".to_owned()) && said.contains(&String::new()), "{said:?}");
    for hub in &hubs {
        eventually("both are counted", PATIENCE, || async {
            let nodes = hub.metrics().sum("rivulet_hub_nodes", "");
            if nodes == Some(2.0) { Ok(()) } else { Err(format!("{nodes:?}")) }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kick_at_one_release_ends_connections_at_the_other() {
    let (_redis, hubs) = both(&[]).await;
    for (at, subject) in [(0, "alice"), (1, "bob")] {
        let mut streams =
            [hubs[0].open(&subscribe("a", subject)).await, hubs[1].open(&subscribe("a", subject)).await];
        let target = json!({"subject": format!("sub:{subject}")}).to_string();
        let request = Request::new("POST", "/kick").header("Content-Type", "application/json");
        let answer = request.body(target.as_bytes()).send(hubs[at].admin()).await;
        assert_eq!(answer.json(), json!({"ended": 2, "nodes": 2, "nodes_unanswered": 0}), "{subject}");
        for stream in &mut streams {
            assert!(stream.rest().await.is_empty());
        }
    }
    expect_all_read(&hubs);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_redis_has_forgotten_all_scripts_each_release_sends_its_own() {
    let (redis, hubs) = both(&[]).await;
    let mut streams = [hubs[0].subscribe("topic=a").await, hubs[1].subscribe("topic=a").await];
    for round in ["1", "2"] {
        redis.command(&["SCRIPT", "FLUSH"]).expect("it can be done");
        for (hub, name) in hubs.iter().zip(["this", "next"]) {
            hub.publish(&[("topic", "a"), ("data", &format!("{name} {round}"))]).await;
        }
        for stream in &mut streams {
            assert_eq!(stream.data(2).await, [format!("this {round}"), format!("next {round}")]);
        }
    }
    expect_all_read(&hubs);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_begins_anew_is_said_at_both_releases() {
    let (redis, hubs) = both(&[]).await;
    let mut streams = [hubs[0].subscribe("topic=a").await, hubs[1].subscribe("topic=a").await];
    hubs[0].publish(&[("topic", "a"), ("data", "before")]).await;
    for stream in &mut streams {
        assert_eq!(stream.data(1).await, ["before"]);
    }
    redis.command(&["FLUSHALL"]).expect("it can be done");
    hubs[1].publish(&[("topic", "a"), ("data", "after")]).await;
    for stream in &mut streams {
        let gap = stream.event().await;
        assert_eq!(gap.kind.as_deref(), Some("rivulet-gap"), "{gap:?}");
        assert_eq!(stream.data(1).await, ["after"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_cluster_too_both_releases_read_each_other() {
    let cluster = RedisCluster::start().await;
    let flags = ["--redis-url", &cluster.url(), "--redis-partitions", "4"];
    let hubs = [
        Hub::start_in(&[], None, &flags).await,
        Hub::start_in(&Build::Next.environment(), None, &flags).await,
    ];
    let mut streams = [hubs[0].subscribe("topic=*").await, hubs[1].subscribe("topic=*").await];
    let mut expected = Vec::new();
    for number in 0..12 {
        let (topic, data) = (format!("t{number}"), number.to_string());
        hubs[number % 2].publish(&[("topic", &topic), ("topic", "all"), ("data", &data)]).await;
        expected.push(data);
    }
    for stream in &mut streams {
        let mut data = stream.data(12).await;
        data.sort_by_key(|data| data.parse::<u32>().ok());
        assert_eq!(data, expected, "each once");
    }
    expect_all_read(&hubs);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_node_must_not_pass_over_is_a_gap_and_it_is_loud_until_it_is_upgraded() {
    let redis = Arc::new(rivulet_tests::redis::RedisServer::start().await);
    let mut old = Build::This.start(&redis, &[]).await;
    let mut stream = old.subscribe("topic=a").await;
    let mut beside = old.subscribe("topic=c").await;
    let first = old.publish(&[("topic", "a"), ("data", "1")]).await;
    let new = Build::NextFormat.start(&redis, &[]).await;
    let mut there = new.subscribe("topic=a").await;
    new.publish(&[("topic", "a"), ("data", "2")]).await;
    assert_eq!(stream.event().await.data(), "1");
    let gap = stream.event().await;
    assert_eq!(gap.kind.as_deref(), Some("rivulet-gap"), "{gap:?}\n{}", old.log());
    assert!(gap.data().contains("\"a\""), "{gap:?}");
    assert_eq!(there.data(1).await, ["2"]);
    // What the old one writes is read by both, and the old one goes on.
    old.publish(&[("topic", "a"), ("data", "3")]).await;
    old.publish(&[("topic", "c"), ("data", "4")]).await;
    assert_eq!((stream.data(1).await, there.data(1).await), (vec!["3".to_owned()], vec!["3".to_owned()]));
    assert_eq!(beside.data(1).await, ["4"], "whom it does not concern hears nothing of it");
    // A replay there says so too.
    let query = form(&[("topic", "a"), ("lastEventID", &first)]);
    let mut replay = old.subscribe(&query).await;
    assert_eq!(replay.event().await.kind.as_deref(), Some("rivulet-gap"));
    assert_eq!(replay.data(1).await, ["3"]);
    let [newer, damaged] = unreadable(&old);
    assert!(newer >= 2.0 && damaged == 0.0, "{newer} {damaged}");
    assert_eq!(old.log().matches("upgrade this node").count(), 1, "{}", old.log());
    old.replace_in(&Build::NextFormat.environment()).await;
    let mut replay = old.subscribe(&query).await;
    assert_eq!(replay.data(2).await, ["2", "3"], "it is upgraded: nothing was lost");
    assert_eq!(unreadable(&old), [0.0, 0.0]);
}
