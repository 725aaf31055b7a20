//! Arrival: what a connection passes before HTTP.
//!
//! ```text
//!  accept ── gate ──▶ PROXY header ──▶ TLS handshake ──▶ HTTP ──▶ handover
//!             └ 503      (a deadline covers both)
//! ```

use std::{
    io,
    net::{IpAddr, SocketAddr},
    rc::Rc,
    sync::Arc,
    time::Instant,
};

use actix_server::GracefulShutdownSignal;
use ipnet::IpNet;
use rustls::ServerConfig;
use tokio::net::TcpStream;

use crate::{
    gate::{Gate, Passage},
    handshakes::{CrowdedOut, Handshakes},
    listener_stats::{ListenerStats, count},
    live::LiveConfig,
    proxy_header::{HeaderFault, ProxyProtocol, read_header},
    rarely::Rarely,
    tls_socket::TlsSocket,
};

/// Of one node there is one proxy configuration, so that all refusals because of it are one story.
static PROXY_REFUSED: Rarely = Rarely::new();

/// What the connections of one worker pass before HTTP.
pub(crate) struct Arrivals {
    live: Arc<LiveConfig>,
    gate: Rc<Gate>,
    handshakes: Handshakes,
    stats: Arc<ListenerStats>,
    stopping: GracefulShutdownSignal,
}

/// A connection that is ready for HTTP.
pub(crate) struct Arrived<S> {
    pub(crate) socket: S,
    /// The client's address, as far as it is known.
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) passage: Passage,
}

/// The connection is over; what there was to say has been said and counted.
#[derive(Debug)]
pub(crate) struct Over;

/// Why a connection did not arrive.
enum Lost {
    /// The peer closed without having said anything, or the server stops.
    Quietly,
    TimedOut(Step),
    Handshake(io::Error),
    CrowdedOut,
    ProxyHeader(HeaderFault),
    ProxyUntrusted,
}

/// What a connection was doing when its time was over.
enum Step {
    ProxyHeader,
    Handshake,
}

impl Arrivals {
    pub(crate) fn new(
        live: Arc<LiveConfig>,
        stats: Arc<ListenerStats>,
        stopping: GracefulShutdownSignal,
    ) -> Self {
        let config = live.load();
        let gate = Gate::new(config.requests_max, stats.clone(), config.stats.clone());
        let handshakes = Handshakes::new(config.handshakes_max);
        drop(config);
        Self { live, gate, handshakes, stats, stopping }
    }

    /// Plain TCP.
    pub(crate) async fn plain(self: Rc<Self>, mut tcp: TcpStream) -> Result<Arrived<TcpStream>, Over> {
        count(&self.stats.accepted);
        let Some(passage) = self.gate.enter() else {
            self.gate.refuse(tcp).await;
            return Err(Over);
        };
        let peer = tcp.peer_addr().ok();
        match self.client(&mut tcp, peer).await {
            Ok(peer) => Ok(Arrived { socket: tcp, peer, passage }),
            Err(lost) => Err(self.account(&lost, peer)),
        }
    }

    /// TLS. One too many is closed at once: a handshake is what there is no room for.
    pub(crate) async fn tls(
        self: Rc<Self>,
        mut tcp: TcpStream,
        tls: Arc<ServerConfig>,
    ) -> Result<Arrived<TlsSocket>, Over> {
        count(&self.stats.accepted);
        let passage = self.gate.enter().ok_or(Over)?;
        let started = tokio::time::Instant::now();
        let peer = tcp.peer_addr().ok();
        let arrived = async {
            let client = self.client(&mut tcp, peer).await?;
            let deadline = started + self.live.load().handshake_timeout;
            let shaken = tokio::time::timeout_at(deadline, self.shake_hands(tcp, tls));
            let socket = shaken.await.unwrap_or(Err(Lost::TimedOut(Step::Handshake)))?;
            Ok((socket, client))
        };
        let arrived = tokio::select! {
            arrived = arrived => arrived,
            () = self.stopping.notified() => Err(Lost::Quietly),
        };
        match arrived {
            Ok((socket, peer)) => Ok(Arrived { socket, peer, passage }),
            Err(lost) => Err(self.account(&lost, peer)),
        }
    }

