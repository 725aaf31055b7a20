//! The admin listener, for orchestrators, Prometheus and whoever looks after the node, on an address that clients do not
//! reach. It shares nothing with the hub's workers, so it answers also while they are busy.
//!
//! Each file below has a group of paths; `endpoint` serves them, `answer` has what they answer with.

mod answer;
mod cpu;
mod endpoint;
mod heap;
mod inspection;
mod kick;
mod logging;
mod probes;
mod profiles;
mod scrape;
mod target;
#[cfg(test)]
mod tests;

use std::{
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use actix_web::{App, HttpServer, dev::ServerHandle, web};
use rivulet_http::{CertificateWatch, Certificates};
use rivulet_node::Node;
use rustls::ServerConfig;
use tokio::sync::watch;

use self::profiles::Profiles;
use crate::{logs::Logs, memory::MemoryState, metrics::Metrics, observed::Observed};

/// Beside probes and one or two scrapers nobody connects.
const CONNECTIONS_MAX: usize = 256;
/// How long a client may take for its handshake, and for its request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// A subject and a topic of the greatest length, with what JSON adds.
const BODY_LEN_MAX: usize = 64 << 10;
/// How often the certificate's files are looked at, as on the hub's own listener.
const CERTIFICATE_INTERVAL: Duration = Duration::from_secs(5);
/// Profiles that are worked on: one of each kind.
const BLOCKING_THREADS_MAX: usize = 2;

/// What the listener negotiates if it speaks TLS.
#[derive(Clone, Debug)]
pub(crate) struct AdminTls {
    /// Whose certificate it shows.
    pub(crate) certificates: Arc<Certificates>,
    /// With it, and with what it asks of clients.
    pub(crate) config: ServerConfig,
}

/// A running admin listener.
pub(crate) struct Admin {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    server: ServerHandle,
    _watch: Option<CertificateWatch>,
}

/// What the paths tell about.
struct State {
    node: Arc<Node>,
    memory: watch::Receiver<MemoryState>,
    metrics: Metrics,
    profiles: Profiles,
    logs: Arc<Logs>,
}

/// Serves on a listener that is bound already, in a tokio runtime; with TLS if it is configured.
pub(crate) fn serve(
    observed: Observed,
    listener: TcpListener,
    tls: Option<AdminTls>,
) -> std::io::Result<Admin> {
    let (node, memory) = (Arc::clone(&observed.node), observed.memory.clone());
    let logs = Arc::clone(&observed.logs);
    let metrics = Metrics::new(observed);
    let state = web::Data::new(State { node, memory, metrics, profiles: Profiles::new(), logs });
    listen(listener, tls, move |config| {
        config.app_data(state.clone());
        routes(config);
    })
}

/// Answers probes while there is no node yet: alive, not ready, and what it is that is waited for.
pub(crate) fn serve_before_node(
    why: watch::Receiver<String>,
    listener: TcpListener,
    tls: Option<AdminTls>,
) -> std::io::Result<Admin> {
    let why = web::Data::new(why);
    listen(listener, tls, move |config| {
        config.app_data(why.clone());
        endpoint::serve(config, probes::endpoints_before_node());
    })
}

fn listen(
    listener: TcpListener,
    tls: Option<AdminTls>,
    configure: impl Fn(&mut web::ServiceConfig) + Clone + Send + 'static,
) -> std::io::Result<Admin> {
    let address = listener.local_addr()?;
    let watch = tls.as_ref().map(|tls| tls.certificates.watch(CERTIFICATE_INTERVAL));
    let server = HttpServer::new(move || App::new().configure(configure.clone()))
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
        Some(tls) => server.listen_rustls_0_23(listener, tls.config)?,
    };
    let server = server.run();
    let handle = server.handle();
    tokio::spawn(server);
    Ok(Admin { address, server: handle, _watch: watch })
}

fn routes(config: &mut web::ServiceConfig) {
    config.app_data(web::PayloadConfig::new(BODY_LEN_MAX));
    let groups = [
        probes::endpoints(),
        scrape::endpoints(),
        inspection::endpoints(),
        kick::endpoints(),
        logging::endpoints(),
        profiles::endpoints(),
    ];
    endpoint::serve(config, groups.into_iter().flatten().collect());
}

impl Admin {
    /// Ends it; a request that is being answered may finish.
    pub(crate) async fn stop(self) {
        self.server.stop(true).await;
    }
}
