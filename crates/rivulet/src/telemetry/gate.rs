//! What stands around the SDK's queue so that a collector that is down, slow or mute costs spans, and nothing else: a span
//! that finds no room is dropped at once, and everything that is dropped is counted.
//!
//! The SDK's own queue drops too, but silently; here at most as many spans are on their way as fit into it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use opentelemetry::Context;
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{Span, SpanData, SpanExporter, SpanProcessor},
};

use super::{
    report::Report,
    stats::{Outcome, SpanStats},
};

/// Before the queue.
#[derive(Debug)]
pub(super) struct Gate<P> {
    inner: P,
    stats: Arc<SpanStats>,
    queue_len_max: u64,
    /// The queue has ended, and would drop silently what comes now.
    is_shut: AtomicBool,
}

impl<P> Gate<P> {
    pub(super) fn new(inner: P, stats: Arc<SpanStats>, queue_len_max: usize) -> Self {
        Self { inner, stats, queue_len_max: queue_len_max as u64, is_shut: AtomicBool::new(false) }
    }
}

impl<P: SpanProcessor> SpanProcessor for Gate<P> {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.inner.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if !self.stats.admit(self.queue_len_max) {
            return;
        }
        if self.is_shut.load(Ordering::Relaxed) {
            self.stats.settle(1, Outcome::Failed);
        } else {
            self.inner.on_end(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.is_shut.store(true, Ordering::Relaxed);
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

/// Behind the queue.
#[derive(Debug)]
pub(super) struct Counted<E> {
    inner: E,
    stats: Arc<SpanStats>,
    report: Report,
}

impl<E> Counted<E> {
    pub(super) fn new(inner: E, stats: Arc<SpanStats>) -> Self {
        Self { inner, stats, report: Report::default() }
    }
}

impl<E: SpanExporter> SpanExporter for Counted<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len() as u64;
        let result = self.inner.export(batch).await;
        let outcome = if result.is_ok() { Outcome::Exported } else { Outcome::Failed };
        self.stats.settle(spans, outcome);
        match &result {
            Ok(()) => self.report.went_well(),
            Err(error) => self.report.failed(spans, error, Instant::now()),
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn shutdown(&self) -> OTelSdkResult {
        self.inner.shutdown()
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

#[cfg(test)]
mod tests;
