//! What the HTTP face measures: streams that begin, updates that are published, tokens that are refused, handshakes.
#![allow(clippy::unwrap_used, reason = "a test fails where it unwraps")]

mod hub;

use std::sync::atomic::Ordering::SeqCst;

use hub::{
    HUB, Hub, both, eventually,
    tls::{Identity, open},
    token,
    transport::Gated,
};
use rivulet_http::{PublishOutcome, auth::Check};
use rivulet_node::NodeConfig;

/// Updates by outcome: published, refused, failed.
fn published(hub: &Hub) -> [u64; 3] {
    let found = hub.stats.snapshot().publish;
    let total = |outcome| found.iter().find(|(found, _)| *found == outcome).unwrap().1.total();
    PublishOutcome::ALL.map(total)
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_measured_by_dialect_when_they_have_begun() {
    let hub = Hub::start().await;
    let mut streams = Vec::new();
    for query in ["topic=a", "match=a", "match=b"] {
        streams.push(hub.stream(query).await);
    }
    assert_eq!(hub.get("match=").await.status(), 400);
    assert_eq!(hub.request("HEAD", &format!("{HUB}?match=a")).send().await.unwrap().status(), 200);
    let begun = || hub.stats.snapshot().subscribe.iter().map(|(_, took)| took.total()).collect::<Vec<_>>();
    // The head may arrive before it is counted.
    eventually("each is counted", || begun() == [1, 2]).await;
    assert!(hub.stats.snapshot().subscribe.iter().all(|(_, took)| took.sum_nanos > 1_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn updates_are_measured_by_what_became_of_them() {
    let (transport, feed) = Gated::start();
    transport.permits.add_permits(100);
    let hub = Hub::start_on(transport.clone(), feed, NodeConfig::default(), both(), |_| {}).await;
    hub.published("topic=a").await;
    let bearer = token::v0(&["*"], &[]);
    assert_eq!(hub.post(&bearer, "data=1").await.status(), 400);
    assert_eq!(published(&hub), [1, 1, 0]);
    let batch = |lines: &str| {
        let request = hub.request("POST", HUB).bearer_auth(&bearer);
        request.header("Content-Type", "application/x-ndjson").body(lines.to_owned()).send()
    };
    let lines = "{\"topic\":\"a\"}\n{\"topic\":\"b\"}\n{}\n";
    assert_eq!(batch(lines).await.unwrap().status(), 200);
    assert_eq!(published(&hub), [3, 2, 0], "each line of a batch for itself");
    transport.broken.store(true, SeqCst);
    assert_eq!(hub.post(&bearer, "topic=a").await.status(), 503);
    assert_eq!(batch(lines).await.unwrap().status(), 200);
    assert_eq!(published(&hub), [3, 2, 4], "after the first line nothing is tried");
    assert_eq!(hub.request("POST", HUB).send().await.unwrap().status(), 401);
    assert_eq!(published(&hub), [3, 2, 4], "of who has no token no update is read");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_counted_by_the_check_that_failed() {
    let hub = Hub::start().await;
    let refused = || {
        let counts = hub.stats.snapshot().token_refusals;
        counts.into_iter().filter(|(_, count)| *count > 0).collect::<Vec<_>>()
    };
    assert_eq!(refused(), []);
    assert_eq!(hub.request("POST", HUB).send().await.unwrap().status(), 401);
    assert_eq!(hub.post("garbage", "topic=a").await.status(), 401);
    assert_eq!(hub.post("garbage", "topic=a").await.status(), 401);
    assert_eq!(hub.get("match=").await.status(), 400, "no token is to blame");
    assert_eq!(refused(), [(Check::TokenMissing, 1), (Check::Malformed, 2)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn handshakes_are_measured_when_they_are_done() {
    let identity = Identity::new();
    let (certificates, (transport, feed)) = (identity.load(), Gated::start());
    let hub = Hub::start_on(transport, feed, NodeConfig::default(), both(), |config| {
        (config.anonymous, config.tls) = (true, Some(certificates));
    })
    .await;
    let _streams = [
        open(&identity.client(), hub.server.address(), "match=a").await,
        open(&identity.client(), hub.server.address(), "match=a").await,
    ];
    let mut plain = hub::client::Raw::connect(hub.server.address()).await;
    plain.send(b"GET / HTTP/1.1\r\n\r\n").await;
    plain.read_all().await;
    let took = hub.stats().handshake.snapshot();
    assert_eq!(took.total(), 2);
    assert!(took.sum_nanos > 2_000, "{took:?}");
}
