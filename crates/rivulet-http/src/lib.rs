//! The HTTP face of Rivulet: the Mercure protocol, in both dialects, over actix-web.
//!
//! ```text
//!  POST ── access ── fields ── publication ──▶ node.publish
//!  GET  ── wish ── access ── node.admit ── worker.reserve ── head ──▶ the socket leaves actix (handover) and becomes a seat
//! ```
//!
//! It owns parameters, tokens, origins, refusals and the listener. It does not know Redis, and once a subscriber's
//! socket is handed over it does not know the connection either.

pub mod auth;

mod access;
mod arrival;
mod batch;
mod bodies;
mod body;
mod certificates;
mod client_address;
mod config;
mod cors;
mod fields;
mod form;
mod gate;
mod handover;
mod handshakes;
mod head;
mod hub;
mod landing;
mod limit_problem;
mod listener;
mod listener_stats;
mod live;
mod metadata;
mod pem;
mod problem;
mod problem_kind;
mod proxy_header;
mod publish;
mod rarely;
mod request;
mod request_span;
mod retry;
mod routes;
mod server;
mod stats;
mod subscribe;
mod tls;
mod tls_socket;
mod trace_headers;
mod wish;

pub use certificates::{
    CertificateError, CertificateFiles, CertificateWatch, Certificates, Reload, check_authorities,
};
pub use client_address::ForwardingHeader;
pub use config::{DEFAULT_HUB_URL, HttpConfig};
pub use cors::{CorsPolicy, CorsPolicyError};
pub use gate::requests_within;
pub use listener_stats::ListenerStats;
pub use live::LiveConfig;
pub use proxy_header::ProxyProtocol;
pub use server::{HttpServerHandle, serve};
pub use stats::{HttpSnapshot, HttpStats, PublishOutcome};
pub use trace_headers::TraceHeaders;
