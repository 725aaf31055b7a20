//! The proof of the rolling update: all nodes are replaced under load, and nobody notices but by coming back.
//!
//! Clients behave as a browser's `EventSource` does: they keep the last id, wait for as long as `retry:` said, and then take
//! whichever node the load balancer gives them. Publishers number what they send on each topic, and repeat it until it is
//! acknowledged. In the end every client must have seen every number of its topics, once and in order.

mod client;
mod judgement;
mod outcome;
mod publisher;
mod run;
mod slope;
mod stage;
mod tally;

pub use judgement::Verdict;
pub use outcome::Outcome;
pub use run::{Drain, Fault, Plan};
