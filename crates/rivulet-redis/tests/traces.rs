//! What is recorded of calls of Redis, and of breaks.

// In a test a panic is the report.
#![allow(clippy::unwrap_used)]

mod harness;

use std::{sync::Arc, time::Duration};

use harness::{RedisServer, eventually};
use opentelemetry::{
    Context, KeyValue, SpanId, TraceFlags, TraceId, Value,
    context::FutureExt as _,
    global::BoxedTracer,
    trace::{SpanContext, SpanKind, Status, TraceContextExt as _, TraceState, TracerProvider as _},
};
use opentelemetry_sdk::trace::{InMemorySpanExporter, Sampler, SdkTracerProvider, SpanData};
use rivulet_core::{Grants, LastEventId, Matcher, Partitions, Topic, Update};
use rivulet_node::{
    AppendError, Limit, Node, NodeConfig, Quota, Scope, SubscribeRequest, Wanted, WhenAway,
    trace::{self, Ratio, Sampling},
};
use rivulet_redis::{RedisConfig, RedisTransport};

/// Records what belongs to a recorded trace from now on; what belongs to none as `roots` says. A test is a process of its
/// own.
fn record(roots: Ratio) -> InMemorySpanExporter {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder()
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::AlwaysOn)))
        .with_simple_exporter(exporter.clone())
        .build();
    let tracer = BoxedTracer::new(Box::new(provider.tracer("test")));
    trace::start(tracer, Sampling { roots, follows: true });
    exporter
}

/// A request that is recorded.
fn recorded() -> Context {
    let (trace_id, span_id) = (TraceId::from(7), SpanId::from(8));
    let span = SpanContext::new(trace_id, span_id, TraceFlags::SAMPLED, true, TraceState::default());
    Context::new().with_remote_span_context(span)
}

fn update() -> Update {
    Update {
        topics: [Topic::parse("a").unwrap()].into_iter().collect(),
        data: "canary".into(),
        private: false,
        id: None,
        event_type: None,
        retry_ms: None,
        trace: None,
    }
}

async fn node(server: &RedisServer) -> Arc<Node> {
    let (transport, feed) = server.node().await;
    Node::start(transport, feed, NodeConfig::default())
}

async fn publish(node: &Node) -> Result<String, AppendError> {
    node.publish(update(), None, Vec::new()).with_context(recorded()).await
}

