//! Spans on their way out of this process, to a collector, as the standard `OTEL_*` variables say.
//!
//! Read in this order: `config` (what may be said, and what it means), `pipeline` (from a span's end to the collector),
//! `gate` (what keeps that from ever slowing the hub), `exporter` (the two protocols).

mod config;
mod exporter;
mod gate;
mod ids;
mod pipeline;
mod report;
mod resource;
mod stats;
mod variables;

pub(crate) use self::{config::TelemetryConfig, pipeline::Telemetry, stats::SpanStats};
