//! What becomes of limits when nodes die, Redis goes away, and answers get lost.

// In a test a panic is the report.
#![allow(clippy::unwrap_used)]

mod away;
mod kicks;
mod lease;
mod player;
