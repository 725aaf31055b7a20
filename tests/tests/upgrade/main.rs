//! Upgrades: nodes of two releases side by side.

mod build;
mod load;
mod skew;
mod too_old;
