//! Ring two: everything of a node but Redis and HTTP, on the memory transport.
#![allow(clippy::unwrap_used, missing_docs)]

mod dispatch;
mod drain;
mod endings;
mod fairness;
mod floods;
mod gaps;
mod harness;
mod inspect;
mod kick;
mod measures;
mod partitions;
mod resume;
mod room;
mod sampling;
mod sharing;
mod shed;
mod stalled;
mod tap;
mod traces;
mod unsent;
