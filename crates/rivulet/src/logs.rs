//! Log lines: standard error, for people or for machines, with the trace that they belong to.
//!
//! `line` is how a line looks, `json` the one for machines, `repeats` what is not said over and over, and `filter` what is
//! said at all, which can be changed while the hub runs.

mod filter;
mod json;
mod line;
mod repeats;

use std::{
    io::IsTerminal as _,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time::MissedTickBehavior;
use tracing::{Level, info, warn};
use tracing_subscriber::{layer::SubscriberExt as _, util::SubscriberInitExt as _};

pub(crate) use self::filter::{CheckedFilter, Filter, Shown};
use self::{line::Line, repeats::Repeats};
use crate::config::LogConfig;

/// How often it is looked whether a filter falls back, or whether lines were left out that nobody was told of.
const TENDING_INTERVAL: Duration = Duration::from_secs(1);

/// The log of this process.
#[derive(Debug)]
pub(crate) struct Logs {
    filter: Filter,
    repeats: Arc<Repeats>,
}

impl Logs {
    /// Starts logging. May be called once per process.
    pub(crate) fn start(config: &LogConfig) -> Arc<Self> {
        let (layer, filter) = Filter::new(&config.filter);
        let repeats = Arc::<Repeats>::default();
        let is_terminal = std::io::stderr().is_terminal();
        let lines = tracing_subscriber::fmt::layer()
            .with_writer(std::io::stderr)
            .with_ansi(is_terminal)
            .event_format(Line::new(config.format, is_terminal, Arc::clone(&repeats)));
        tracing_subscriber::registry().with(layer).with(lines).init();
        Arc::new(Self { filter, repeats })
    }

    /// What is said at all.
    pub(crate) fn filter(&self) -> &Filter {
        &self.filter
    }

    /// Has a filter fall back when its time is over, and says how many lines were left out. Never ends.
    pub(crate) async fn tend(self: Arc<Self>) {
        let mut clock = tokio::time::interval(TENDING_INTERVAL);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            clock.tick().await;
            if let Some(filter) = self.filter.fall_back(Instant::now()) {
                info!(filter, "The log's filter is again the one that was configured");
            }
            self.tell_unsaid(self.repeats.ended(Instant::now()));
        }
    }

    /// Says what is left to be said before the process ends.
    pub(crate) fn finish(&self) {
        self.tell_unsaid(self.repeats.all());
    }

    fn tell_unsaid(&self, unsaid: Vec<repeats::Unsaid>) {
        for repeats::Unsaid { level, target, line, unsaid } in unsaid {
            let text = "Lines like those before were left out";
            if level == Level::ERROR {
                tracing::error!(unsaid, from.target = target, from.line = line, "{text}");
            } else {
                warn!(unsaid, from.target = target, from.line = line, "{text}");
            }
        }
    }
}

#[cfg(test)]
impl Logs {
    /// A log that goes nowhere, and the layer that it lives as long as.
    pub(crate) fn nowhere(filter: &str) -> (Arc<Self>, impl Sized + Send + Sync + use<>) {
        let (layer, filter) = Filter::new(filter);
        (Arc::new(Self { filter, repeats: Arc::default() }), layer)
    }
}
