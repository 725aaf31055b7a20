//! What is recorded of requests, and what clients are told of it.

// In a test a panic is the report.
#![allow(clippy::unwrap_used, missing_docs)]

mod hub;

use std::sync::atomic::Ordering::SeqCst;

use hub::{DEADLINE, HUB, Hub, both, eventually, header, problem, token, transport::Gated};
use opentelemetry::{
    KeyValue, SpanId, Value,
    global::BoxedTracer,
    trace::{SpanKind, Status, TracerProvider as _},
};
use opentelemetry_sdk::trace::{InMemorySpanExporter, Sampler, SdkTracerProvider, SpanData};
use rivulet_node::{
    MemoryTransport, NodeConfig, Retention,
    trace::{self, Ratio, Sampling},
};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";
const RECORDED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const UNRECORDED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

/// Records from now on what belongs to a recorded trace, and nothing else. A test is a process of its own.
fn record() -> InMemorySpanExporter {
    let exporter = InMemorySpanExporter::default();
    let sampler = Sampler::ParentBased(Box::new(Sampler::AlwaysOn));
    let provider =
        SdkTracerProvider::builder().with_sampler(sampler).with_simple_exporter(exporter.clone()).build();
    let tracer = BoxedTracer::new(Box::new(provider.tracer("test")));
    trace::start(tracer, Sampling { roots: Ratio::NONE, follows: true });
    exporter
}

async fn ended(exporter: &InMemorySpanExporter, names: &[&str]) -> Vec<SpanData> {
    let spans = || exporter.get_finished_spans().unwrap();
    let waited = tokio::time::timeout(DEADLINE, async {
        while spans().len() < names.len() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    });
    let _ = waited.await;
    let spans = spans();
    let mut found: Vec<&str> = spans.iter().map(|span| &*span.name).collect();
    let mut expected = names.to_vec();
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected);
    spans
}

fn named<'a>(spans: &'a [SpanData], name: &str) -> &'a SpanData {
    spans.iter().find(|span| span.name == name).unwrap()
}

fn value(span: &SpanData, key: &str) -> Option<Value> {
    let mut found = span.attributes.iter().filter(|attribute| attribute.key.as_str() == key);
    let value = found.next().map(|attribute| attribute.value.clone());
    assert!(found.next().is_none(), "{key} stands twice in {span:?}");
    value
}

fn has(span: &SpanData, attributes: &[KeyValue]) {
    for KeyValue { key, value: expected, .. } in attributes {
        assert_eq!(value(span, key.as_str()).as_ref(), Some(expected), "{key} of {}", span.name);
    }
}

fn publisher() -> String {
    token::v0(&["*"], &["*"])
}

#[tokio::test]
async fn a_publication_is_recorded_below_its_callers_span() {
    let (exporter, hub) = (record(), Hub::start().await);
    let mut stream = hub.stream("match=a").await;
    let publication = hub.publication(&publisher()).header("traceparent", RECORDED);
    let agent = format!("agent/1 {}", "x".repeat(500));
    let publication = publication.header("tracestate", "vendor=value").header("User-Agent", &agent);
    let response = publication.body("topic=a&data=canary").send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(header(&response, "traceresponse"), None, "nobody is told unless that is wished");
    assert!(!stream.until("data: canary").await.contains("traceparent"));
    let spans = ended(&exporter, &["POST /.well-known/mercure", "send", "process"]).await;
    let server = named(&spans, "POST /.well-known/mercure");
    assert_eq!((&server.span_kind, &server.status), (&SpanKind::Server, &Status::Unset));
    assert_eq!(server.parent_span_id, SpanId::from_hex(SPAN).unwrap());
    assert!(server.parent_span_is_remote);
    has(
        server,
        &[
            KeyValue::new("http.request.method", "POST"),
            KeyValue::new("http.route", HUB),
            KeyValue::new("http.response.status_code", 200),
            KeyValue::new("url.path", HUB),
            KeyValue::new("url.scheme", "http"),
            KeyValue::new("network.protocol.version", "1.1"),
            KeyValue::new("client.address", "127.0.0.1"),
            KeyValue::new("network.peer.address", "127.0.0.1"),
            KeyValue::new("server.address", "localhost"),
            KeyValue::new("server.port", 443),
            KeyValue::new("user_agent.original", agent[..256].to_owned()),
        ],
    );
    let port = value(server, "network.peer.port");
    assert!(matches!(port, Some(Value::I64(1..=65_535))), "{port:?}");
    assert_eq!(named(&spans, "send").parent_span_id, server.span_context.span_id());
    for span in &spans {
        assert_eq!(span.span_context.trace_id().to_string(), TRACE, "{}", span.name);
        assert_eq!(span.span_context.trace_state().header(), "vendor=value", "{}", span.name);
        assert!(!format!("{span:?}").contains("canary"), "no content: {span:?}");
    }
}

