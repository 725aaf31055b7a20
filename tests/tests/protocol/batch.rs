//! Many updates in one request: `application/x-ndjson`.

use rivulet_tests::{
    Backend, Request, Response,
    tokens::{access, publisher},
    wire::HUB_PATH,
};
use serde_json::{Value, json};

fn batch(lines: &[u8], token: &str) -> Request {
    Request::new("POST", HUB_PATH).header("Content-Type", "application/x-ndjson").bearer(token).body(lines)
}

/// One JSON value per line of the answer.
fn answers(response: &Response) -> Vec<Value> {
    assert_eq!(response.status, 200, "{response:?}");
    assert_eq!(response.header("content-type"), Some("application/x-ndjson"), "{response:?}");
    let lines = response.text().lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line:?}")))
        .collect()
}

/// The last part of the type of an answer's error.
fn problem(answer: &Value) -> &str {
    let problem = if answer["error"].is_object() { &answer["error"] } else { answer };
    problem["type"].as_str().and_then(|kind| kind.strip_prefix("urn:rivulet:problem:")).unwrap_or("")
}

async fn a_line_is_an_update_and_answers_come_in_order(backend: Backend) {
    let hub = backend.hub().await;
    let mut stream = hub.subscribe("topic=a&topic=b").await;
    let lines = [
        json!({"topic": "a", "data": "1"}),
        json!({"topic": ["c", "b"], "data": "2\nlines", "id": "urn:x:2", "type": "t", "retry": 5}),
        json!({"topic": "a", "private": true, "data": "private"}),
        json!({"topic": "a"}),
    ];
    let body: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let answers = answers(&hub.send(&batch(body.as_bytes(), &publisher(&["*"]))).await);
    let ids: Vec<_> = answers.iter().map(|answer| answer["id"].as_str().expect("an id")).collect();
    assert_eq!(ids.len(), 4);
    assert_eq!(ids[1], "urn:x:2");
    let first = stream.event().await;
    assert_eq!((first.id(), first.data()), (ids[0], "1"));
    let second = stream.event().await;
    assert_eq!((second.id(), second.data()), ("urn:x:2", "2\nlines"));
    assert_eq!((second.kind.as_deref(), second.retry), (Some("t"), Some(5)));
    let last = stream.event().await;
    assert_eq!((last.id(), last.data()), (ids[3], ""), "the private one was not for us");
}

async fn the_error_of_one_line_does_not_lose_the_others(backend: Backend) {
    let hub = backend.hub().await;
    let mut stream = hub.subscribe("topic=*").await;
    let lines: [(&[u8], &str); 9] = [
        (b"{\"topic\": \"a\", \"data\": \"first\"}", ""),
        (b"not json", "line-invalid"),
        (b"[1]", "line-invalid"),
        (b"{\"data\": \"x\"}", "topic-missing"),
        (b"{\"topic\": \"*\"}", "topic-invalid"),
        (b"{\"topic\": \"b\", \"id\": \"#1\"}", "id-invalid"),
        (b"{\"topic\": \"/.well-known/mercure/x\"}", "topic-reserved"),
        (b"{\"topic\": \"a\xff\"}", "line-invalid"),
        (b"{\"topic\": \"a\", \"data\": \"last\"}", ""),
    ];
    let body = lines.map(|(line, _)| line).join(&b'\n');
    let answers = answers(&hub.send(&batch(&body, &publisher(&["*"]))).await);
    assert_eq!(answers.len(), lines.len(), "{answers:?}");
    for ((line, expected), answer) in lines.iter().zip(&answers) {
        let line = String::from_utf8_lossy(line);
        assert_eq!(problem(answer), *expected, "{line}: {answer}");
        assert_eq!(answer["id"].is_string(), expected.is_empty(), "{line}: {answer}");
    }
    assert_eq!(stream.data(2).await, ["first", "last"]);
}

async fn each_line_is_authorized_by_itself(backend: Backend) {
    let hub = backend.hub().await;
    let mut stream = hub.subscribe("topic=*").await;
    let body = b"{\"topic\": \"other\", \"data\": \"1\"}\n{\"topic\": \"a\", \"data\": \"2\"}\n";
    for token in [publisher(&["a"]), access(&[("publish", "exact", "a")])] {
        let answers = answers(&hub.send(&batch(body, &token)).await);
        assert_eq!(problem(&answers[0]), "insufficient-scope", "{answers:?}");
        assert!(answers[1]["id"].is_string(), "{answers:?}");
        assert_eq!(stream.data(1).await, ["2"]);
    }
    let without = Request::new("POST", HUB_PATH).header("Content-Type", "application/x-ndjson").body(body);
    hub.send(&without).await.expect_problem(401, "token-missing");
}

async fn a_thousand_lines_keep_their_order(backend: Backend) {
    let hub = backend.hub().await;
    let mut stream = hub.subscribe("topic=a").await;
    let body: String =
        (0..1_000).map(|number| format!("{{\"topic\":\"a\",\"data\":\"{number}\"}}\n")).collect();
    let answers = answers(&hub.send(&batch(body.as_bytes(), &publisher(&["*"]))).await);
    assert_eq!(answers.len(), 1_000);
    for (number, answer) in answers.iter().enumerate() {
        let event = stream.event().await;
        assert_eq!((event.data(), Some(event.id())), (&*number.to_string(), answer["id"].as_str()));
    }
}

on_both_transports!(
    a_line_is_an_update_and_answers_come_in_order,
    the_error_of_one_line_does_not_lose_the_others,
    each_line_is_authorized_by_itself,
    a_thousand_lines_keep_their_order,
);
