//! From a span's end to the collector: gate → the SDK's queue and its thread → exporter.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use opentelemetry::{InstrumentationScope, global::BoxedTracer, trace::TracerProvider as _};
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider};
use opentelemetry_semantic_conventions::SCHEMA_URL;
use tracing::{info, warn};

use super::{
    config::TelemetryConfig,
    exporter,
    gate::{Counted, Gate},
    ids::Ids,
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
        let tracer = BoxedTracer::new(Box::new(provider.tracer_with_scope(scope)));
        rivulet_node::trace::start(tracer, config.sampling);
        let (collector, sampling) = (&config.collector, config.sampling);
        info!(
            endpoint = %collector.endpoint,
            protocol = ?collector.protocol,
            share = sampling.roots.share(),
            follows_requests = sampling.follows,
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
    // What has no parent was chosen before it came here.
    let roots = config.sampling.roots;
    let builder = if config.sampling.follows {
        builder.with_sampler(Sampler::ParentBased(Box::new(Sampler::AlwaysOn)))
    } else {
        builder.with_sampler(Sampler::TraceIdRatioBased(roots.share())).with_id_generator(Ids::within(roots))
    };
    builder.build()
}

#[cfg(test)]
mod tests {
    use opentelemetry::{
        Context, SpanId, TraceFlags, TraceId,
        trace::{Span as _, SpanContext, TraceContextExt as _, TraceState, Tracer as _},
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

    /// How many spans of a hundred below this parent the SDK takes.
    fn taken(sampler: &str, parent: &Context) -> usize {
        let variables = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318"),
            ("OTEL_TRACES_SAMPLER", sampler),
            ("OTEL_TRACES_SAMPLER_ARG", "0.001"),
        ];
        let environment = variables.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        let (config, _) = TelemetryConfig::read(&environment.collect()).unwrap();
        let provider = provider(&config.unwrap(), Nowhere, "node".into(), &Arc::default());
        let tracer = provider.tracer("test");
        let spans = (0..100).map(|_| tracer.start_with_context("a span", parent));
        spans.filter(|span| span.span_context().is_sampled()).count()
    }

    #[test]
    fn the_sdk_takes_every_root_that_was_chosen() {
        let check =
            |sampler: &str, expected| assert_eq!(taken(sampler, &Context::new()), expected, "{sampler}");
        check("parentbased_always_on", 100);
        check("parentbased_traceidratio", 100);
        check("always_on", 100);
        check("traceidratio", 100);
        check("always_off", 0);
    }

    #[test]
    fn what_comes_from_a_recorded_span_is_taken_unless_the_sampler_asks_its_trace() {
        let parent = |id: u128| {
            let (trace, span) = (TraceId::from(id), SpanId::from(7));
            let span = SpanContext::new(trace, span, TraceFlags::SAMPLED, true, TraceState::default());
            Context::new().with_remote_span_context(span)
        };
        // The id of the one is in every share, that of the other in none but all.
        let check = |sampler: &str, expected| {
            assert_eq!([7, u128::MAX].map(|id| taken(sampler, &parent(id))), expected, "{sampler}");
        };
        check("parentbased_always_off", [100, 100]);
        check("parentbased_traceidratio", [100, 100]);
        check("always_on", [100, 100]);
        check("traceidratio", [100, 0]);
        check("always_off", [0, 0]);
    }
}
