//! The Redis transport: log and feed of any number of nodes in a standalone Redis 6.2 or newer.
//!
//! ```text
//!  append ──▶ commands ──▶ append.lua: position, streams, index, PUBLISH
//!                                                                  │
//!  feed ◀── feed_writer ◀── inbox ◀── supervisor's connection ◀────┘
//!               └── log: what a break missed; replay
//! ```
//!
//! It does not know HTTP.

mod announcement;
mod channels;
mod commands;
mod config;
mod connect_error;
mod connector;
mod entry;
mod feed_writer;
mod inbox;
mod keys;
mod log;
mod opening;
mod script;
mod status;
mod supervisor;
mod ticker;
mod transport;

pub use config::RedisConfig;
pub use connect_error::ConnectError;
pub use transport::RedisTransport;
