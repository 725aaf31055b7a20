//! Upgrades: nodes of two releases side by side, and nodes of a running hub that are replaced.

mod build;
mod load;
mod rolling;
mod skew;
mod too_old;
