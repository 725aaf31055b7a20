//! What of a running hub can be looked at from outside.

use std::sync::Arc;

use rivulet_http::{HttpStats, ListenerStats};
use rivulet_node::Node;
use tokio::sync::watch;

use crate::{memory::MemoryState, telemetry::SpanStats};

/// The parts that count.
#[derive(Clone)]
pub(crate) struct Observed {
    pub(crate) node: Arc<Node>,
    pub(crate) memory: watch::Receiver<MemoryState>,
    pub(crate) http: Arc<HttpStats>,
    pub(crate) listener: Arc<ListenerStats>,
    pub(crate) spans: Arc<SpanStats>,
}