fn named(exporter: &InMemorySpanExporter, name: &str) -> Vec<SpanData> {
    let mut spans = exporter.get_finished_spans().unwrap();
    spans.retain(|span| span.name == name);
    spans
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_is_recorded_with_its_script_and_server() {
    let exporter = record(Ratio::NONE);
    let server = RedisServer::start().await;
    let node = node(&server).await;
    publish(&node).await.unwrap();
    node.publish(update(), None, Vec::new()).await.unwrap();
    let spans = exporter.get_finished_spans().unwrap();
    assert_eq!(spans.len(), 2, "ticks and what nobody records have none: {spans:?}");
    let (send, append) = (&named(&exporter, "send")[0], &named(&exporter, "EVALSHA append")[0]);
    assert_eq!((&append.span_kind, &append.status), (&SpanKind::Client, &Status::Unset));
    assert_eq!(append.parent_span_id, send.span_context.span_id());
    assert_eq!(append.span_context.trace_id(), TraceId::from(7));
    assert!(append.start_time >= send.start_time && append.end_time <= send.end_time);
    let port = server.url().rsplit(':').next().unwrap().parse::<i64>().unwrap();
    has(
        append,
        &[
            KeyValue::new("db.system.name", "redis"),
            KeyValue::new("db.operation.name", "EVALSHA"),
            KeyValue::new("db.stored_procedure.name", "append"),
            KeyValue::new("db.namespace", "0"),
            KeyValue::new("server.address", "127.0.0.1"),
            KeyValue::new("server.port", port),
            KeyValue::new("network.peer.address", "127.0.0.1"),
            KeyValue::new("network.peer.port", port),
        ],
    );
    assert!(!format!("{spans:?}").contains("canary"), "no content");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_of_redis_is_named() {
    let exporter = record(Ratio::NONE);
    let server = RedisServer::start().await;
    let node = node(&server).await;
    let _: String = server.command(&["CONFIG", "SET", "maxmemory", "1"]).await;
    publish(&node).await.unwrap_err();
    let (send, append) = (&named(&exporter, "send")[0], &named(&exporter, "EVALSHA append")[0]);
    has(append, &[KeyValue::new("db.response.status_code", "OOM"), KeyValue::new("error.type", "OOM")]);
    has(send, &[KeyValue::new("error.type", "transport-unavailable")]);
    for span in [send, append] {
        assert!(matches!(span.status, Status::Error { .. }), "{span:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_gone_is_named_too() {
    let exporter = record(Ratio::NONE);
    let mut server = RedisServer::start().await;
    let node = node(&server).await;
    server.stop();
    eventually("appends fail", || async { publish(&node).await.is_err() }).await;
    eventually("appends fail at once", || async {
        let _ = publish(&node).await;
        let last = named(&exporter, "EVALSHA append").pop().unwrap();
        value(&last, "error.type") == Some("away".into())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_break_and_what_is_read_after_it_are_recorded() {
    let exporter = record(Ratio::ALL);
    let server = RedisServer::start().await;
    let node = node(&server).await;
    let is_live = || async { node.feed_status() == rivulet_node::FeedStatus::Live };
    eventually("the feed is live", is_live).await;
    let before = named(&exporter, "backfill").len();
    assert!(named(&exporter, "reconnect").is_empty(), "nothing has broken yet");
    let _: i64 = server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
    eventually("the outage is over", || async { named(&exporter, "reconnect").len() == 1 }).await;
    let reconnect = &named(&exporter, "reconnect")[0];
    assert_eq!(reconnect.parent_span_id, SpanId::INVALID);
    assert_eq!(reconnect.events.iter().map(|event| &*event.name).collect::<Vec<_>>(), ["feed lost"]);
    let backfills = named(&exporter, "backfill");
    assert_eq!(backfills.len(), before + 1, "one partition, one backfill");
    let backfill = &backfills[before];
    has(
        backfill,
        &[
            KeyValue::new("messaging.destination.partition.id", "0"),
            KeyValue::new("rivulet.updates", 0),
            KeyValue::new("rivulet.lost", 0),
        ],
    );
    let reads = named(&exporter, "EVALSHA index");
    assert!(reads.iter().any(|read| read.parent_span_id == backfill.span_context.span_id()), "{reads:?}");
    assert!(reconnect.end_time.duration_since(reconnect.start_time).unwrap() < Duration::from_secs(20));
    assert_eq!(reconnect.status, Status::Unset, "the first attempt did it");
    has(reconnect, &[KeyValue::new("rivulet.attempts_failed", 0)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_that_is_not_over_at_once_is_an_error_and_recorded_whatever_the_share() {
    let exporter = record(Ratio::new(1e-12));
    let mut server = RedisServer::start().await;
    let node = node(&server).await;
    let is_live = || async { node.feed_status() == rivulet_node::FeedStatus::Live };
    eventually("the feed is live", is_live).await;
    assert!(!named(&exporter, "backfill").is_empty(), "that is rare too");
    server.stop();
    // Each of them is counted as soon as it has failed.
    eventually("attempts fail", || async {
        matches!(node.feed_status(), rivulet_node::FeedStatus::Stale(stale) if stale[0].reason.contains("refused"))
    })
    .await;
    server.start_again().await;
    eventually("the outage is over", || async { named(&exporter, "reconnect").len() == 1 }).await;
    let reconnect = &named(&exporter, "reconnect")[0];
    has(reconnect, &[KeyValue::new("error.type", "connection")]);
    assert!(matches!(&reconnect.status, Status::Error { description } if description.contains("127.0.0.1")));
    assert!(matches!(value(reconnect, "rivulet.attempts_failed"), Some(Value::I64(1..))), "{reconnect:?}");
    assert_eq!(named(&exporter, "EVALSHA tick").len(), 0, "ticks belong to nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_replicas_do_not_have_in_time_is_an_error_of_the_script_too() {
    let exporter = record(Ratio::NONE);
    let server = RedisServer::start().await;
    let config = RedisConfig { wait_replicas: 1, ..server.config() };
    let (transport, feed) = RedisTransport::connect(config).await.unwrap();
    let node = Node::start(transport, feed, NodeConfig::default());
    publish(&node).await.unwrap_err();
    let (send, append) = (&named(&exporter, "send")[0], &named(&exporter, "EVALSHA append")[0]);
    has(append, &[KeyValue::new("error.type", "replicas")]);
    assert_eq!(append.parent_span_id, send.span_context.span_id());
    for span in [send, append] {
        assert!(matches!(&span.status, Status::Error { description } if description.contains("1 replicas")));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_sent_because_too_much_is_on_its_way_is_an_error_of_the_script_too() {
    let exporter = record(Ratio::NONE);
    let server = RedisServer::start().await;
    let node = node(&server).await;
    let large = Update { data: vec![b'x'; 65 << 20].into(), ..update() };
    node.publish(large, None, Vec::new()).with_context(recorded()).await.unwrap_err();
    let append = &named(&exporter, "EVALSHA append")[0];
    has(append, &[KeyValue::new("error.type", "too_much")]);
    assert!(matches!(append.status, Status::Error { .. }), "{append:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_subscription_asks_redis_is_recorded_below_its_step() {
    let exporter = record(Ratio::NONE);
    let server = RedisServer::start().await;
    let node = node(&server).await;
    let first = node.publish(update(), None, Vec::new()).await.unwrap();
    let scope = Scope::new("192.0.2.7");
    let quota = Quota {
        limit: Limit::ConnectionsPerIp,
        scope,
        max: 10,
        is_of_token: false,
        when_away: WhenAway::Closed,
    };
    let wanted = Wanted { quotas: vec![quota], ..Wanted::default() };
    node.admit(wanted).with_context(recorded()).await.unwrap();
    let request = SubscribeRequest {
        matchers: vec![Matcher::exact("a").unwrap()],
        grants: Grants::default(),
        last_event_id: Some(LastEventId::parse(&first, Partitions::ONE)),
        expires_at: None,
        dialect: rivulet_core::Dialect::V1,
    };
    let reserve = async {
        let reserved = node.enter().reserve(request, None).with_context(recorded()).await;
        drop(reserved.unwrap());
    };
    tokio::task::LocalSet::new().run_until(reserve).await;
    for (step, script) in [("admit", "EVALSHA admit"), ("reserve", "EVALSHA read")] {
        let (step, script) = (&named(&exporter, step)[0], &named(&exporter, script)[0]);
        assert_eq!(step.parent_span_id, SpanId::from(8), "{step:?}");
        assert_eq!(script.parent_span_id, step.span_context.span_id(), "{script:?}");
        assert!(script.end_time <= step.end_time);
    }
}
