//! What nodes write of themselves: lines that machines read, a filter that changes at run time, and never a token or what an
//! update says.

use rivulet_tests::{
    Backend, Hub, PATIENCE, Request, Subscriber, eventually,
    otlp::Collector,
    redis::RedisServer,
    tokens::{access, publisher, subscriber},
    wire::HUB_PATH,
};
use serde_json::Value;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// The lines of a log of JSON.
fn lines(hub: &Hub) -> Vec<Value> {
    let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    hub.log().lines().map(parse).collect()
}

async fn put_filter(hub: &Hub, body: &str) {
    let request = Request::new("PUT", "/log").header("Content-Type", "application/json");
    let answer = request.body(body.as_bytes()).send(hub.admin()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

async fn said(hub: &Hub, text: &str) {
    eventually(text, PATIENCE, || async { if hub.log().contains(text) { Ok(()) } else { Err(hub.log()) } })
        .await;
}

#[tokio::test]
async fn a_log_of_json_is_one_object_per_line() {
    let mut hub = Backend::Memory.hub_with(&["--log-format", "json"]).await;
    hub.publish(&[("topic", "a"), ("data", "x")]).await;
    assert!(hub.stop().success());
    let lines = lines(&hub);
    let start =
        lines.iter().find(|line| line["message"] == "Rivulet starts").expect("it says that it starts");
    assert_eq!(start["level"], "INFO", "{start}");
    assert_eq!(start["target"], "rivulet::serve", "{start}");
    assert!(start["version"].is_string() && start["timestamp"].is_string(), "{start}");
    assert!(lines.iter().any(|line| line["message"] == "Rivulet has stopped"), "{lines:#?}");
}

#[tokio::test]
async fn the_filter_changes_at_run_time_and_falls_back() {
    let hub = Backend::Memory.hub_with(&["--log-level", "warn"]).await;
    assert!(!hub.log().contains("Rivulet listens"), "{}", hub.log());
    put_filter(&hub, r#"{"filter": "debug", "for": "1s"}"#).await;
    said(&hub, "The log's filter is changed").await;
    // Said under the filter of a moment ago, or not at all: then the next who changes it is heard.
    eventually("it falls back", PATIENCE, || async {
        let shown = Request::new("GET", "/log").send(hub.admin()).await.json();
        if shown["filter"] == "warn" { Ok(()) } else { Err(shown.to_string()) }
    })
    .await;
    put_filter(&hub, r#"{"filter": "info,rivulet=off"}"#).await;
    let refused = Request::new("PUT", "/log").header("Content-Type", "application/json");
    let answer = refused.body(br#"{"filter": "rivulet=loud"}"#).send(hub.admin()).await;
    answer.expect_problem(400, "parameter-invalid");
}

/// How many lines of one kind are said in a window, as README says.
const SAID_MAX: usize = 10;
const STORM: usize = 25;

#[tokio::test]
async fn a_storm_of_one_warning_is_ten_lines_and_the_number_of_the_others() {
    let hub = Backend::Redis.hub_with(&["--log-format", "json"]).await;
    // Somebody else writes on our channel, and is warned of each time.
    let storm =
        format!("for i = 1, {STORM} do redis.call('PUBLISH', '{{rivulet:0}}control', 'K') end return 'OK'");
    let warnings = |line: &Value| {
        line["level"] == "WARN"
            && line["target"].as_str().is_some_and(|target| target.starts_with("rivulet_redis"))
    };
    let before = lines(&hub).len();
    hub.redis().command(&["EVAL", &storm, "0"]).expect("redis obeys");
    let told = eventually("what was left out is told", 2 * PATIENCE, || async {
        let lines = lines(&hub).split_off(before);
        let told =
            lines.iter().find(|line| line["message"] == "Lines like those before were left out").cloned();
        told.ok_or(format!("{lines:#?}"))
    })
    .await;
    let said: Vec<Value> = lines(&hub).split_off(before).into_iter().filter(warnings).collect();
    assert_eq!(said.len(), SAID_MAX, "{said:#?}");
    assert_eq!(told["unsaid"], STORM - SAID_MAX, "{told}");
    assert_eq!(told["from.target"], said[0]["target"], "{told}");
}

#[tokio::test]
async fn the_line_at_a_streams_end_names_the_trace_that_it_belongs_to() {
    let collector = Collector::start().await;
    let flags = ["--log-format", "json", "--log-level", "debug"];
    let hub = Hub::start_in(&collector.variables(), None, &flags).await;
    let traceparent = format!("00-{TRACE}-00f067aa0ba902b7-01");
    let stream = hub.open(&Request::subscribe("topic=a").header("traceparent", &traceparent)).await;
    drop(stream);
    hub.expect_connections(0).await;
    let line = eventually("the line of its end", PATIENCE, || async {
        let found = lines(&hub).into_iter().find(|line| line.get("close.reason").is_some());
        found.ok_or(hub.log())
    })
    .await;
    assert_eq!(line["trace_id"], TRACE, "{line}");
    assert_eq!(line["span_id"].as_str().map(str::len), Some(16), "{line}");
}

/// Words that stand for tokens and for what updates say. Nobody may ever read them in a log, a span or a metric.
const DATA: &str = "canarydata1f0e";
const PRIVATE: &str = "canaryprivate2a9c";
const BAD_BODY: &str = "canarybody3b7d";
const BAD_TOKEN: &str = "canarytoken4c6e";
const LAST_ID: &str = "canarylastid5d5f";
const KEY: &str = "canarykey6e4a";
const COLLECTOR: &str = "canarycollector7f3b";

/// Sends canaries everywhere where a client can put something.
async fn provoke(hub: &Hub) -> Vec<String> {
    let (publish, subscribe) = (publisher(&["*"]), subscriber(&["*"]));
    let modern = access(&[("publish", "exact", "a"), ("subscribe", "exact", "a")]);
    let form = [("topic", "a"), ("data", DATA), ("private", "on")];
    let mut streams = Vec::new();
    for request in [
        Request::subscribe("topic=a").bearer(&subscribe),
        Request::subscribe(&format!("topic=a&authorization={subscribe}")),
        Request::subscribe("topic=a").header("Cookie", &format!("mercureAuthorization={subscribe}")),
        Request::subscribe("match=a").bearer(&modern),
        Request::subscribe("topic=a").header("Last-Event-ID", LAST_ID),
        Request::subscribe(&format!("topic=a&lastEventID={LAST_ID}")),
    ] {
        streams.extend(Subscriber::try_open(hub.address(), &request).await.ok());
    }
    assert!(streams.len() >= 4, "only {} streams were opened\n{}", streams.len(), hub.log());
    let private = [("topic", "a"), ("data", PRIVATE), ("private", "on"), ("type", "t")];
    let posts = [
        Request::publish(&form).bearer(&publish),
        Request::publish(&private).bearer(&publish).header("Idempotency-Key", KEY),
        Request::publish(&private).bearer(&publish).header("Idempotency-Key", KEY),
        Request::publish(&form).bearer(&modern),
        // Wrong tokens, wherever they stand.
        Request::publish(&form).bearer(BAD_TOKEN),
        Request::publish(&form).bearer(&format!("{publish}{BAD_TOKEN}")),
        Request::publish(&form).bearer(&subscribe),
        Request::publish(&form).header("Authorization", &format!("Basic {BAD_TOKEN}")),
        Request::publish(&form).header("Cookie", &format!("mercureAuthorization={BAD_TOKEN}")),
        Request::new("GET", &format!("{HUB_PATH}?topic=a&authorization={BAD_TOKEN}")),
        // Wrong bodies.
        Request::publish_raw(format!("data={BAD_BODY}").as_bytes()).bearer(&publish),
        Request::publish_raw(format!("topic=a&data={BAD_BODY}%ff&retry={BAD_BODY}").as_bytes())
            .bearer(&publish),
        batch(&publish, "application/json", &format!("{{\"data\": \"{BAD_BODY}\"")),
        batch(
            &publish,
            "application/x-ndjson",
            &format!("{{\"topic\":\"a\",\"data\":\"{DATA}\"}}\n{BAD_BODY}\n"),
        ),
        batch(&publish, "text/plain", BAD_BODY),
        Request::publish(&[("topic", "a"), ("data", &BAD_BODY.repeat(100_000))]).bearer(&publish),
        Request::new("PATCH", HUB_PATH).bearer(&publish).body(BAD_BODY.as_bytes()),
    ];
    for request in posts {
        hub.send(&request).await;
    }
    // Errors of Redis, while an update is under way.
    hub.redis().command(&["CONFIG", "SET", "maxmemory", "1"]).expect("redis obeys");
    assert!(hub.send(&Request::publish(&form).bearer(&publish)).await.status >= 500);
    hub.redis().command(&["CONFIG", "SET", "maxmemory", "0"]).expect("redis obeys");
    hub.redis().command(&["SCRIPT", "FLUSH"]).expect("redis obeys");
    assert_eq!(hub.send(&Request::publish(&form).bearer(&publish)).await.status, 200);
    let inspected = admin_answers(hub).await;
    drop(streams);
    hub.expect_connections(0).await;
    // Of a token its claims and its signature are looked for.
    let parts = [publish, subscribe, modern]
        .into_iter()
        .flat_map(|token| token.split('.').skip(1).map(str::to_owned).collect::<Vec<_>>());
    let words = [DATA, PRIVATE, BAD_BODY, BAD_TOKEN, LAST_ID, KEY, COLLECTOR].map(str::to_owned);
    let canaries: Vec<String> = parts.chain(words).collect();
    for (path, answer) in inspected {
        expect_none(&path, &answer, &canaries);
    }
    canaries
}

fn batch(token: &str, content_type: &str, body: &str) -> Request {
    let request = Request::new("POST", HUB_PATH).header("Content-Type", content_type);
    request.bearer(token).body(body.as_bytes())
}

async fn admin_answers(hub: &Hub) -> Vec<(String, String)> {
    let mut answers = Vec::new();
    for path in
        ["/", "/live", "/ready", "/metrics", "/debug/connections", "/debug/topics", "/debug/feed", "/log"]
    {
        let answer = Request::new("GET", path).send(hub.admin()).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answers.push((path.to_owned(), answer.text().to_owned()));
    }
    answers
}

fn expect_none(place: &str, text: &str, canaries: &[String]) {
    for canary in canaries {
        let found = text.lines().find(|line| line.contains(canary.as_str()));
        assert_eq!(found, None, "{canary} is in {place}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_token_and_nothing_that_an_update_says_is_ever_told() {
    let collector = Collector::start().await;
    let secret = ("OTEL_EXPORTER_OTLP_HEADERS".to_owned(), format!("authorization=Bearer%20{COLLECTOR}"));
    for variables in [collector.variables(), collector.grpc_variables()] {
        let variables = [variables, vec![secret.clone()]].concat();
        let redis = std::sync::Arc::new(RedisServer::start().await);
        let flags = ["--log-level", "trace", "--log-format", "json"];
        let mut hub = Hub::start_in(&variables, Some(redis), &flags).await;
        let canaries = provoke(&hub).await;
        assert!(hub.stop().success());
        assert!(hub.log().lines().count() > 100, "everything is logged:\n{}", hub.log());
        expect_none("the log", &hub.log(), &canaries);
        let headers = collector.headers().pop().expect("a batch came");
        assert_eq!(headers["authorization"], format!("Bearer {COLLECTOR}"));
        let spans: Vec<String> = collector.spans().iter().map(|span| span.text()).collect();
        assert!(spans.len() > 20, "everything is traced: {}", spans.len());
        expect_none("the spans", &spans.join("\n"), &canaries);
    }
}
