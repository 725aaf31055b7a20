//! The server: listener, workers and the pipeline that carries a connection from accept to handover.

use std::{io, net::SocketAddr, rc::Rc, sync::Arc};

use actix_http::{HttpService, Protocol, error::DispatchError};
use actix_server::{GracefulShutdownSignal, Server, ServerHandle};
use actix_service::{ServiceFactory, apply_fn_factory, map_config};
use actix_web::{
    dev::{AppConfig, Service},
    web,
};
use rivulet_node::{Node, Socket, WORKERS_MAX};
use tokio::{net::TcpStream, task::JoinHandle};

use crate::{
    config::HttpConfig,
    handover::{Handover, Slot, drive},
    hub::Hub,
    listener,
    routes::app,
};

/// A running server. Dropping it stops the server at once, streams excepted: those are the node's.
#[derive(Debug)]
pub struct HttpServerHandle {
    address: SocketAddr,
    server: ServerHandle,
    running: JoinHandle<io::Result<()>>,
}

/// Binds the listener and starts the workers on threads of their own; each enters the node. Must be called in a tokio
/// runtime, which supervises them. No signal is handled: that is the binary's business.
///
/// # Errors
///
/// What the system says about the address or a socket option; `InvalidInput` for more than [`WORKERS_MAX`] workers.
pub fn serve(node: Arc<Node>, config: HttpConfig) -> io::Result<HttpServerHandle> {
    if config.workers.get() > WORKERS_MAX {
        let rule = format!("workers is {}, and a node has at most {WORKERS_MAX}", config.workers);
        return Err(io::Error::new(io::ErrorKind::InvalidInput, rule));
    }
    let listener = listener::listen(config.listen, config.send_buffer_len)?;
    let address = listener.local_addr()?;
    let config = Arc::new(config);
    let builder = Server::build()
        .workers(config.workers.get())
        .max_concurrent_connections(config.requests_max)
        .shutdown_timeout(config.shutdown_timeout.as_secs())
        .disable_signals();
    let stopping = builder.graceful_shutdown_signal();
    let server = builder
        .listen("hub", listener, move || {
            let hub = Hub::enter(node.clone(), config.clone());
            over_tcp(hub, stopping.clone())
        })?
        .run();
    let handle = server.handle();
    let running = tokio::spawn(server);
    Ok(HttpServerHandle { address, server: handle, running })
}

/// What a connection over plain TCP passes through. TLS is the same with another stream in the slot.
fn over_tcp(
    hub: Hub,
    stopping: GracefulShutdownSignal,
) -> impl ServiceFactory<TcpStream, Config = (), Response = (), Error = DispatchError, InitError = ()> {
    apply_fn_factory(face(hub, stopping), |tcp: TcpStream, http: &_| {
        let peer = tcp.peer_addr().ok();
        carry(tcp, peer, http)
    })
}

/// The stream that actix sees, its protocol and the peer's address.
type Connection<S> = (Handover<S>, Protocol, Option<SocketAddr>);

/// actix's HTTP/1.1 over streams that can be handed over.
fn face<S: Socket + 'static>(
    hub: Hub,
    stopping: GracefulShutdownSignal,
) -> impl ServiceFactory<Connection<S>, Config = (), Response = (), Error = DispatchError, InitError = ()> {
    let config = hub.config.clone();
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
        .finish(map_config(app(web::Data::new(hub)), |()| AppConfig::default()))
}

/// Runs actix's side of one connection.
fn carry<S, H>(
    socket: S,
    peer: Option<SocketAddr>,
    http: &H,
) -> impl Future<Output = Result<(), DispatchError>> + use<S, H>
where
    S: Socket,
    H: Service<Connection<S>, Response = (), Error = DispatchError>,
{
    let slot = Slot::new(socket);
    let dispatcher = http.call((Handover::new(Rc::clone(&slot)), Protocol::Http1, peer));
    drive(slot, dispatcher)
}

impl HttpServerHandle {
    /// Where the server listens.
    pub fn address(&self) -> SocketAddr {
        self.address
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
