//! `Idempotency-Key`: a publication that may be repeated, on any node, and what no key may be.

use std::sync::Arc;

use rivulet_tests::{Backend, Hub, Request, Response, redis::RedisServer, tokens::publisher, wire::HUB_PATH};

fn keyed(key: &str, fields: &[(&str, &str)]) -> Request {
    Request::publish(fields).bearer(&publisher(&["*"])).header("Idempotency-Key", key)
}

fn id_of(response: &Response) -> &str {
    assert_eq!(response.status, 200, "{response:?}");
    response.text()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_gets_the_first_id_on_any_node_and_is_seen_once() {
    let redis = Arc::new(RedisServer::start().await);
    let flags = ["--redis-partitions", "4"];
    let one = Hub::start(Some(Arc::clone(&redis)), &flags).await;
    let other = Hub::start(Some(redis), &flags).await;
    let mut streams = [one.subscribe("topic=a").await, other.subscribe("topic=a&topic=b").await];
    // Topics in several partitions: the key stands in each.
    let update = [("topic", "a"), ("topic", "b"), ("topic", "c"), ("data", "1")];
    let first = one.send(&keyed("key-1", &update)).await;
    for node in [&one, &other, &other, &one] {
        let repeat = node.send(&keyed("key-1", &update)).await;
        assert_eq!(id_of(&repeat), id_of(&first));
    }
    let many = (0..20).map(|number| {
        let address = if number % 2 == 0 { one.address() } else { other.address() };
        let request = keyed("key-2", &[("topic", "a"), ("data", "2")]);
        tokio::spawn(async move { request.send(address).await })
    });
    let mut ids = Vec::new();
    for answer in many.collect::<Vec<_>>() {
        ids.push(id_of(&answer.await.expect("an answer")).to_owned());
    }
    ids.dedup();
    assert_eq!(ids.len(), 1, "who comes at the same time gets the same id: {ids:?}");
    one.publish(&[("topic", "a"), ("data", "end")]).await;
    for stream in &mut streams {
        assert_eq!(stream.data(3).await, ["1", "2", "end"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_was_used_for_another_update_is_refused_on_any_node() {
    let redis = Arc::new(RedisServer::start().await);
    let one = Hub::start(Some(Arc::clone(&redis)), &[]).await;
    let other = Hub::start(Some(redis), &[]).await;
    let mut stream = one.subscribe("topic=a").await;
    let first = one.send(&keyed("key", &[("topic", "a"), ("data", "1")])).await;
    for node in [&one, &other] {
        for changed in [
            &[("topic", "a"), ("data", "2")][..],
            &[("topic", "a"), ("data", "1"), ("private", "on")],
            &[("topic", "a"), ("data", "1"), ("id", "urn:x:1")],
            &[("topic", "a"), ("topic", "b"), ("data", "1")],
        ] {
            node.send(&keyed("key", changed)).await.expect_problem(422, "idempotency-key-reused");
        }
    }
    let repeat = other.send(&keyed("key", &[("topic", "a"), ("data", "1")])).await;
    assert_eq!(id_of(&repeat), id_of(&first), "the first use still counts");
    other.publish(&[("topic", "a"), ("data", "end")]).await;
    assert_eq!(stream.data(2).await, ["1", "end"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_key_is_said_and_nothing_is_published() {
    for backend in [Backend::Memory, Backend::Redis] {
        let hub = backend.hub().await;
        let mut stream = hub.subscribe("topic=a").await;
        let (longest, longer, long) = ("k".repeat(255), "k".repeat(256), "k".repeat(8_000));
        for key in ["", "two words", "\u{e9}", "tab\tbed", &longer, &long] {
            let answer = hub.send(&keyed(key, &[("topic", "a"), ("data", "bad")])).await;
            answer.expect_problem(400, "idempotency-key-invalid");
        }
        let twice = keyed("one", &[("topic", "a"), ("data", "bad")]).header("idempotency-key", "one");
        hub.send(&twice).await.expect_problem(400, "idempotency-key-invalid");
        let batch = Request::new("POST", HUB_PATH).header("Content-Type", "application/x-ndjson");
        let batch = batch.bearer(&publisher(&["*"])).header("Idempotency-Key", "one");
        let answer = hub.send(&batch.body(b"{\"topic\":\"a\",\"data\":\"bad\"}\n")).await;
        answer.expect_problem(400, "idempotency-key-invalid");
        for key in [&*longest, "!\"#$%&'()*+,-./:;<=>?@[]^_`{|}~", "{rivulet:0}clock"] {
            id_of(&hub.send(&keyed(key, &[("topic", "a"), ("data", "good")])).await);
        }
        assert_eq!(stream.data(3).await, ["good"; 3], "{backend:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_that_was_refused_does_not_use_its_key_up() {
    let hub = Backend::Redis.hub().await;
    let refused = hub.send(&keyed("key", &[("topic", ""), ("data", "1")])).await;
    refused.expect_problem(400, "topic-invalid");
    let forbidden = Request::publish(&[("topic", "b"), ("data", "1")]).bearer(&publisher(&["a"]));
    let forbidden = hub.send(&forbidden.header("Idempotency-Key", "key")).await;
    assert_eq!(forbidden.status, 401, "{forbidden:?}");
    id_of(&hub.send(&keyed("key", &[("topic", "a"), ("data", "2")])).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publishers_do_not_meet_each_others_keys() {
    let hub = Backend::Redis.hub().await;
    let mut ids = Vec::new();
    for (token, data) in [(publisher(&["*"]), "1"), (publisher(&["a", "b"]), "2")] {
        let fields = [("topic", "a"), ("data", data)];
        let request = Request::publish(&fields).bearer(&token).header("Idempotency-Key", "order-1");
        ids.push(id_of(&hub.send(&request).await).to_owned());
    }
    assert_ne!(ids[0], ids[1]);
}
