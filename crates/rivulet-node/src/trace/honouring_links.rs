//! A sampler for spans that begin a trace of their own and are linked to another one.

use opentelemetry::{
    Context, KeyValue, TraceId,
    trace::{Link, SpanKind, TraceContextExt as _},
};
use opentelemetry_sdk::trace::{SamplingDecision, SamplingResult, ShouldSample};

/// Records every span without a parent that is linked to a recorded one, and leaves all others to another sampler.
///
/// An update that was published in a recorded trace is to be followed on every node. Where the spans there have traces of
/// their own ([`crate::TraceUpdates::Link`]), a sampler that decides by chance would lose nearly all of them.
#[derive(Clone, Debug)]
pub struct HonouringLinks<S>(pub S);

impl<S: ShouldSample + Clone + 'static> ShouldSample for HonouringLinks<S> {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace_id: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        let mut result = self.0.should_sample(parent, trace_id, name, kind, attributes, links);
        let has_parent = parent.is_some_and(|parent| parent.span().span_context().is_valid());
        if !has_parent && links.iter().any(|link| link.span_context.is_sampled()) {
            result.decision = SamplingDecision::RecordAndSample;
        }
        result
    }
}
