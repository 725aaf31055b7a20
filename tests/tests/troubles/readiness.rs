//! What `/ready` says, and publications that may be refused.

use std::time::{Duration, Instant};

use rivulet_tests::{Hub, Request, Response, eventually, metrics, tokens::publisher};
use serde_json::Value;

/// How long `/ready` may call a feed live that is not (the number), and how long it may take to see that it is
/// well again.
pub(crate) const NOTICED: Duration = Duration::from_secs(10);

/// Waits until the node is not ready because of its feed; answers what it says of the first stale partition.
pub(crate) async fn not_ready(hub: &Hub) -> Value {
    let since = Instant::now();
    let body = eventually("/ready must be 503", NOTICED, || async {
        match metrics::get(hub.admin(), "/ready") {
            Ok((503, body)) => Ok(body),
            answer => Err(format!("{answer:?} {:?} later\n{}", since.elapsed(), hub.log())),
        }
    })
    .await;
    let answer: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(answer["status"], "not ready", "{answer}");
    let stale = answer["stale_partitions"][0].clone();
    for member in ["since", "reason"] {
        assert!(stale[member].as_str().is_some_and(|text| !text.is_empty()), "{member} in {answer}");
    }
    assert!(stale["partition"].is_u64() && stale["seconds"].is_u64(), "{answer}");
    stale
}

/// Waits until the node is not ready and its reason holds this word.
pub(crate) async fn not_ready_because(hub: &Hub, word: &str) {
    eventually(format!("/ready must be 503 with {word:?}"), NOTICED, || async {
        let reason = not_ready(hub).await["reason"].to_string();
        if reason.contains(word) { Ok(()) } else { Err(reason) }
    })
    .await;
}

/// Waits until the node is ready.
pub(crate) async fn ready(hub: &Hub) {
    eventually("/ready must be 200", NOTICED, || async {
        match metrics::get(hub.admin(), "/ready") {
            Ok((200, _)) => Ok(()),
            answer => Err(format!("{answer:?}")),
        }
    })
    .await;
}

/// Publishes, whatever the answer.
pub(crate) async fn try_publish(hub: &Hub, fields: &[(&str, &str)]) -> Response {
    hub.send(&Request::publish(fields).bearer(&publisher(&["*"]))).await
}

/// Publishes as soon as it can be: the connection that appends may come back up to a second later than the feed.
pub(crate) async fn publish_again(hub: &Hub, fields: &[(&str, &str)]) {
    eventually("publishing must go on", NOTICED, || async {
        match try_publish(hub, fields).await {
            answer if answer.status == 200 => Ok(()),
            answer => Err(format!("{answer:?}")),
        }
    })
    .await;
}

/// Checks that a publication is refused because Redis is away, and says when to come back.
pub(crate) fn expect_unavailable(response: &Response) {
    response.expect_problem(503, "transport-unavailable");
    let wait = response.header("retry-after").and_then(|text| text.parse::<u64>().ok());
    assert!(wait.is_some_and(|seconds| (1..=60).contains(&seconds)), "{response:?}");
}

/// How many lines of a node's log hold this text.
pub(crate) fn lines_with(hub: &Hub, text: &str) -> usize {
    hub.log().lines().filter(|line| line.contains(text)).count()
}