#[tokio::test]
async fn who_does_not_say_that_it_is_recorded_is_not() {
    let (exporter, hub) = (record(), Hub::start().await);
    for (name, value) in [
        ("traceparent", UNRECORDED),
        ("traceparent", "00-garbage-01"),
        ("traceparent", "00-00000000000000000000000000000000-00f067aa0ba902b7-01"),
        ("uber-trace-id", "1:2:0:0"),
        ("uber-trace-id", "garbage"),
        ("tracestate", "vendor=value"),
    ] {
        let publication = hub.publication(&publisher()).header(name, value).body("topic=a&data=x");
        assert_eq!(publication.send().await.unwrap().status(), 200, "{name}: {value}");
        let subscription = hub.request("GET", &format!("{HUB}?match=a")).header(name, value);
        assert_eq!(subscription.send().await.unwrap().status(), 200, "{name}: {value}");
    }
    hub.left_nothing().await;
    ended(&exporter, &[]).await;
}

#[tokio::test]
async fn an_older_client_of_jaeger_is_recorded_too() {
    let (exporter, hub) = (record(), Hub::start().await);
    let publication = hub.publication(&publisher()).header("uber-trace-id", "a3ce929d0e0e4736%3A2%3A0%3A1");
    assert_eq!(publication.body("topic=a&data=x").send().await.unwrap().status(), 200);
    let spans = ended(&exporter, &["POST /.well-known/mercure", "send"]).await;
    let trace = named(&spans, "send").span_context.trace_id().to_string();
    assert_eq!(trace, "0000000000000000a3ce929d0e0e4736");
    assert_eq!(named(&spans, "POST /.well-known/mercure").parent_span_id, SpanId::from(2));
}

#[tokio::test]
async fn every_line_of_a_batch_is_sent_by_itself() {
    let (exporter, hub) = (record(), Hub::start().await);
    let batch = hub.request("POST", HUB).bearer_auth(publisher()).header("traceparent", RECORDED);
    let lines = "{\"topic\":\"a\",\"data\":\"1\"}\n{\"topic\":\"b\"}\n{}\n";
    let batch = batch.header("Content-Type", "application/x-ndjson").body(lines);
    assert_eq!(batch.send().await.unwrap().status(), 200);
    let spans = ended(&exporter, &["POST /.well-known/mercure", "send", "send"]).await;
    let server = named(&spans, "POST /.well-known/mercure").span_context.span_id();
    assert!(spans.iter().filter(|span| span.name == "send").all(|span| span.parent_span_id == server));
}

#[tokio::test]
async fn a_subscription_is_recorded_until_its_stream_begins() {
    let (exporter, hub) = (record(), Hub::start().await);
    let first = hub.published("topic=a&data=one").await;
    hub.published("topic=a&data=two").await;
    let query = format!("{HUB}?topic=a&authorization={}", publisher());
    let request = hub.request("GET", &query).header("traceparent", RECORDED);
    let response = request.header("Last-Event-ID", &first).send().await.unwrap();
    let mut stream = hub::client::Stream::of(response);
    stream.until("data: two").await;
    drop(stream);
    hub.left_nothing().await;
    let all = ["GET /.well-known/mercure", "authorize", "admit", "reserve", "replay", "close"];
    let spans = ended(&exporter, &all).await;
    let server = named(&spans, all[0]);
    has(server, &[KeyValue::new("http.response.status_code", 200), KeyValue::new("url.path", HUB)]);
    for name in &all[1..] {
        let span = named(&spans, name);
        assert_eq!(span.parent_span_id, server.span_context.span_id(), "{name}");
        assert_eq!((&span.span_kind, &span.status), (&SpanKind::Internal, &Status::Unset), "{name}");
    }
    assert!(named(&spans, "replay").start_time >= server.end_time, "the request is over by then");
    has(named(&spans, "close"), &[KeyValue::new("rivulet.updates", 1)]);
    for span in &spans {
        assert!(!format!("{span:?}").contains("authorization="), "no query string: {span:?}");
    }
}

