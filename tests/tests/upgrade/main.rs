//! Upgrades: nodes of a running hub are replaced.

mod rolling;
