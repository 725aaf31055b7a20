//! The server: listener, workers and the pipeline that carries a connection from accept to handover.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    rc::Rc,
    sync::Arc,
};

use actix_http::{HttpService, Protocol, error::DispatchError};
use actix_server::{GracefulShutdownSignal, Server, ServerBuilder, ServerHandle};
use actix_service::{ServiceFactory, ServiceFactoryExt, apply_fn_factory, fn_service, map_config};
use actix_web::{
    dev::{AppConfig, Service},
    web,
};
use rivulet_node::{Node, Socket, WORKERS_MAX};
use rustls::ServerConfig;
use tokio::{net::TcpStream, task::JoinHandle};

use crate::{
    arrival::{Arrivals, Arrived, Over},
    certificates::{self, CertificateWatch},
    config::HttpConfig,
    gate::REFUSALS_MAX,
    handover::{Handover, Slot, drive},
    hub::Hubs,
    listener,
    listener_stats::ListenerStats,
    live::LiveConfig,
    proxy_header::ProxyProtocol,
    routes::app,
};

/// A running server. Dropping it stops the server at once, streams excepted: those are the node's.
#[derive(Debug)]
pub struct HttpServerHandle {
    address: SocketAddr,
    server: ServerHandle,
    running: JoinHandle<io::Result<()>>,
    stats: Arc<ListenerStats>,
    live: Arc<LiveConfig>,
    _watch: Option<CertificateWatch>,
}

/// Binds the listener and starts the workers on threads of their own; each enters the node. Must be called in a tokio
/// runtime, which supervises them. No signal is handled: that is the binary's business.
///
/// # Errors
///
/// What the system says about the address or a socket option; `InvalidInput` for more than [`WORKERS_MAX`] workers, for
/// a limit of zero, and for a PROXY protocol that nobody is trusted to speak.
pub fn serve(node: Arc<Node>, config: HttpConfig) -> io::Result<HttpServerHandle> {
    check(&config).map_err(|rule| io::Error::new(io::ErrorKind::InvalidInput, rule))?;
    let listener = listener::listen(config.listen, config.send_buffer_len)?;
    let address = listener.local_addr()?;
    let stats = Arc::new(ListenerStats::default());
    let watch = config.tls.as_ref().map(|certificates| certificates.watch(certificates::POLL_EVERY));
    let builder = Server::build()
        .workers(config.workers.get())
        // Never reached: the gate answers those whom actix would leave in the backlog.
        .max_concurrent_connections(config.requests_max.saturating_add(REFUSALS_MAX).saturating_mul(2))
        .shutdown_timeout(config.shutdown_timeout.as_secs())
        .disable_signals();
    let stopping = builder.graceful_shutdown_signal();
    let live = LiveConfig::new(config);
    let pipeline = Pipeline { node, live: live.clone(), stats: stats.clone(), stopping };
    let server = pipeline.listen(builder, listener)?.run();
    let handle = server.handle();
    let running = tokio::spawn(server);
    Ok(HttpServerHandle { address, server: handle, running, stats, live, _watch: watch })
}

/// What would make a server that serves nobody; the rule that it breaks.
fn check(config: &HttpConfig) -> Result<(), String> {
    if config.workers.get() > WORKERS_MAX {
        return Err(format!("workers is {}, and a node has at most {WORKERS_MAX}", config.workers));
    }
    for (name, limit) in [("requests_max", config.requests_max), ("handshakes_max", config.handshakes_max)] {
        if limit == 0 {
            return Err(format!("{name} is 0, and must be at least 1"));
        }
    }
    if config.proxy_protocol == ProxyProtocol::Required && config.trusted_proxies.is_empty() {
        return Err("proxy_protocol is required, and trusted_proxies names nobody who may speak it".into());
    }
    Ok(())
}

/// What every worker makes its pipeline of.
#[derive(Clone)]
struct Pipeline {
    node: Arc<Node>,
    live: Arc<LiveConfig>,
    stats: Arc<ListenerStats>,
    stopping: GracefulShutdownSignal,
}

impl Pipeline {
    fn listen(self, builder: ServerBuilder, listener: TcpListener) -> io::Result<ServerBuilder> {
        match self.live.load().tls.clone() {
            Some(certificates) => {
                let tls = Arc::new(certificates.server_config()?);
                builder.listen("hub", listener, move || self.over_tls(tls.clone()))
            }
            None => builder.listen("hub", listener, move || self.over_tcp()),
        }
    }

