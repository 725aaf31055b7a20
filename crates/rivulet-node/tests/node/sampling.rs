//! Which spans are recorded, and that the others are not even made.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use opentelemetry::{
    Context, KeyValue, SpanId, TraceFlags, TraceId,
    context::FutureExt as _,
    global::BoxedTracer,
    trace::{
        Link, SpanBuilder, SpanContext, SpanKind, TraceContextExt as _, TraceState, TracerProvider as _,
    },
};
use opentelemetry_sdk::trace::{
    InMemorySpanExporter, Sampler, SamplingResult, SdkTracerProvider, ShouldSample,
};
use rivulet_node::{
    KickTarget, NodeConfig,
    trace::{self, Ratio, Sampling, Span},
};

use crate::harness::{Hub, exact, local, update};

/// A share that no test ever hits by chance.
const NEARLY_NONE: f64 = 1e-12;

/// A sampler that counts how often it is asked: for each span that is built.
#[derive(Clone, Debug, Default)]
struct Counting(Arc<AtomicUsize>);

impl ShouldSample for Counting {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        self.0.fetch_add(1, SeqCst);
        let inner = Sampler::ParentBased(Box::new(Sampler::AlwaysOn));
        inner.should_sample(parent, trace, name, kind, attributes, links)
    }
}

/// Records from now on. A test is a process of its own.
fn record(share: f64, follows: bool) -> (InMemorySpanExporter, Counting) {
    let (exporter, sampler) = (InMemorySpanExporter::default(), Counting::default());
    let provider = SdkTracerProvider::builder()
        .with_sampler(sampler.clone())
        .with_simple_exporter(exporter.clone())
        .build();
    let tracer = BoxedTracer::new(Box::new(provider.tracer("test")));
    trace::start(tracer, Sampling { roots: Ratio::new(share), follows });
    (exporter, sampler)
}

/// A request that is recorded by who sent it, or not.
fn coming_from(flags: TraceFlags) -> Context {
    let span = SpanContext::new(TraceId::from(7), SpanId::from(8), flags, true, TraceState::default());
    Context::new().with_remote_span_context(span)
}

fn request() -> SpanBuilder {
    SpanBuilder::from_name("a request").with_kind(SpanKind::Server)
}

#[tokio::test]
async fn what_is_not_recorded_is_not_built() {
    local(async {
        let ((exporter, asked), hub) = (record(NEARLY_NONE, true), Hub::start(NodeConfig::default()));
        for parent in [Context::new(), coming_from(TraceFlags::default())] {
            let span = Span::begin(&parent, || panic!("nobody asks what it would be"));
            assert!(!span.is_recorded() && span.trace_context().is_none());
            let publishing = hub.node.publish(update(&["a"], "1"), None, Vec::new());
            span.within(publishing).await.unwrap();
            let reserved = span.within(hub.reserve(exact(&["a"]))).with_context(parent).await.unwrap();
            drop(hub.open(reserved, 1 << 16));
        }
        hub.is_empty_again().await;
        assert_eq!(asked.0.load(SeqCst), 0, "no span was built");
        assert_eq!(exporter.get_finished_spans().unwrap().len(), 0);
        drop(Span::begin(&coming_from(TraceFlags::SAMPLED), request));
        assert_eq!((asked.0.load(SeqCst), exporter.get_finished_spans().unwrap().len()), (1, 1));
    })
    .await;
}

#[tokio::test]
async fn of_what_belongs_to_nothing_a_share_is_recorded() {
    let (exporter, asked) = record(0.25, true);
    for _ in 0..4_000 {
        drop(Span::begin(&Context::new(), request));
    }
    let recorded = exporter.get_finished_spans().unwrap().len();
    assert!((800..1_200).contains(&recorded), "{recorded} of 4,000");
    assert_eq!(asked.0.load(SeqCst), recorded, "the others were not built");
}

#[tokio::test]
async fn what_is_rare_is_recorded_whatever_the_share() {
    local(async {
        let ((exporter, _), hub) = (record(NEARLY_NONE, true), Hub::start(NodeConfig::default()));
        hub.publish(&["a"], "this is not").await;
        let target = KickTarget { subject: Some("sub:nobody".to_owned()), ..KickTarget::default() };
        hub.node.kick(target).await.unwrap();
        hub.node.drain(Duration::ZERO).await;
        let spans = exporter.get_finished_spans().unwrap();
        let names: Vec<&str> = spans.iter().map(|span| &*span.name).collect();
        assert_eq!(names, ["kick", "drain"]);
    })
    .await;
}

#[tokio::test]
async fn who_wants_none_of_the_hubs_own_gets_no_rare_ones_either() {
    local(async {
        let ((exporter, _), hub) = (record(0.0, true), Hub::start(NodeConfig::default()));
        hub.node.drain(Duration::ZERO).await;
        assert_eq!(exporter.get_finished_spans().unwrap().len(), 0);
        drop(Span::linked(request));
        assert_eq!(exporter.get_finished_spans().unwrap().len(), 1, "what it is linked to is recorded");
    })
    .await;
}

#[tokio::test]
async fn where_others_are_not_followed_chance_decides_of_what_is_linked_to_them() {
    let (exporter, asked) = record(NEARLY_NONE, false);
    drop(Span::linked(request));
    assert_eq!((asked.0.load(SeqCst), exporter.get_finished_spans().unwrap().len()), (0, 0));
}
