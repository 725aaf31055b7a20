//! The Redis transport: log, feed and limits of any number of nodes in Redis 6.2 or newer: one server, a master that Sentinels
//! know, or a cluster (7.0 or newer).
//!
//! ```text
//!  append ──▶ primaries ──▶ append.lua: position, streams, index, PUBLISH
//!                                                                  │
//!  feed ◀── feed_writer ◀── inbox ◀── link to each primary ◀───────┘
//!               └── log: what a break missed; replay
//!
//!  admit ──▶ limits ──▶ admit.lua: every node's share, counted while its lease is renewed
//!  kick ───▶ kicks ──▶ control channel ──▶ feed of every node
//!               └── late_kicks: what a node did not hear
//! ```
//!
//! It does not know HTTP.

mod announcement;
mod backfill;
mod channels;
mod clock_offset;
mod cluster_view;
mod command_parts;
mod command_stats;
mod commands;
mod config;
mod connect_error;
mod connector;
mod deployment;
mod entry;
mod error_type;
mod feed_writer;
mod format;
mod history;
mod inbox;
mod index_entry;
mod keys;
mod kick_message;
mod kicks;
mod late_kicks;
mod limits;
mod link;
mod log;
mod loss;
mod missed;
#[cfg(feature = "faults")]
mod next_version;
mod opening;
mod outage;
mod partition_state;
mod partition_stats;
mod permissions;
mod primaries;
mod pulse;
mod reason;
mod refusal;
mod script;
mod seen;
mod sentinels;
mod status;
mod subscriber;
mod supervisor;
mod takeover;
mod ticker;
mod topology;
mod traced;
mod transport;
mod transport_stats;
mod unreadable;

pub use config::{RedisConfig, TlsFiles, check_url};
pub use connect_error::ConnectError;
pub use transport::RedisTransport;
