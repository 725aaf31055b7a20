//! Traces: spans of OpenTelemetry around what the hub does, whichever crate does it.
//!
//! Nothing costs anything until [`start`] was called, and little for what is not sampled: a child of a span that is not
//! recorded is not made. The context travels with the task: run a future within a span with [`Span::within`], and hand it
//! over to other tasks with `FutureExt::with_context(Context::current())`. In updates it travels as a
//! [`TraceContext`].

mod honouring_links;

use std::{borrow::Cow, sync::OnceLock, time::SystemTime};

use opentelemetry::{
    Context, KeyValue, SpanId, TraceFlags, TraceId,
    global::BoxedTracer,
    trace::{
        FutureExt as _, Link, SpanBuilder, SpanContext, SpanKind, SpanRef, Status, TraceContextExt as _,
        TraceState, Tracer as _, WithContext,
    },
};
use rivulet_core::TraceContext;

pub use self::honouring_links::HonouringLinks;

static TRACER: OnceLock<BoxedTracer> = OnceLock::new();

/// Has spans recorded from now on. Only the first call of a process counts.
pub fn start(tracer: BoxedTracer) {
    // A second tracer would only be another way to the same exporter.
    let _ = TRACER.set(tracer);
}

/// Whether spans may be recorded at all.
pub fn is_on() -> bool {
    TRACER.get().is_some()
}

/// A span that is under way, or nothing if it is not recorded. It ends when it and all contexts that hold it are dropped.
#[derive(Debug, Default)]
#[must_use = "it ends when it is dropped"]
pub struct Span(Option<Context>);

impl Span {
    /// A span that is not recorded.
    pub const NONE: Self = Self(None);

    /// Begins a child of the current span, if that is recorded. Attributes are asked for only then.
    pub fn child<A>(
        name: impl Into<Cow<'static, str>>,
        kind: SpanKind,
        attributes: impl FnOnce() -> A,
    ) -> Self
    where
        A: IntoIterator<Item = KeyValue>,
    {
        let is_sampled =
            is_on() && Context::map_current(|current| current.span().span_context().is_sampled());
        if !is_sampled {
            return Self::NONE;
        }
        let builder = SpanBuilder::from_name(name).with_kind(kind).with_attributes(attributes());
        Self::begin(builder, &Context::current())
    }

    /// Begins a span as the builder says, below `parent`; if that has no span, the sampler decides. This is for spans at
    /// the edge of the process; see [`Span::child`] for all others.
    pub fn begin(builder: SpanBuilder, parent: &Context) -> Self {
        let Some(tracer) = TRACER.get() else { return Self::NONE };
        let span = tracer.build_with_context(builder, parent);
        Self(Some(parent.with_span(span)))
    }

    /// Begins a span of its own, if the sampler wants it.
    pub fn root(name: &'static str) -> Self {
        Self::begin(SpanBuilder::from_name(name).with_kind(SpanKind::Internal), &Context::new())
    }

    /// Whether what is told to it is kept.
    pub fn is_recorded(&self) -> bool {
        self.0.as_ref().is_some_and(|context| context.span().span_context().is_sampled())
    }

    /// The context in which it is the current span; without a span, the current one.
    pub fn context(&self) -> Context {
        self.0.clone().unwrap_or_else(Context::current)
    }

    /// Runs a future within the span. The span lives as long as the future.
    pub fn within<F>(&self, future: F) -> WithContext<F> {
        future.with_context(self.context())
    }

    /// Adds attributes, which are asked for only if the span is recorded.
    pub fn set<A: IntoIterator<Item = KeyValue>>(&self, attributes: impl FnOnce() -> A) {
        if self.is_recorded()
            && let Some(context) = &self.0
        {
            context.span().set_attributes(attributes());
        }
    }

    /// Notes a moment within the span.
    pub fn event<A: IntoIterator<Item = KeyValue>>(
        &self,
        name: &'static str,
        attributes: impl FnOnce() -> A,
    ) {
        if self.is_recorded()
            && let Some(context) = &self.0
        {
            context.span().add_event(name, attributes().into_iter().collect());
        }
    }

    /// Says that what the span is about has failed: `error_type` is of a small fixed set (semantic conventions,
    /// `error.type`), `description` is for people and holds nothing that a client sent.
    pub fn fail(&self, error_type: &'static str, description: impl Into<Cow<'static, str>>) {
        if let Some(context) = &self.0 {
            let span = context.span();
            span.set_attribute(KeyValue::new("error.type", error_type));
            span.set_status(Status::error(description));
        }
    }

    /// Ends it now, although contexts may hold it still. What is told to it later is not kept.
    pub fn end(&self) {
        if let Some(context) = &self.0 {
            context.span().end();
        }
    }

    /// Ends it at this moment instead of when it is dropped.
    pub fn end_at(self, at: SystemTime) {
        if let Some(context) = &self.0 {
            context.span().end_with_timestamp(at);
        }
    }

    /// The span as it travels with updates; none if it is not recorded.
    pub fn trace_context(&self) -> Option<Box<TraceContext>> {
        let context = self.0.as_ref()?;
        let span = context.span();
        let span = span.span_context();
        if !span.is_sampled() {
            return None;
        }
        let (trace_id, span_id) = (span.trace_id().to_bytes(), span.span_id().to_bytes());
        let flags = span.trace_flags().to_u8();
        let state = span.trace_state().header();
        // A state that is too long to travel is dropped, never the trace.
        let context = TraceContext::new(trace_id, span_id, flags, &state);
        context.or_else(|| TraceContext::new(trace_id, span_id, flags, "")).map(Box::new)
    }
}

/// Runs a future that goes to another task within the span that is current here.
pub fn carried<F>(future: F) -> WithContext<F> {
    future.with_context(Context::current())
}

/// Tells the current span something, if it is recorded.
pub fn tell_current(tell: impl FnOnce(&SpanRef<'_>)) {
    if is_on() {
        Context::map_current(|current| {
            let span = current.span();
            if span.span_context().is_sampled() {
                tell(&span);
            }
        });
    }
}

/// The current span, if it is sampled.
pub fn current() -> Option<SpanContext> {
    if !is_on() {
        return None;
    }
    Context::map_current(|current| {
        let span = current.span();
        span.span_context().is_sampled().then(|| span.span_context().clone())
    })
}

/// The span that a trace context stands for, which another node may have begun.
pub fn span_context(context: &TraceContext) -> SpanContext {
    SpanContext::new(
        TraceId::from_bytes(context.trace_id()),
        SpanId::from_bytes(context.span_id()),
        TraceFlags::new(context.flags()),
        true,
        context.state().parse::<TraceState>().unwrap_or_default(),
    )
}

/// A link to the span that a trace context stands for.
pub fn link(context: &TraceContext) -> Link {
    Link::with_context(span_context(context))
}
