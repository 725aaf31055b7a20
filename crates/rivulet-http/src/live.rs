//! The configuration in force: what of it may change under a running server, and how that reaches requests.
//!
//! It is replaced as a whole. A request takes it once, at its beginning, and sees no other until its end.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};

use crate::{bodies::Bodies, config::HttpConfig};

/// See the module's documentation. Shared by all workers and whoever replaces it.
#[derive(Debug)]
pub struct LiveConfig {
    current: ArcSwap<HttpConfig>,
    bodies: Arc<Bodies>,
}

impl LiveConfig {
    /// What a server starts with.
    pub fn new(config: HttpConfig) -> Arc<Self> {
        let bodies = Arc::new(Bodies::new(config.stats.clone(), config.bodies_in_flight_max));
        Arc::new(Self { current: ArcSwap::from_pointee(config), bodies })
    }

    /// What is in force now.
    pub fn load(&self) -> Guard<Arc<HttpConfig>> {
        self.current.load()
    }

    /// The memory of bodies.
    pub(crate) fn bodies(&self) -> &Arc<Bodies> {
        &self.bodies
    }

    /// Puts another configuration in force, for all requests that begin from now on: tokens, anonymous subscribers,
    /// origins, the longest bodies and what they hold together, trusted proxies and their header, and the limits of the
    /// hub. Everything else stays as it was when the server started.
    pub fn replace(&self, next: HttpConfig) {
        let before = self.current.load();
        let bodies_in_flight_max = next.bodies_in_flight_max;
        self.current.store(Arc::new(HttpConfig {
            authorizer: next.authorizer,
            anonymous: next.anonymous,
            cors: next.cors,
            publish_origins: next.publish_origins,
            body_len_max: next.body_len_max,
            batch_len_max: next.batch_len_max,
            bodies_in_flight_max,
            trusted_proxies: next.trusted_proxies,
            forwarding_header: next.forwarding_header,
            limits: next.limits,
            ..HttpConfig::clone(&before)
        }));
        self.bodies.set_bytes_max(bodies_in_flight_max);
    }
}
