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
mod batch;
mod bodies;
mod body;
mod client_address;
mod config;
mod cors;
mod fields;
mod form;
mod handover;
mod head;
mod hub;
mod landing;
mod limit_problem;
mod listener;
mod metadata;
mod problem;
mod problem_kind;
mod publish;
mod rarely;
mod retry;
mod routes;
mod server;
mod stats;
mod subscribe;
mod wish;

pub use config::{DEFAULT_HUB_URL, HttpConfig};
pub use cors::{CorsPolicy, CorsPolicyError};
pub use server::{HttpServerHandle, serve};
pub use stats::{HttpSnapshot, HttpStats};
