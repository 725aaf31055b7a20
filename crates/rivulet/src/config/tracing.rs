//! What traces hold, and who learns of them.

use rivulet_node::TraceUpdates;

use super::reader::Reader;
use crate::settings;

/// See the module's documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tracing {
    /// How the spans of an update hang together.
    pub(crate) updates: TraceUpdates,
    /// Whether clients are told which trace an update belongs to.
    pub(crate) expose: bool,
}

impl Reader<'_> {
    pub(super) fn tracing(&mut self) -> Option<Tracing> {
        let updates = self.value("trace-updates", trace_updates);
        let expose = self.value("expose-trace", settings::is_on);
        Some(Tracing { updates: updates?, expose: expose? })
    }
}

fn trace_updates(text: &str) -> Result<TraceUpdates, &'static str> {
    match text {
        "child" => Ok(TraceUpdates::Child),
        "link" => Ok(TraceUpdates::Link),
        _ => Err("must be child or link"),
    }
}
