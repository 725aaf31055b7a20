//! What is recorded of an update, and of a subscriber, on one node.

use std::time::Duration;

use opentelemetry::{
    Context, KeyValue, SpanId, TraceFlags, TraceId, Value,
    context::FutureExt as _,
    global::BoxedTracer,
    trace::{SpanContext, SpanKind, Status, TraceContextExt as _, TraceState, TracerProvider as _},
};
use opentelemetry_sdk::trace::{InMemorySpanExporter, Sampler, SdkTracerProvider, SpanData};
use rivulet_core::{Grants, Matcher, Update};
use rivulet_node::{
    KickTarget, NodeConfig, TraceUpdates,
    trace::{self, Ratio, Sampling},
};

use crate::harness::{Client, Hub, exact, local, request, update};

/// The trace that a request comes from.
const TRACE: u128 = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736;
const REQUEST: u64 = 0x00f0_67aa_0ba9_02b7;

/// Records from now on what belongs to a recorded trace, and nothing else. A test is a process of its own.
fn record() -> InMemorySpanExporter {
    record_with(Ratio::NONE)
}

/// The same, with another opinion about what belongs to no trace.
fn record_with(roots: Ratio) -> InMemorySpanExporter {
    let exporter = InMemorySpanExporter::default();
    let sampler = Sampler::ParentBased(Box::new(Sampler::AlwaysOn));
    let provider =
        SdkTracerProvider::builder().with_sampler(sampler).with_simple_exporter(exporter.clone()).build();
    let tracer = BoxedTracer::new(Box::new(provider.tracer("test")));
    trace::start(tracer, Sampling { roots, follows: true });
    exporter
}

/// A request that is recorded by who sent it, or not.
fn coming_from(flags: TraceFlags) -> Context {
    let (trace_id, span_id) = (TraceId::from(TRACE), SpanId::from(REQUEST));
    let state = TraceState::from_key_value([("vendor", "value")]).unwrap();
    Context::new().with_remote_span_context(SpanContext::new(trace_id, span_id, flags, true, state))
}

