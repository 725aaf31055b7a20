//! What the handlers of one worker share.

use std::{
    cell::RefCell,
    future::{Ready, ready},
    ops::Deref,
    rc::Rc,
    sync::Arc,
};

use actix_web::{FromRequest, HttpMessage as _, HttpRequest, dev::Payload};
use rivulet_core::ReservedNamespace;
use rivulet_node::{Node, Worker};

use crate::{
    auth::{Dialect, Purpose},
    bodies::Bodies,
    config::HttpConfig,
    live::LiveConfig,
    metadata,
};

/// The path that subscribers and publishers use.
pub(crate) const HUB_PATH: &str = "/.well-known/mercure";

/// One worker's view of the hub under one configuration: what a request begins with is what it ends with.
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
    fn new(node: Arc<Node>, worker: Worker, live: &LiveConfig) -> Self {
        let config = Arc::clone(&live.load());
        let reserved = ReservedNamespace::new(&config.hub_url);
        let metadata_url = config.authorizer.v1().map(|v1| metadata::address(&v1.resource));
        Self { worker, node, config, bodies: Arc::clone(live.bodies()), reserved, metadata_url }
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

/// What one worker makes its views of: a new one for each configuration.
pub(crate) struct Hubs {
    live: Arc<LiveConfig>,
    current: RefCell<Rc<Hub>>,
}

impl Hubs {
    /// Enters the node from the worker thread that calls.
    pub(crate) fn enter(node: Arc<Node>, live: Arc<LiveConfig>) -> Self {
        let worker = node.enter();
        let current = RefCell::new(Rc::new(Hub::new(node, worker, &live)));
        Self { live, current }
    }

    /// The view under the configuration in force.
    pub(crate) fn current(&self) -> CurrentHub {
        let mut current = self.current.borrow_mut();
        if !Arc::ptr_eq(&current.config, &self.live.load()) {
            *current = Rc::new(Hub::new(Arc::clone(&current.node), current.worker.clone(), &self.live));
        }
        CurrentHub(Rc::clone(&current))
    }
}

/// The view that a request began with. `routes` puts it into every request, before anything else looks at it.
#[derive(Clone)]
pub(crate) struct CurrentHub(Rc<Hub>);

impl CurrentHub {
    /// That of a request.
    pub(crate) fn of(request: &HttpRequest) -> Self {
        request.extensions().get::<Self>().expect("every request gets one").clone()
    }
}

impl Deref for CurrentHub {
    type Target = Hub;

    fn deref(&self) -> &Hub {
        &self.0
    }
}

impl FromRequest for CurrentHub {
    type Error = actix_web::Error;
    type Future = Ready<Result<Self, Self::Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Self::of(request)))
    }
}
