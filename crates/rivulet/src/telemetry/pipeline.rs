//! From a span's end to the collector: gate → the SDK's queue and its thread → exporter.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use opentelemetry::{InstrumentationScope, global::BoxedTracer, trace::TracerProvider as _};
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider};
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
    SdkTracerProvider::builder()
        .with_span_processor(Gate::new(processor, Arc::clone(stats), queue.queue_len_max))
        .with_sampler(HonouringLinks(config.sampler.clone()))
        .with_resource(resource(&config.resource, node_id))
        .build()
}
