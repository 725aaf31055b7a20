//! From a span's end to the collector: gate → the SDK's queue and its thread → exporter.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use opentelemetry::{InstrumentationScope, global::BoxedTracer, trace::TracerProvider as _};
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider};
use opentelemetry_semantic_conventions::SCHEMA_URL;
use rivulet_node::trace::HonouringLinks;
use tracing::{info, warn};

use super::{
    config::TelemetryConfig,
    exporter,
    gate::{Counted, Gate},
    resource::resource,
    stats::SpanStats,
};
use crate::exit::Failure;

/// How long the spans of the last seconds may take to the collector when the hub stops.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// Spans on their way. Without a configuration there are none: no tracer, no queue, no thread.
pub(crate) struct Telemetry {
    provider: Option<SdkTracerProvider>,
    stats: Arc<SpanStats>,
}

impl Telemetry {
    /// Has spans recorded and exported from now on. Must be called within the runtime that gRPC is to run on.
    ///
    /// # Errors
    ///
    /// Certificates or keys are not what they seem to be.
    pub(crate) fn start(config: Option<&TelemetryConfig>, node_id: String) -> Result<Self, Failure> {
        let stats = Arc::<SpanStats>::default();
        let Some(config) = config else { return Ok(Self { provider: None, stats }) };
        let exporter = exporter::exporter(&config.collector)
            .map_err(|error| Failure::usage(format!("OTEL_EXPORTER_OTLP_*: {error}")))?;
        let provider = provider(config, exporter, node_id, &stats);
        let scope = InstrumentationScope::builder(env!("CARGO_PKG_NAME"))
            .with_version(env!("CARGO_PKG_VERSION"))
            .with_schema_url(SCHEMA_URL)
            .build();
        rivulet_node::trace::start(BoxedTracer::new(Box::new(provider.tracer_with_scope(scope))));
        let collector = &config.collector;
        info!(
            endpoint = %collector.endpoint,
            protocol = ?collector.protocol,
            sampler = ?config.sampler,
            "Spans are exported"
        );
        Ok(Self { provider: Some(provider), stats })
    }

    /// What becomes of spans.
    pub(crate) fn stats(&self) -> &Arc<SpanStats> {
        &self.stats
    }

    /// Sends what has ended so far, and ends the queue. Takes two seconds at most, whatever the collector does.
    pub(crate) async fn stop(self) {
        let Self { provider: Some(provider), stats } = self else { return };
        // It blocks, and with gRPC what it waits for runs on this runtime.
        let stopping = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(FLUSH_TIMEOUT));
        let stopped = stopping.await.is_ok_and(|result| result.is_ok());
        let left = stats.queue_length.load(Ordering::Relaxed);
        if !stopped && left > 0 {
            warn!(left, "The collector did not take the last spans in {FLUSH_TIMEOUT:?}");
        }
    }
}

fn provider<E: opentelemetry_sdk::trace::SpanExporter + 'static>(
    config: &TelemetryConfig,
    exporter: E,
    node_id: String,
    stats: &Arc<SpanStats>,
) -> SdkTracerProvider {
    let queue = config.queue;
    let batches = BatchConfigBuilder::default()
        .with_max_queue_size(queue.queue_len_max)
        .with_max_export_batch_size(queue.batch_len_max)
        .with_scheduled_delay(queue.delay)
        .build();
    let counted = Counted::new(exporter, Arc::clone(stats));
    let processor = BatchSpanProcessor::builder(counted).with_batch_config(batches).build();
    let builder = SdkTracerProvider::builder()
        .with_span_processor(Gate::new(processor, Arc::clone(stats), queue.queue_len_max))
        .with_resource(resource(&config.resource, node_id));
    // Who does not ask parents does not ask linked spans either: `always_off` records nothing.
    let builder = match config.sampler.clone() {
        sampler @ Sampler::ParentBased(_) => builder.with_sampler(HonouringLinks(sampler)),
        sampler => builder.with_sampler(sampler),
    };
    builder.build()
}

#[cfg(test)]
mod tests {
    use opentelemetry::{
        Context, SpanId, TraceFlags, TraceId,
        trace::{Link, Span as _, SpanBuilder, SpanContext, TraceState, Tracer as _},
    };
    use opentelemetry_sdk::{
        error::OTelSdkResult,
        trace::{SpanData, SpanExporter},
    };

    use super::*;

    #[derive(Debug)]
    struct Nowhere;

    impl SpanExporter for Nowhere {
        async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult {
            Ok(())
        }
    }

    #[test]
    fn a_link_to_a_recorded_span_is_honoured_where_parents_are() {
        let recorded = |sampler: &str| {
            let variables = [
                ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318"),
                ("OTEL_TRACES_SAMPLER", sampler),
                ("OTEL_TRACES_SAMPLER_ARG", "0"),
            ];
            let environment = variables.iter().map(|(name, value)| ((*name).into(), (*value).into()));
            let config = TelemetryConfig::read(&environment.collect()).unwrap().unwrap();
            let provider = provider(&config, Nowhere, "node".into(), &Arc::default());
            let other = SpanContext::new(
                TraceId::from(7),
                SpanId::from(7),
                TraceFlags::SAMPLED,
                true,
                TraceState::default(),
            );
            let builder = SpanBuilder::from_name("process").with_links(vec![Link::with_context(other)]);
            provider.tracer("test").build_with_context(builder, &Context::new()).span_context().is_sampled()
        };
        assert!(recorded("parentbased_traceidratio"));
        assert!(recorded("parentbased_always_off"));
        assert!(recorded("always_on"));
        assert!(!recorded("traceidratio"));
        assert!(!recorded("always_off"));
    }
}
