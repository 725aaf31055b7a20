//! What an operator configures about the HTTP face, with the reason beside each default.

use std::{net::SocketAddr, num::NonZeroUsize, sync::Arc, time::Duration};

use ipnet::IpNet;
use rivulet_node::LimitsConfig;
use url::Url;

use crate::{
    auth::{AllowedOrigins, Authorizer},
    certificates::Certificates,
    client_address::ForwardingHeader,
    cors::CorsPolicy,
    proxy_header::ProxyProtocol,
    stats::HttpStats,
    trace_headers::TraceHeaders,
};

/// The hub's URL if none is configured. Only relative topics and patterns, and the reserved namespace, depend on it.
pub const DEFAULT_HUB_URL: &str = "https://localhost/.well-known/mercure";

/// The configuration of [`crate::serve`].
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// The address to listen on; port 0 lets the system choose one.
    pub listen: SocketAddr,
    /// How many worker threads share the connections.
    pub workers: NonZeroUsize,
    /// Verifies tokens of the dialects that are on.
    pub authorizer: Arc<Authorizer>,
    /// Whether subscribers without a token are served (public updates only).
    pub anonymous: bool,
    /// The pages that may read answers.
    pub cors: CorsPolicy,
    /// The pages that may publish with their visitors' cookies.
    pub publish_origins: AllowedOrigins,
    /// The hub's public URL: relative topics and URL Patterns are resolved against it.
    pub hub_url: Url,
    /// The longest body of a publication or of a `QUERY`, and the longest line of a batch, in bytes.
    pub body_len_max: usize,
    /// The longest body of a batch, in bytes.
    pub batch_len_max: usize,
    /// The certificate of the listener; its files are watched. `None`: plain TCP.
    pub tls: Option<Arc<Certificates>>,
    /// How long a connection may take from accept until its PROXY header has been read and its TLS handshake is done.
    pub handshake_timeout: Duration,
    /// How many TLS handshakes a worker has under way at a time; others wait, which their timeout bounds. Each costs a
    /// third of a millisecond of CPU with an ECDSA key (RSA: more) and some 10 KB, and after a network hiccup all clients
    /// want one. Most of its time a handshake waits for its peer: with few places, a hundred peers a second that stall
    /// would keep everybody else out.
    pub handshakes_max: usize,
    /// Whether connections begin with a header of the PROXY protocol.
    pub proxy_protocol: ProxyProtocol,
    /// The networks of the proxies in front, whose word about a client's address is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// The one header in which they tell whom they forward for.
    pub forwarding_header: ForwardingHeader,
    /// How many bytes of memory all bodies under way may hold together; at least [`HttpConfig::batch_len_max`]. Beyond it
    /// publishers are refused for a moment.
    pub bodies_in_flight_max: usize,
    /// The limits of the hub: what subscribers and publishers have to pass. The same on all nodes.
    pub limits: Arc<LimitsConfig>,
    /// How long a client may take to send a request's head; then it is answered 408.
    pub head_timeout: Duration,
    /// How long a client may take to send a request's body; then it is answered 408.
    pub body_timeout: Duration,
    /// How long a connection may be idle between requests. An idle one costs some 10 KB until it is handed over.
    pub keep_alive: Duration,
    /// How long a closing connection may take to take its last bytes.
    pub disconnect_timeout: Duration,
    /// How long [`crate::HttpServerHandle::stop`] waits for requests that are being answered (whole seconds).
    pub shutdown_timeout: Duration,
    /// How many connections per worker may be in a request or between two. Streams do not count: actix has forgotten
    /// them, and the node counts them itself. One more is answered 503 at once, or closed if it wants TLS.
    pub requests_max: usize,
    /// `SO_SNDBUF` of each connection, in bytes. The system's default lets a reader that has stopped take megabytes of
    /// the kernel's memory; with 32 KiB it takes 45 KB at most.
    pub send_buffer_len: usize,
    /// By which headers requests say from which span they come.
    pub trace_headers: TraceHeaders,
    /// What is counted: to be read by whoever shows metrics.
    pub stats: Arc<HttpStats>,
}

impl HttpConfig {
    /// The defaults: loopback, any free port, no anonymous subscribers, no foreign pages.
    pub fn new(authorizer: Arc<Authorizer>) -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            workers: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            authorizer,
            anonymous: false,
            cors: CorsPolicy::default(),
            publish_origins: AllowedOrigins::default(),
            hub_url: Url::parse(DEFAULT_HUB_URL).expect("the constant is a URL"),
            body_len_max: 1024 * 1024,
            batch_len_max: 8 * 1024 * 1024,
            tls: None,
            handshake_timeout: Duration::from_secs(10),
            handshakes_max: 4096,
            proxy_protocol: ProxyProtocol::Off,
            trusted_proxies: Vec::new(),
            forwarding_header: ForwardingHeader::default(),
            bodies_in_flight_max: 64 * 1024 * 1024,
            limits: Arc::default(),
            head_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            keep_alive: Duration::from_secs(30),
            disconnect_timeout: Duration::from_secs(5),
            shutdown_timeout: Duration::from_secs(10),
            requests_max: 25_600,
            send_buffer_len: 32 * 1024,
            trace_headers: TraceHeaders::default(),
            stats: Arc::default(),
        }
    }
}
