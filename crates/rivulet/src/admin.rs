//! The admin listener, for orchestrators, Prometheus and whoever looks after the node, on an address that clients do not
//! reach. It shares nothing with the hub's workers, so it answers also while they are busy.
//!
//! Each file below has a group of paths; `endpoint` serves them, `answer` has what they answer with.

mod answer;
mod cpu;
mod endpoint;
mod heap;
mod probes;
mod profiles;
mod scrape;
#[cfg(test)]
mod tests;
pub(crate) mod tls;

use std::{
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use actix_web::{App, HttpServer, dev::ServerHandle, web};
use rivulet_node::Node;
use rustls::ServerConfig;
use tokio::sync::watch;

use self::profiles::Profiles;
use crate::{memory::MemoryState, metrics::Metrics};

/// Beside probes and one or two scrapers nobody connects.
const CONNECTIONS_MAX: usize = 256;
/// How long a client may take for its handshake, and for its request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Profiles that are worked on: one of each kind.
const BLOCKING_THREADS_MAX: usize = 2;

/// A running admin listener.
pub(crate) struct Admin {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    server: ServerHandle,
}

/// What the paths tell about.
struct State {
    node: Arc<Node>,
    memory: watch::Receiver<MemoryState>,
    metrics: Metrics,
    profiles: Profiles,
}

/// Serves on a listener that is bound already, in a tokio runtime; with TLS if it is configured.
pub(crate) fn serve(
    node: Arc<Node>,
    memory: watch::Receiver<MemoryState>,
    listener: TcpListener,
    tls: Option<ServerConfig>,
) -> std::io::Result<Admin> {
    let address = listener.local_addr()?;
    let metrics = Metrics::new(Arc::clone(&node), memory.clone());
    let state = web::Data::new(State { node, memory, metrics, profiles: Profiles::new() });
    let server = HttpServer::new(move || App::new().app_data(state.clone()).configure(routes))
        .workers(1)
        .worker_max_blocking_threads(BLOCKING_THREADS_MAX)
        .max_connections(CONNECTIONS_MAX)
        .client_request_timeout(REQUEST_TIMEOUT)
        .tls_handshake_timeout(REQUEST_TIMEOUT)
        // A client that goes away takes its profile along.
        .h1_allow_half_closed(false)
        .shutdown_timeout(1)
        .disable_signals();
    let server = match tls {
        None => server.listen(listener)?,
        Some(tls) => server.listen_rustls_0_23(listener, tls)?,
    };
    let server = server.run();
    let handle = server.handle();
    tokio::spawn(server);
    Ok(Admin { address, server: handle })
}

fn routes(config: &mut web::ServiceConfig) {
    let groups = [probes::endpoints(), scrape::endpoints(), profiles::endpoints()];
    endpoint::serve(config, groups.into_iter().flatten().collect());
}

impl Admin {
    /// Ends it; a request that is being answered may finish.
    pub(crate) async fn stop(self) {
        self.server.stop(true).await;
    }
}
