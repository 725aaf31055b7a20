//! Last ids that are not ours: never a silent "caught up", never an error that ends a client's life, but a gap that is
//! said, then what is kept, then the stream.

use rivulet_tests::{
    Backend, Hub, Request, Subscriber,
    tokens::access,
    wire::{HUB_PATH, percent},
};
use serde_json::Value;

/// Reads the gap, what is kept, and what comes live.
async fn expect_gap_then_all(hub: &Hub, mut stream: Subscriber, id: &str) {
    let header = stream.head().header("last-event-id").or(stream.head().header("mercure-last-event-id"));
    assert_eq!(header, Some("earliest"), "after {id:?}");
    let gap = stream.event().await;
    assert_eq!(gap.kind.as_deref(), Some("rivulet-gap"), "after {id:?}: {gap:?}");
    let said: Value = serde_json::from_str(gap.data()).expect("JSON");
    assert_eq!(said["topics"], serde_json::json!(["a"]), "after {id:?}");
    assert!(said["oldest"].as_str().is_some_and(|oldest| oldest.starts_with('#')), "after {id:?}: {said}");
    assert!(gap.id().starts_with('#'), "after {id:?}: {gap:?}");
    assert_eq!(stream.data(2).await, ["1", "2"], "after {id:?}");
    hub.publish(&[("topic", "a"), ("data", "live")]).await;
    assert_eq!(stream.data(1).await, ["live"], "after {id:?}");
    drop(stream);
    // The id of the gap is a cursor before what is kept.
    let query = format!("topic=a&lastEventID={}", percent(gap.id()));
    assert_eq!(hub.subscribe(&query).await.data(2).await, ["1", "2"], "after the gap of {id:?}");
}

async fn hub_with_two(backend: Backend, partitions: &str) -> Hub {
    let flags: &[&str] = if backend == Backend::Redis { &["--redis-partitions", partitions] } else { &[] };
    let hub = backend.hub_with(flags).await;
    for data in ["1", "2"] {
        hub.publish(&[("topic", "a"), ("data", data)]).await;
    }
    hub
}

async fn check(backend: Backend, partitions: &str, ids: &[&str]) {
    for id in ids {
        // A hub each: what comes live for one would be kept for the next.
        let hub = hub_with_two(backend, partitions).await;
        let query = format!("topic=a&lastEventID={}", percent(id));
        if id.is_ascii() {
            let by_header = hub.open(&Request::subscribe("topic=a").header("Last-Event-ID", id)).await;
            assert_eq!(by_header.head().header("last-event-id"), Some("earliest"), "{id:?} in the header");
        }
        let stream = hub.subscribe(&query).await;
        expect_gap_then_all(&hub, stream, id).await;
    }
}

const FOREIGN: [&str; 4] = ["urn:uuid:5e94c686-2c0b-4f9b-958c-92ccc3bbb4eb", "0", "été", "#"];
const MALFORMED: [&str; 6] = ["#x", "#-1", "#01", "# 1", "#1,2", "#99999999999999999999999999"];
/// In the year 2255.
const FUTURE: &str = "#9000000000000000";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_that_are_not_ours_get_a_gap_and_what_is_kept() {
    check(Backend::Redis, "1", &FOREIGN[..2]).await;
    check(Backend::Redis, "1", &[FUTURE, "#64:1700000000000000", "#64:1700000000000000,3+5"]).await;
    check(Backend::Memory, "1", &[FUTURE, "#64:1700000000000000"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_of_another_partition_count_get_a_gap_and_what_is_kept() {
    let future = format!("#4:{}", &FUTURE[1..]);
    let ids = ["#1700000000000000", "#64:1700000000000000", "#4:1700000000000000,4+1", &future];
    check(Backend::Redis, "4", &ids).await;
    check(Backend::Redis, "4", &["#4:", "#4:1,", "#4:1,2+0", "#4:1,2+1,1+1"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_ids_get_a_gap_and_what_is_kept() {
    check(Backend::Memory, "1", &MALFORMED).await;
    check(Backend::Memory, "1", &FOREIGN[2..]).await;
    check(Backend::Redis, "1", &MALFORMED[4..]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_of_a_megabyte_is_refused_or_unknown_but_harms_nobody() {
    let hub = hub_with_two(Backend::Redis, "1").await;
    let id = "x".repeat(1_000_000);
    let request = Request::subscribe("topic=a").header("Last-Event-ID", &id);
    let answer = hub.send(&request).await;
    assert!([400, 431].contains(&answer.status), "in a header: {}", answer.status);
    let answer = hub.send(&Request::subscribe(&format!("topic=a&lastEventID={id}"))).await;
    assert!([400, 414, 431].contains(&answer.status), "in the query: {}", answer.status);

    let query = |body: &str| {
        Request::new("QUERY", HUB_PATH)
            .header("Content-Type", "application/x-www-form-urlencoded")
            .bearer(&access(&[("subscribe", "exact", "a")]))
            .body(body.as_bytes())
    };
    let stream = hub.open(&query(&format!("match=a&last_event_id={id}"))).await;
    expect_gap_then_all(&hub, stream, "a megabyte").await;
    // Nearly two: above the limit of bodies.
    let answer = hub.send(&query(&format!("match=a&last_event_id={id}{id}"))).await;
    answer.expect_problem(413, "body-too-long");
    assert_eq!(hub.redis().keys().iter().filter(|key| key.len() > 1_000).count(), 0);
}