    /// Whom the connection is from: its peer, or the client of the proxy that the peer is.
    async fn client(
        &self,
        tcp: &mut TcpStream,
        peer: Option<SocketAddr>,
    ) -> Result<Option<SocketAddr>, Lost> {
        let config = Arc::clone(&self.live.load());
        if config.proxy_protocol == ProxyProtocol::Off {
            return Ok(peer);
        }
        let proxy = peer.ok_or(Lost::Quietly)?;
        if !is_within(&config.trusted_proxies, proxy.ip()) {
            return Err(Lost::ProxyUntrusted);
        }
        let header = tokio::time::timeout(config.handshake_timeout, read_header(tcp));
        tokio::select! {
            header = header => match header {
                Ok(Ok(client)) => Ok(Some(client.unwrap_or(proxy))),
                Ok(Err(HeaderFault::Silent)) => Err(Lost::Quietly),
                Ok(Err(fault)) => Err(Lost::ProxyHeader(fault)),
                Err(_) => Err(Lost::TimedOut(Step::ProxyHeader)),
            },
            () = self.stopping.notified() => Err(Lost::Quietly),
        }
    }

    async fn shake_hands(&self, tcp: TcpStream, tls: Arc<ServerConfig>) -> Result<TlsSocket, Lost> {
        // Silence needs no place. Whoever closes without a word only wanted to see whether the port is open.
        if matches!(tcp.peek(&mut [0]).await, Ok(0) | Err(_)) {
            return Err(Lost::Quietly);
        }
        let begun = Instant::now();
        match self.handshakes.run(TlsSocket::accept(tls, tcp)).await {
            Ok(Ok(socket)) => {
                self.stats.handshake.observe(begun.elapsed());
                Ok(socket)
            }
            Ok(Err(error)) => Err(Lost::Handshake(error)),
            Err(CrowdedOut) => Err(Lost::CrowdedOut),
        }
    }

    /// Counts a connection that did not arrive, and says what an operator may have to mend.
    fn account(&self, lost: &Lost, peer: Option<SocketAddr>) -> Over {
        let stats = &self.stats;
        match lost {
            Lost::Quietly => {}
            Lost::TimedOut(Step::Handshake) => count(&stats.handshakes_timed_out),
            Lost::CrowdedOut => count(&stats.handshakes_crowded_out),
            Lost::Handshake(error) => {
                tracing::debug!(?peer, %error, "a TLS handshake failed");
                count(&stats.handshakes_failed);
            }
            Lost::TimedOut(Step::ProxyHeader) => {
                count(&stats.proxy_headers_refused);
                warn_of_proxy(peer, "its PROXY header did not arrive in time");
            }
            Lost::ProxyHeader(fault) => {
                count(&stats.proxy_headers_refused);
                warn_of_proxy(peer, &fault.to_string());
            }
            Lost::ProxyUntrusted => {
                count(&stats.proxies_untrusted);
                warn_of_proxy(peer, "the peer is not in a network of trusted proxies");
            }
        }
        Over
    }
}

fn warn_of_proxy(peer: Option<SocketAddr>, reason: &str) {
    if let Some(unsaid) = PROXY_REFUSED.say(Instant::now()) {
        let peer = peer.map(|peer| peer.ip().to_string());
        tracing::warn!(peer, reason, unsaid, "A connection was refused: it must come from a trusted proxy");
    }
}

/// Whether an address is in one of these networks. A listener for both families shows IPv4 peers as IPv6.
pub(crate) fn is_within(networks: &[IpNet], peer: IpAddr) -> bool {
    let address = peer.to_canonical();
    networks.iter().any(|network| network.contains(&address))
}

#[cfg(test)]
mod tests;
