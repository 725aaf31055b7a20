//! The house rules that no compiler checks: arrows between crates, lengths, first lines, what may lie where.

mod crates;
mod files;
mod readme;
mod repository;
