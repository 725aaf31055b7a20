//! `/metrics`: what the node counts, read from its counters on each scrape.
//!
//! `families` names everything, `scrape` says where each value comes from, `page` writes it.

mod exemplars;
mod families;
mod page;
mod process;
mod scrape;
#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc, time::SystemTime};

use prometheus_client::registry::Registry;

use self::{
    families::{DISPATCH_DURATION, WRITE_LATENCY},
    process::ProcessSnapshot,
    scrape::Scrape,
};
use crate::observed::Observed;

/// The content type of [`Metrics::render`]: Prometheus asks for it and falls back to it.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Everything that `/metrics` shows.
pub(crate) struct Metrics {
    observed: Observed,
    started_at: SystemTime,
}

impl Metrics {
    /// The metrics of a node, and of the process that it is.
    pub(crate) fn new(observed: Observed) -> Self {
        Self { observed, started_at: SystemTime::now() }
    }

    /// The text of `/metrics`.
    pub(crate) fn render(&self) -> Result<String, fmt::Error> {
        let process = ProcessSnapshot::of(&self.observed, self.started_at);
        let scrape = Arc::new(Scrape::of(&self.observed, process));
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Arc::clone(&scrape)));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry)?;
        let shown = [
            (&WRITE_LATENCY, scrape.node.write_latency.exemplars.as_slice()),
            (&DISPATCH_DURATION, scrape.node.dispatch.exemplars.as_slice()),
        ];
        exemplars::put(&text, &shown)
    }
}