#[tokio::test]
async fn a_refusal_is_named_and_is_no_failure() {
    let (exporter, hub) = (record(), Hub::start_with(both(), |_| {}).await);
    let request = hub.request("GET", &format!("{HUB}?match=a")).header("traceparent", RECORDED);
    problem(request.send().await.unwrap(), 401, "token-missing").await;
    let spans = ended(&exporter, &["GET /.well-known/mercure", "authorize"]).await;
    for span in &spans {
        has(span, &[KeyValue::new("rivulet.problem", "token-missing")]);
        assert_eq!((&span.status, value(span, "error.type")), (&Status::Unset, None));
    }
    has(named(&spans, "GET /.well-known/mercure"), &[KeyValue::new("http.response.status_code", 401)]);
}

#[tokio::test]
async fn what_the_transport_could_not_do_is_seen_from_the_root() {
    let exporter = record();
    let (transport, feed) = Gated::start();
    let hub = Hub::start_on(transport.clone(), feed, NodeConfig::default(), both(), |config| {
        config.anonymous = true;
    })
    .await;
    transport.broken.store(true, SeqCst);
    let publication = hub.publication(&publisher()).header("traceparent", RECORDED).body("topic=a&data=x");
    problem(publication.send().await.unwrap(), 503, "transport-unavailable").await;
    let names = ["POST /.well-known/mercure", "send"];
    for span in &ended(&exporter, &names).await {
        has(span, &[KeyValue::new("error.type", "transport-unavailable")]);
        assert!(matches!(span.status, Status::Error { .. }), "{span:?}");
    }
    let request = hub.request("GET", &format!("{HUB}?match=a")).header("traceparent", RECORDED);
    problem(request.send().await.unwrap(), 503, "transport-unavailable").await;
    eventually("the subscription is recorded too", || exporter.get_finished_spans().unwrap().len() == 6)
        .await;
    let spans = exporter.get_finished_spans().unwrap();
    for name in ["GET /.well-known/mercure", "reserve"] {
        has(named(&spans, name), &[KeyValue::new("error.type", "transport-unavailable")]);
    }
    assert_eq!(named(&spans, "admit").status, Status::Unset);
}

#[tokio::test]
async fn clients_may_be_told_of_the_trace() {
    let exporter = record();
    let (transport, feed) = MemoryTransport::start(Retention::default());
    let config = NodeConfig { expose_trace: true, ..NodeConfig::default() };
    let hub = Hub::start_on(transport, feed, config, both(), |config| config.anonymous = true).await;
    let mut stream = hub.stream("match=a").await;
    let publication = hub.publication(&publisher()).header("traceparent", RECORDED);
    let response = publication.body("topic=a&data=x&type=added").send().await.unwrap();
    let told = header(&response, "traceresponse").unwrap().to_owned();
    let spans = ended(&exporter, &["POST /.well-known/mercure", "send", "process"]).await;
    let server = named(&spans, "POST /.well-known/mercure").span_context.span_id();
    assert_eq!(told, format!("00-{TRACE}-{server}-01"));
    let send = named(&spans, "send").span_context.span_id();
    let line = format!(": traceparent 00-{TRACE}-{send}-01\nevent: added\n");
    stream.until(&line).await;
    // Also those who read it in the log; and nobody of what is not recorded.
    hub.published("topic=a&data=y").await;
    let mut later = hub.stream("match=a&last_event_id=earliest").await;
    let text = later.until("data: y").await;
    assert_eq!(text.matches(": traceparent ").count(), 1, "{text}");
    assert!(text.contains(&line), "{text}");
    let refused = hub.publication(&publisher()).header("traceparent", RECORDED).body("data=x");
    let refused = refused.send().await.unwrap();
    assert!(header(&refused, "traceresponse").unwrap().starts_with(&format!("00-{TRACE}-")));
}
