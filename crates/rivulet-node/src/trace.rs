//! Traces: spans of OpenTelemetry around what the hub does, whichever crate does it.
//!
//! Nothing costs anything until [`start`] was called, and little for what is not recorded: that is decided before a span is
//! made, and a child of a span that is not recorded is none. The context travels with the task: run a future within a span
//! with [`Span::within`], and hand it over to other tasks with [`carried`]. In updates it travels as a [`TraceContext`].

mod sampling;

use std::{borrow::Cow, sync::OnceLock, time::SystemTime};

use futures_util::future::Either;
use opentelemetry::{
    Context, KeyValue, SpanId, TraceFlags, TraceId,
    global::BoxedTracer,
    trace::{
        FutureExt as _, Link, Span as _, SpanBuilder, SpanContext, SpanKind, SpanRef, Status,
        TraceContextExt as _, TraceState, Tracer as _, WithContext,
    },
};
use rivulet_core::TraceContext;

pub use self::sampling::{Ratio, Sampling};

static RECORDER: OnceLock<Recorder> = OnceLock::new();

struct Recorder {
    tracer: BoxedTracer,
    sampling: Sampling,
}

/// Has spans recorded from now on. Only the first call of a process counts. The tracer's own sampler has to take what
/// belongs to no other span: of that `sampling` has chosen already.
pub fn start(tracer: BoxedTracer, sampling: Sampling) {
    // A second tracer would only be another way to the same exporter.
    let _ = RECORDER.set(Recorder { tracer, sampling });
}

/// Whether spans may be recorded at all.
pub fn is_on() -> bool {
    RECORDER.get().is_some()
}

impl Recorder {
    fn build(&self, builder: SpanBuilder, parent: &Context) -> Span {
        let span = self.tracer.build_with_context(builder, parent);
        if span.span_context().is_sampled() { Span(Some(parent.with_span(span))) } else { Span::NONE }
    }

    fn takes_root(&self) -> bool {
        self.sampling.roots.takes(rand::random())
    }
}

/// A future, in the context of a recorded span if there is one.
pub type Within<F> = Either<WithContext<F>, F>;

/// A span that is under way, or nothing if it is not recorded. It ends when it and all contexts that hold it are dropped.
#[derive(Clone, Debug, Default)]
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
        let Some(recorder) = RECORDER.get().filter(|_| is_current_sampled()) else { return Self::NONE };
        let builder = SpanBuilder::from_name(name).with_kind(kind).with_attributes(attributes());
        recorder.build(builder, &Context::current())
    }

    /// Begins a span below `parent`; if that has no span, chance decides. It is built only if it is recorded. This is for
    /// spans at the edge of the process; see [`Span::child`] for all others.
    pub fn begin(parent: &Context, builder: impl FnOnce() -> SpanBuilder) -> Self {
        let Some(recorder) = RECORDER.get() else { return Self::NONE };
        let is_wanted = {
            let span = parent.span();
            let span = span.span_context();
            let sampling = recorder.sampling;
            match span.is_valid() {
                true if sampling.follows => span.is_sampled(),
                true => sampling.roots.takes_trace(span.trace_id()),
                false => recorder.takes_root(),
            }
        };
        if is_wanted { recorder.build(builder(), parent) } else { Self::NONE }
    }

    /// Begins a span of its own that is linked to a recorded one.
    pub fn linked(builder: impl FnOnce() -> SpanBuilder) -> Self {
        let recorder = RECORDER.get().filter(|recorder| recorder.sampling.follows || recorder.takes_root());
        recorder.map_or(Self::NONE, |recorder| recorder.build(builder(), &Context::new()))
    }

    /// Begins a span of its own for something that is rare, and looked for when it happened: chance is not asked. Who wants
    /// no traces of the hub's own gets none of these either.
    pub fn root(name: &'static str) -> Self {
        let recorder = RECORDER.get().filter(|recorder| recorder.sampling.roots != Ratio::NONE);
        let builder = || SpanBuilder::from_name(name).with_kind(SpanKind::Internal);
        recorder.map_or(Self::NONE, |recorder| recorder.build(builder(), &Context::new()))
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
    pub fn within<F>(&self, future: F) -> Within<F> {
        match &self.0 {
            Some(context) => Either::Left(future.with_context(context.clone())),
            None => Either::Right(future),
        }
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

/// Runs a future that goes to another task within the span that is current here, if that is recorded.
pub fn carried<F>(future: F) -> Within<F> {
    if is_on() && is_current_sampled() {
        Either::Left(future.with_context(Context::current()))
    } else {
        Either::Right(future)
    }
}

fn is_current_sampled() -> bool {
    Context::map_current(|current| current.span().span_context().is_sampled())
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
