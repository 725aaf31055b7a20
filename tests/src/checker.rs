//! The cluster checker: publishers, subscribers and a nemesis on real processes, and a judge of what they recorded.
//!
//! A run is told by its seed. `run` plays it, `judge` compares what was acknowledged with what was seen, `report`
//! shows the shortest history of what went wrong.

pub mod client;
pub mod cursor;
pub mod evidence;
pub mod fleet;
pub mod history;
pub mod interest;
pub mod judge;
pub mod nemesis;
pub mod publisher;
pub mod run;
pub mod schedule;
pub mod stage;
pub mod subscriber;
pub mod world;