/// Waits until so many spans have ended.
async fn ended(exporter: &InMemorySpanExporter, count: usize) -> Vec<SpanData> {
    let all = async {
        loop {
            let spans = exporter.get_finished_spans().unwrap();
            if spans.len() >= count {
                return spans;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let all = tokio::time::timeout(Duration::from_secs(20), all).await;
    let spans = all.unwrap_or_else(|_| panic!("{:?}", names(&exporter.get_finished_spans().unwrap())));
    assert_eq!(spans.len(), count, "{:?}", names(&spans));
    spans
}

fn names(spans: &[SpanData]) -> Vec<&str> {
    spans.iter().map(|span| &*span.name).collect()
}

fn named<'a>(spans: &'a [SpanData], name: &str) -> &'a SpanData {
    spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("{name} in {:?}", names(spans)))
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

fn seconds(span: &SpanData, key: &str) -> f64 {
    match value(span, key) {
        Some(Value::F64(seconds)) => seconds,
        other => panic!("{key} of {}: {other:?}", span.name),
    }
}

/// Whom an update has reached, whom it passed by, who is behind.
fn fates(process: &SpanData) -> [i64; 3] {
    ["reached", "skipped", "lagging"].map(|fate| {
        match value(process, &format!("rivulet.subscribers.{fate}")) {
            Some(Value::I64(count)) => count,
            other => panic!("{fate}: {other:?}"),
        }
    })
}

async fn publish(hub: &Hub, flags: TraceFlags, update: Update) -> String {
    let published = hub.node.publish(update, None, Vec::new());
    published.with_context(coming_from(flags)).await.unwrap()
}

async fn subscribed(hub: &Hub, topic: &str, grants: &[&str]) -> Client {
    let mut request = exact(&[topic]);
    let granted = grants.iter().map(|grant| Matcher::exact(grant).unwrap()).collect();
    request.grants = Grants { subscribe: granted, ..Grants::default() };
    hub.subscribe(request, 1 << 16).await
}

#[tokio::test]
async fn one_trace_tells_whom_an_update_has_reached() {
    local(async {
        let (exporter, hub) = (record(), Hub::start(NodeConfig::default()));
        let other = hub.node.enter();
        let mut granted = subscribed(&hub, "a", &["a"]).await;
        let _stranger = subscribed(&hub, "a", &[]).await;
        let on_other = other.reserve(exact(&["a"]), None).await.unwrap();
        let _stranger_elsewhere = hub.open(on_other, 1 << 16);
        // One whose socket takes the head, a piece of the first update, and then nothing.
        let mut slow = exact(&["a"]);
        slow.grants = Grants { subscribe: vec![Matcher::exact("a").unwrap()], ..Grants::default() };
        let _slow = hub.subscribe(slow, 8).await;
        hub.publish(&["a"], "nobody records this").await;
        assert_eq!(granted.data().await.as_deref(), Some("nobody records this"));

        let private = Update { private: true, ..update(&["a", "b"], "hello") };
        let id = publish(&hub, TraceFlags::SAMPLED, private).await;
        assert_eq!(granted.data().await.as_deref(), Some("hello"));
        let spans = ended(&exporter, 2).await;
        let (send, process) = (named(&spans, "send"), named(&spans, "process"));
        assert_eq!((&send.span_kind, &process.span_kind), (&SpanKind::Producer, &SpanKind::Consumer));
        assert!(spans.iter().all(|span| span.span_context.trace_id() == TraceId::from(TRACE)));
        assert_eq!(send.parent_span_id, SpanId::from(REQUEST));
        assert_eq!(process.parent_span_id, send.span_context.span_id());
        let links: Vec<_> = process.links.iter().map(|link| link.span_context.span_id()).collect();
        assert_eq!(links, [send.span_context.span_id()]);
        assert_eq!(process.span_context.trace_state().header(), "vendor=value");
        let node = hub.node.id().to_string();
        for (span, operation) in [(send, "send"), (process, "process")] {
            has(
                span,
                &[
                    KeyValue::new("messaging.system", "rivulet"),
                    KeyValue::new("messaging.operation.type", operation),
                    KeyValue::new("messaging.operation.name", operation),
                    KeyValue::new("messaging.destination.name", "a"),
                    KeyValue::new("messaging.destination.partition.id", "0"),
                    KeyValue::new("messaging.message.id", id.clone()),
                    KeyValue::new("messaging.message.body.size", 5),
                    KeyValue::new("messaging.client.id", node.clone()),
                    KeyValue::new("rivulet.topics", 2),
                ],
            );
            assert_eq!(span.status, Status::Unset);
        }
        assert_eq!(value(send, "rivulet.position"), value(process, "rivulet.position"));
        assert_eq!(fates(process), [1, 2, 1]);
        has(process, &[KeyValue::new("rivulet.workers", 2)]);
        for key in ["rivulet.queue_time", "rivulet.dispatch_time", "rivulet.age_at_dispatch"] {
            assert!((0.0..20.0).contains(&seconds(process, key)), "{key}: {}", seconds(process, key));
        }
    })
    .await;
}

#[tokio::test]
async fn what_nobody_records_makes_no_span() {
    local(async {
        let (exporter, hub) = (record(), Hub::start(NodeConfig { expose_trace: true, ..Default::default() }));
        let unsampled = coming_from(TraceFlags::default());
        let reserved = hub.reserve(exact(&["a"])).with_context(unsampled.clone()).await.unwrap();
        let mut client = hub.open(reserved, 1 << 16);
        publish(&hub, TraceFlags::default(), update(&["a"], "unsampled")).await;
        hub.publish(&["a"], "without a request").await;
        assert_eq!(client.data().await.as_deref(), Some("unsampled"));
        assert_eq!(client.data().await.as_deref(), Some("without a request"));
        drop(client);
        hub.is_empty_again().await;
        ended(&exporter, 0).await;
    })
    .await;
}

#[tokio::test]
async fn an_update_that_nobody_here_has_asked_for_is_not_processed() {
    local(async {
        let (exporter, hub) = (record(), Hub::start(NodeConfig::default()));
        let mut other = subscribed(&hub, "other", &[]).await;
        publish(&hub, TraceFlags::SAMPLED, update(&["a"], "unseen")).await;
        hub.publish(&["other"], "seen").await;
        assert_eq!(other.data().await.as_deref(), Some("seen"));
        assert_eq!(names(&ended(&exporter, 1).await), ["send"]);
    })
    .await;
}

#[tokio::test]
async fn a_subscriber_that_holds_an_update_twice_counts_once() {
    local(async {
        let (exporter, hub) = (record(), Hub::start(NodeConfig::default()));
        let matchers =
            ["a", "b"].map(|topic| Matcher::exact(topic).unwrap()).into_iter().chain([Matcher::All]);
        let mut twice = hub.subscribe(request(matchers.collect()), 1 << 16).await;
        let mut once = subscribed(&hub, "b", &[]).await;
        publish(&hub, TraceFlags::SAMPLED, update(&["a", "b", "a"], "hello")).await;
        assert_eq!(twice.data().await.as_deref(), Some("hello"));
        assert_eq!(once.data().await.as_deref(), Some("hello"));
        assert_eq!(fates(named(&ended(&exporter, 2).await, "process")), [2, 0, 0]);
    })
    .await;
}

#[tokio::test]
async fn an_update_is_followed_to_the_end_although_its_subscribers_leave() {
    local(async {
        let (exporter, hub) = (record(), Hub::start(NodeConfig::default()));
        let client = subscribed(&hub, "a", &[]).await;
        // The task of the worker has its turn only after both.
        publish(&hub, TraceFlags::SAMPLED, update(&["a"], "hello")).await;
        drop(client);
        hub.node.shutdown().await;
        let spans = ended(&exporter, 2).await;
        assert!(fates(named(&spans, "process"))[0] <= 1);
    })
    .await;
}

#[tokio::test]
async fn updates_may_have_traces_of_their_own() {
    local(async {
        let config = NodeConfig { trace_updates: TraceUpdates::Link, ..Default::default() };
        let (exporter, hub) = (record(), Hub::start(config));
        let mut client = subscribed(&hub, "a", &[]).await;
        publish(&hub, TraceFlags::SAMPLED, update(&["a"], "hello")).await;
        assert_eq!(client.data().await.as_deref(), Some("hello"));
        let spans = ended(&exporter, 2).await;
        let (send, process) = (named(&spans, "send"), named(&spans, "process"));
        assert_eq!(process.parent_span_id, SpanId::INVALID);
        assert_ne!(process.span_context.trace_id(), send.span_context.trace_id());
        let links: Vec<_> = process.links.iter().map(|link| &link.span_context).collect();
        assert_eq!(links.len(), 1);
        assert_eq!(links[0].trace_id(), send.span_context.trace_id());
        assert_eq!(links[0].span_id(), send.span_context.span_id());
    })
    .await;
}

#[tokio::test]
async fn a_subscriber_leaves_its_reservation_its_replay_and_its_end() {
    local(async {
        let (exporter, hub) = (record(), Hub::keeping(100));
        let first = hub.publish(&["a"], "one").await;
        hub.publish(&["a"], "two").await;
        hub.publish(&["a"], "three").await;
        let asked = hub.resuming(exact(&["a"]), &first);
        let reserved = hub.reserve(asked).with_context(coming_from(TraceFlags::SAMPLED)).await.unwrap();
        assert_eq!(names(&ended(&exporter, 1).await), ["reserve"]);
        let mut client = hub.open(reserved, 1 << 16);
        for data in ["two", "three"] {
            assert_eq!(client.data().await.as_deref(), Some(data));
        }
        hub.publish(&["a"], "four").await;
        assert_eq!(client.data().await.as_deref(), Some("four"));
        drop(client);
        hub.is_empty_again().await;
        let spans = ended(&exporter, 3).await;
        for span in &spans {
            assert_eq!(span.span_context.trace_id(), TraceId::from(TRACE), "{}", span.name);
            assert_eq!(span.parent_span_id, SpanId::from(REQUEST), "{}", span.name);
            assert_eq!(span.span_kind, SpanKind::Internal, "{}", span.name);
        }
        let (replay, close) = (named(&spans, "replay"), named(&spans, "close"));
        has(
            replay,
            &[
                KeyValue::new("messaging.batch.message_count", 2),
                KeyValue::new("rivulet.pages", 1),
                KeyValue::new("rivulet.gap", false),
            ],
        );
        has(close, &[KeyValue::new("close.reason", "client_gone"), KeyValue::new("rivulet.updates", 3)]);
        assert!(seconds(close, "rivulet.duration") < 20.0);
        assert!(matches!(value(close, "rivulet.bytes"), Some(Value::I64(bytes)) if bytes > 50));
        assert_eq!(close.start_time, close.end_time);
        assert_eq!(close.links.len(), 1);
        assert_eq!(close.links.iter().next().unwrap().span_context.span_id(), SpanId::from(REQUEST));
    })
    .await;
}

#[tokio::test]
async fn a_replay_that_meets_a_gap_says_so() {
    local(async {
        let (exporter, hub) = (record(), Hub::keeping(1));
        let first = hub.publish(&["a"], "one").await;
        hub.publish(&["a"], "two").await;
        hub.publish(&["a"], "three").await;
        let asked = hub.resuming(exact(&["a"]), &first);
        let reserved = hub.reserve(asked).with_context(coming_from(TraceFlags::SAMPLED)).await.unwrap();
        let mut client = hub.open(reserved, 1 << 16);
        client.gap().await;
        assert_eq!(client.data().await.as_deref(), Some("three"));
        let replay = ended(&exporter, 2).await.pop().unwrap();
        has(
            &replay,
            &[KeyValue::new("messaging.batch.message_count", 1), KeyValue::new("rivulet.gap", true)],
        );
    })
    .await;
}

#[tokio::test]
async fn a_drain_and_a_kick_have_traces_of_their_own() {
    local(async {
        let (exporter, hub) = (record_with(Ratio::ALL), Hub::start(NodeConfig::default()));
        let reserved = hub.reserve_as(&hub.worker, exact(&["a"]), "sub:alice", "192.0.2.7").await.unwrap();
        let mut kicked = hub.open(reserved, 1 << 16);
        let target = KickTarget { subject: Some("sub:alice".to_owned()), ..KickTarget::default() };
        hub.node.kick(target).await.unwrap();
        assert_eq!(kicked.next().await, None);
        let mut drained = subscribed(&hub, "a", &[]).await;
        let (_, retry) = tokio::join!(hub.node.drain(Duration::ZERO), drained.retry_at_end());
        assert!(retry.is_some());
        let spans = exporter.get_finished_spans().unwrap();
        let (kick, drain) = (named(&spans, "kick"), named(&spans, "drain"));
        has(kick, &[KeyValue::new("rivulet.ended", 1), KeyValue::new("rivulet.nodes", 1)]);
        has(drain, &[KeyValue::new("rivulet.streams", 1), KeyValue::new("rivulet.closed.drained", 1)]);
        for span in [kick, drain] {
            assert_eq!((span.parent_span_id, &span.status), (SpanId::INVALID, &Status::Unset));
        }
    })
    .await;
}

#[tokio::test]
async fn of_a_burst_that_is_recorded_a_bounded_number_is_counted() {
    local(async {
        let (exporter, hub) = (record(), Hub::start(NodeConfig::default()));
        let _reader = subscribed(&hub, "a", &[]).await;
        let mut burst = tokio::task::JoinSet::new();
        for _ in 0..30 {
            let node = hub.node.clone();
            let publishing = async move { node.publish(update(&["a"], "x"), None, Vec::new()).await };
            burst.spawn(publishing.with_context(coming_from(TraceFlags::SAMPLED)));
        }
        assert!(burst.join_all().await.iter().all(Result::is_ok));
        let spans = ended(&exporter, 60).await;
        let processed: Vec<_> = spans.iter().filter(|span| span.name == "process").collect();
        let uncounted = |span: &SpanData| value(span, "rivulet.subscribers.uncounted") == Some(true.into());
        let (left_out, counted): (Vec<_>, Vec<_>) = processed.into_iter().partition(|span| uncounted(span));
        // The reader takes some of them in its first turn.
        let sums =
            |spans: &[&SpanData]| spans.iter().map(|span| fates(span).iter().sum()).collect::<Vec<i64>>();
        assert_eq!((sums(&counted), sums(&left_out)), (vec![1; counted.len()], vec![0; left_out.len()]));
        assert_eq!((counted.len(), left_out.len()), (8, 22), "one pass brings all of them");
    })
    .await;
}
