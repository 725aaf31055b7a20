//! What of a running hub can be looked at from outside.

use std::sync::Arc;

use rivulet_http::{HttpStats, ListenerStats, LiveConfig};
use rivulet_node::Node;
use tokio::{runtime::Handle, sync::watch};

use crate::{logs::Logs, memory::MemoryState, reload::ReloadStats, telemetry::SpanStats};

/// The parts that count.
#[derive(Clone)]
pub(crate) struct Observed {
    pub(crate) node: Arc<Node>,
    pub(crate) memory: watch::Receiver<MemoryState>,
    pub(crate) http: Arc<HttpStats>,
    pub(crate) listener: Arc<ListenerStats>,
    pub(crate) logs: Arc<Logs>,
    pub(crate) live: Arc<LiveConfig>,
    pub(crate) reloads: Arc<ReloadStats>,
    pub(crate) spans: Arc<SpanStats>,
    /// Where everything runs that is no worker.
    pub(crate) runtime: Handle,
}