    /// What a connection over plain TCP passes through.
    fn over_tcp(
        &self,
    ) -> impl ServiceFactory<TcpStream, Config = (), Response = (), Error = Over, InitError = ()> + use<>
    {
        let arrivals = self.arrivals();
        fn_service(move |tcp: TcpStream| arrivals.clone().plain(tcp)).and_then(self.face())
    }

    /// What a connection over TLS passes through.
    fn over_tls(
        &self,
        tls: Arc<ServerConfig>,
    ) -> impl ServiceFactory<TcpStream, Config = (), Response = (), Error = Over, InitError = ()> + use<>
    {
        let arrivals = self.arrivals();
        fn_service(move |tcp: TcpStream| arrivals.clone().tls(tcp, tls.clone())).and_then(self.face())
    }

    fn arrivals(&self) -> Rc<Arrivals> {
        Rc::new(Arrivals::new(self.live.clone(), self.stats.clone(), self.stopping.clone()))
    }

    /// HTTP, until a connection is over or handed over.
    fn face<S: Socket + 'static>(
        &self,
    ) -> impl ServiceFactory<Arrived<S>, Config = (), Response = (), Error = Over, InitError = ()> + use<S>
    {
        let hubs = Hubs::enter(self.node.clone(), self.live.clone());
        let http = face(hubs, &self.live.load(), self.stopping.clone());
        apply_fn_factory(http, |arrived: Arrived<S>, http: &_| carry(arrived, http)).map_err(|_| Over)
    }
}

/// The stream that actix sees, its protocol and the peer's address.
type Connection<S> = (Handover<S>, Protocol, Option<SocketAddr>);

/// actix's HTTP/1.1 over streams that can be handed over.
fn face<S: Socket + 'static>(
    hubs: Hubs,
    config: &HttpConfig,
    stopping: GracefulShutdownSignal,
) -> impl ServiceFactory<Connection<S>, Config = (), Response = (), Error = DispatchError, InitError = ()> + use<S>
{
    HttpService::build()
        .keep_alive(config.keep_alive)
        .client_request_timeout(config.head_timeout)
        .client_disconnect_timeout(config.disconnect_timeout)
        // Connections between two requests close at once when the server stops; otherwise it would wait for them.
        .graceful_shutdown_signal(move || {
            let stopping = stopping.clone();
            async move { stopping.notified().await }
        })
        // Otherwise a client that hangs up while its stream is being opened would go unnoticed until it is open.
        .h1_allow_half_closed(false)
        .on_connect_ext(|stream: &Handover<S>, data| {
            data.insert(stream.taker());
        })
        .finish(map_config(app(web::Data::new(hubs)), |()| AppConfig::default()))
}

/// Runs actix's side of one connection, which counts as open until then.
fn carry<S, H>(arrived: Arrived<S>, http: &H) -> impl Future<Output = Result<(), DispatchError>> + use<S, H>
where
    S: Socket,
    H: Service<Connection<S>, Response = (), Error = DispatchError>,
{
    let Arrived { socket, peer, passage } = arrived;
    let slot = Slot::new(socket);
    let dispatcher = http.call((Handover::new(Rc::clone(&slot)), Protocol::Http1, peer));
    async move {
        let _passage = passage;
        drive(slot, dispatcher).await
    }
}

impl HttpServerHandle {
    /// Where the server listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The configuration in force, to be replaced by whoever reads it anew.
    pub fn live(&self) -> &Arc<LiveConfig> {
        &self.live
    }

    /// What happened to connections before HTTP.
    pub fn listener_stats(&self) -> &Arc<ListenerStats> {
        &self.stats
    }

    /// Stops accepting and waits for the requests that are being answered, at most for the configured time. Streams are
    /// not its concern: end them with [`Node::shutdown`] first, whose seats live on these workers.
    ///
    /// # Errors
    ///
    /// What ended the server, if it was not this.
    pub async fn stop(mut self) -> io::Result<()> {
        self.server.stop(true).await;
        ended(&mut self.running).await
    }

    /// Waits until the server has ended by itself, which it does only if something is broken.
    ///
    /// # Errors
    ///
    /// What ended it.
    pub async fn ended(&mut self) -> io::Result<()> {
        ended(&mut self.running).await
    }
}

async fn ended(running: &mut JoinHandle<io::Result<()>>) -> io::Result<()> {
    running.await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

impl Drop for HttpServerHandle {
    fn drop(&mut self) {
        self.running.abort();
    }
}
