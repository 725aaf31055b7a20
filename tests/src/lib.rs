//! The harness of the black-box tests: real processes on free ports, raw sockets, and ends that are checked.
//!
//! It knows nothing of the product's crates: what it says about the protocol is written down a second time, here.
//! It panics where a test would fail anyway, with what was seen in the message.

pub mod browser;
pub mod certificates;
pub mod chaos_proxy;
pub mod checker;
pub mod deadline;
pub mod guide;
pub mod http2;
pub mod hub;
pub mod metrics;
pub mod netns;
pub mod nginx;
pub mod otlp;
pub mod page;
pub mod port;
pub mod process;
pub mod program;
pub mod prometheus;
pub mod proxy;
pub mod redis;
pub mod redis_cluster;
pub mod refusal;
pub mod repository;
pub mod rolling;
pub mod sentinel;
pub mod sse;
pub mod subscriber;
pub mod substitution;
pub mod supervisor;
pub mod tap;
pub mod tls;
pub mod tokens;
pub mod tools;
pub mod wire;

pub use deadline::{PATIENCE, eventually, within};
pub use hub::{Backend, Hub};
pub use sse::Event;
pub use subscriber::Subscriber;
pub use wire::{Request, Response};
