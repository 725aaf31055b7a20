//! Ring two: everything of a node but Redis and HTTP, on the memory transport.
#![allow(clippy::unwrap_used, missing_docs)]

mod dispatch;
mod endings;
mod gaps;
mod harness;
mod partitions;
mod resume;
mod sharing;
mod tap;
mod unsent;
