//! The memory that bodies under way may hold together.
#![allow(clippy::unwrap_used, reason = "a test fails where it unwraps")]

mod hub;

use std::sync::atomic::Ordering::SeqCst;

use hub::{HUB, Hub, client::Raw, eventually, header, problem, token, transport::Gated};
use rivulet_node::NodeConfig;
use serde_json::json;

fn head(len: usize) -> String {
    head_with(&token::v0(&["*"], &[]), len)
}

fn head_with(token: &str, len: usize) -> String {
    format!(
        "POST {HUB} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {token}\r\nContent-Length: {len}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\n\r\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_has_no_room_is_refused_before_it_is_read() {
    let (transport, feed) = Gated::start();
    let hub = Hub::start_on(transport.clone(), feed, NodeConfig::default(), hub::both(), |config| {
        config.bodies_in_flight_max = 100_000;
    })
    .await;
    let body = format!("topic=a&id=long&data={}", "x".repeat(70_000));
    let mut long = Raw::open(hub.server.address(), &format!("{}{body}", head(body.len()))).await;
    eventually("its append has begun", || transport.begun.load(SeqCst)).await;
    let held = hub.stats.snapshot().body_bytes;
    assert!((body.len()..=100_000).contains(&held), "{held}");

    // Only the head is sent: the answer does not wait for the body.
    let mut refused = Raw::open(hub.server.address(), &head(40_000)).await;
    refused.until("bodies-busy").await;
    assert!(refused.text.starts_with("HTTP/1.1 503 "), "{}", refused.text);
    let response = hub.post(&token::v0(&["*"], &[]), &"x".repeat(40_000)).await;
    assert_eq!(header(&response, "retry-after"), Some("1"));
    let document = problem(response, 503, "bodies-busy").await;
    let members = ["limit", "value", "scope", "retry_after"].map(|member| document[member].clone());
    assert_eq!(members, [json!("bodies_in_flight_bytes"), json!(100_000), json!({"kind": "node"}), json!(1)]);
    let refusals = hub.stats.snapshot().refused;
    assert_eq!(refusals.into_iter().find(|(slug, _)| *slug == "bodies-busy"), Some(("bodies-busy", 2)));

    transport.permits.add_permits(2);
    long.until("\r\n\r\nlong").await;
    eventually("the memory is given back", || hub.stats.snapshot().body_bytes == 0).await;
    assert_eq!(hub.post(&token::v0(&["*"], &[]), &body).await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_taken_as_a_body_arrives_not_as_it_is_announced() {
    let (transport, feed) = Gated::start();
    transport.permits.add_permits(1);
    let hub = Hub::start_on(transport, feed, NodeConfig::default(), hub::both(), |config| {
        config.bodies_in_flight_max = 100_000;
    })
    .await;
    let mut announced = Vec::new();
    for nth in 0..5 {
        let head = head_with(&token::v0_of(&format!("publisher-{nth}"), &["*"]), 90_000);
        announced.push(Raw::open(hub.server.address(), &format!("{head}topic=a")).await);
    }
    eventually("each has sent its first bytes", || hub.stats.snapshot().body_bytes >= 5 * 7).await;
    assert_eq!(hub.post(&token::v0(&["*"], &[]), "topic=a&data=small").await.status(), 200);
    drop(announced);
    eventually("the memory is given back", || hub.stats.snapshot().body_bytes == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_in_chunks_is_refused_when_the_memory_is_used_up() {
    let hub = Hub::start_with(hub::both(), |config| config.bodies_in_flight_max = 50_000).await;
    let request = format!(
        "POST {HUB} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {}\r\nTransfer-Encoding: chunked\r\n\
         Content-Type: application/x-ndjson\r\n\r\n",
        token::v0(&["*"], &[])
    );
    let chunk = format!("{:x}\r\n{}\r\n", 20_000, " ".repeat(20_000));
    let mut raw = Raw::open(hub.server.address(), &format!("{request}{chunk}{chunk}")).await;
    eventually("both chunks have arrived", || hub.stats.snapshot().body_bytes >= 40_000).await;
    raw.send(chunk.as_bytes()).await;
    raw.until("urn:rivulet:problem:bodies-busy").await;
    eventually("the memory is given back", || hub.stats.snapshot().body_bytes == 0).await;
    assert_eq!(hub.node.stats().published, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_bodies_of_one_publisher_leave_room_for_others() {
    let hub = Hub::start_with(hub::both(), |config| config.bodies_in_flight_max = 100_000).await;
    let of = |subject: &str| token::v0_of(subject, &["*"]);
    let head = |subject: &str| {
        format!(
            "POST {HUB} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {}\r\nTransfer-Encoding: chunked\r\n\
             Content-Type: application/x-ndjson\r\n\r\n",
            of(subject)
        )
    };
    // Each says something, and never ends. They are short enough to be read at once.
    let chunk = format!("{:x}\r\n{}\r\n", 6_000, " ".repeat(6_000));
    let mut slow = Vec::new();
    for nth in 1..=8 {
        slow.push(Raw::open(hub.server.address(), &format!("{}{chunk}", head("slow"))).await);
        eventually("it has begun", || hub.stats.snapshot().body_bytes == nth * 6_000).await;
    }
    let mut one_more = Raw::open(hub.server.address(), &format!("{}{chunk}", head("slow"))).await;
    one_more.until("urn:rivulet:problem:bodies-too-many").await;
    let response = hub.post(&of("slow"), &"x".repeat(6_000)).await;
    assert_eq!(header(&response, "retry-after"), Some("1"));
    let document = problem(response, 429, "bodies-too-many").await;
    let members = ["limit", "value", "scope", "retry_after"].map(|member| document[member].clone());
    let scope = json!({"kind": "subject", "text": "sub:slow"});
    assert_eq!(members, [json!("bodies_in_flight_bytes_per_subject"), json!(50_000), scope, json!(1)]);

    let body = format!("topic=a&data={}", "x".repeat(40_000));
    assert_eq!(hub.post(&of("other"), &body).await.status(), 200, "others have room");
    drop(slow);
    eventually("the memory is given back", || hub.stats.snapshot().body_bytes == 0).await;
    assert_eq!(hub.post(&of("slow"), &body).await.status(), 200);
}
