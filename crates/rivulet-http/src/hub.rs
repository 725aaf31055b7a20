//! What the handlers of one worker share.

use std::sync::Arc;

use rivulet_core::ReservedNamespace;
use rivulet_node::{Node, Worker};

use crate::{
    auth::{Dialect, Purpose},
    bodies::Bodies,
    config::HttpConfig,
    metadata,
};

/// The path that subscribers and publishers use.
pub(crate) const HUB_PATH: &str = "/.well-known/mercure";

/// One worker's view of the hub.
pub(crate) struct Hub {
    pub(crate) node: Arc<Node>,
    pub(crate) worker: Worker,
    pub(crate) config: Arc<HttpConfig>,
    pub(crate) bodies: Arc<Bodies>,
    pub(crate) reserved: ReservedNamespace,
    /// The address of the RFC 9728 document, for challenges of dialect 1.0.
    pub(crate) metadata_url: Option<String>,
}

impl Hub {
    /// Enters the node from the worker thread that calls.
    pub(crate) fn enter(node: Arc<Node>, config: Arc<HttpConfig>, bodies: Arc<Bodies>) -> Self {
        let reserved = ReservedNamespace::new(&config.hub_url);
        let metadata_url = config.authorizer.v1().map(|v1| metadata::address(&v1.resource));
        Self { worker: node.enter(), node, config, bodies, reserved, metadata_url }
    }

    /// Whether there is a subscribe route.
    pub(crate) fn takes_subscribers(&self) -> bool {
        self.config.anonymous || self.config.authorizer.can_authorize(Purpose::Subscribe)
    }

    /// Whether there is a publish route.
    pub(crate) fn takes_publishers(&self) -> bool {
        self.config.authorizer.can_authorize(Purpose::Publish)
    }

    /// Whether `dialect` is on.
    pub(crate) fn speaks(&self, dialect: Dialect) -> bool {
        self.config.authorizer.speaks(dialect)
    }

    /// The dialect in which a request that does not tell is answered: the newer one that is on.
    pub(crate) fn answering_dialect(&self) -> Dialect {
        if self.speaks(Dialect::V1) { Dialect::V1 } else { Dialect::V0 }
    }

    /// The methods of [`HUB_PATH`], for `Allow`.
    pub(crate) fn methods(&self) -> &'static str {
        match (self.takes_subscribers(), self.takes_publishers(), self.speaks(Dialect::V1)) {
            (true, true, true) => "GET, HEAD, QUERY, POST, OPTIONS",
            (true, true, false) => "GET, HEAD, POST, OPTIONS",
            (true, false, true) => "GET, HEAD, QUERY, OPTIONS",
            (true, false, false) => "GET, HEAD, OPTIONS",
            (false, true, _) => "POST, OPTIONS",
            (false, false, _) => "OPTIONS",
        }
    }
}
