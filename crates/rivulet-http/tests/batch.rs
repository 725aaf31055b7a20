//! Batches: an answer per line, in order, whatever the other lines are.
#![allow(clippy::unwrap_used, reason = "a test fails where it unwraps")]

mod hub;

use std::sync::atomic::Ordering::SeqCst;

use hub::{HUB, Hub, client::Raw, eventually, header, problem, token, transport::Gated};
use reqwest::Response;
use rivulet_node::NodeConfig;
use serde_json::Value;

async fn send(hub: &Hub, token: &str, body: impl Into<String>) -> Response {
    let request = hub.request("POST", HUB).bearer_auth(token).header("Content-Type", "application/x-ndjson");
    request.body(body.into()).send().await.unwrap()
}

async fn answers(response: Response) -> Vec<Value> {
    assert_eq!(response.status(), 200);
    assert_eq!(header(&response, "content-type"), Some("application/x-ndjson"));
    let text = response.text().await.unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A line, and the id or the refusal that answers it.
type Answered = (&'static str, Result<&'static str, (&'static str, u16)>);

const LINES: &[Answered] = &[
    (r#"{"topic":"a","data":"one","id":"1","type":"t","retry":7,"unknown":[]}"#, Ok("1")),
    ("not json", Err(("line-invalid", 400))),
    (r#"{"data":"x"}"#, Err(("topic-missing", 400))),
    (r#"["a"]"#, Err(("line-invalid", 400))),
    (r#"{"topic":7}"#, Err(("line-invalid", 400))),
    (r#"{"topic":"a","data":{"a":1}}"#, Err(("line-invalid", 400))),
    (r#"{"topic":"a","private":"on"}"#, Err(("line-invalid", 400))),
    (r#"{"topic":"a","id":"earliest"}"#, Err(("id-invalid", 400))),
    (r#"{"topic":"a","retry":-1}"#, Err(("line-invalid", 400))),
    (r#"{"topic":"a","retry":"x"}"#, Err(("retry-invalid", 400))),
    (r#"{"topic":"a\u0000"}"#, Err(("topic-invalid", 400))),
    (r#"{"topic":"/.well-known/mercure/x"}"#, Err(("topic-reserved", 400))),
    (r#"{"topic":"secret"}"#, Err(("insufficient-scope", 403))),
    (
        r#"{"topic":"a","data":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}"#,
        Err(("body-too-long", 413)),
    ),
    (r#"{"topic":["a","b"],"data":"pr\u0069vate","private":true,"id":"2"}"#, Ok("2")),
    (r#"{"topic":["b","a"],"data":"x\ny","private":false,"type":null,"retry":"9","id":"3"}"#, Ok("3")),
];

#[tokio::test(flavor = "multi_thread")]
async fn one_lines_error_does_not_lose_the_others() {
    let hub = Hub::start_with(hub::both(), |config| {
        config.anonymous = true;
        config.body_len_max = 90;
    })
    .await;
    let mut stream = hub.stream("match=a&match=b").await;
    // Blank lines are skipped, and CRLF ends a line as well.
    let body = LINES.iter().map(|(line, _)| *line).collect::<Vec<_>>().join("\r\n\n");
    let answers = answers(send(&hub, &token::v1(&["a", "b"], &[]), body).await).await;
    assert_eq!(answers.len(), LINES.len());
    for (answer, (line, expected)) in answers.iter().zip(LINES) {
        match expected {
            Ok(id) => assert_eq!(answer["id"], *id, "{line}: {answer}"),
            Err((slug, status)) => {
                assert_eq!(
                    answer["error"]["type"],
                    format!("urn:rivulet:problem:{slug}"),
                    "{line}: {answer}"
                );
                assert_eq!(answer["error"]["status"], *status, "{line}: {answer}");
            }
        }
    }
    let text = stream.until("data: y\n\n").await;
    let events = "event: t\nretry: 7\nid: 1\ndata: one\n\nretry: 9\nid: 3\ndata: x\ndata: y\n\n";
    assert!(text.ends_with(events), "{text}");
    assert_eq!(hub.node.stats().published, 3);
    drop(stream);
    hub.left_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_are_bounded_and_authorized() {
    let hub = Hub::start_with(hub::both(), |config| config.batch_len_max = 50_000).await;
    let publisher = token::v0(&["*"], &[]);
    let line = "{\"topic\":\"a\"}\n";
    assert_eq!(answers(send(&hub, &publisher, line.repeat(1000)).await).await.len(), 1000);
    problem(send(&hub, &publisher, line.repeat(1001)).await, 413, "lines-too-many").await;
    problem(send(&hub, &publisher, " ".repeat(50_001)).await, 413, "body-too-long").await;
    problem(send(&hub, "x.y.z", line).await, 401, "token-malformed").await;
    assert!(answers(send(&hub, &publisher, "\n \n").await).await.is_empty());
    assert_eq!(hub.node.stats().published, 1000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_goes_on_when_its_publisher_hangs_up() {
    let (transport, feed) = Gated::start();
    let hub =
        Hub::start_on(transport.clone(), feed, NodeConfig::default(), hub::both(), |c| c.anonymous = true)
            .await;
    let mut stream = hub.stream("match=a").await;
    let body = (0..3).map(|n| format!("{{\"topic\":\"a\",\"data\":\"line {n}\"}}\n")).collect::<String>();
    let raw = Raw::open(
        hub.server.address(),
        &format!(
            "POST {HUB} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n\
         Content-Type: application/x-ndjson\r\n\r\n{body}",
            token::v0(&["*"], &[]),
            body.len()
        ),
    )
    .await;
    eventually("the first append has begun", || transport.begun.load(SeqCst)).await;
    drop(raw);
    transport.permits.add_permits(3);
    stream.until("data: line 2").await;
    drop(stream);
    hub.left_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_line_is_answered_when_the_transport_is_away() {
    let (transport, feed) = Gated::start();
    transport.broken.store(true, SeqCst);
    let hub = Hub::start_on(transport.clone(), feed, NodeConfig::default(), hub::both(), |_| ()).await;
    let answers =
        answers(send(&hub, &token::v0(&["*"], &[]), "{\"topic\":\"a\"}\n{}\n{\"topic\":\"b\"}").await).await;
    assert_eq!(answers.len(), 3);
    for answer in answers {
        assert_eq!(answer["error"]["type"], "urn:rivulet:problem:transport-unavailable");
    }
}
