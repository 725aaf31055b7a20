//! Traces, seen from a receiver of OTLP that real nodes send them to: what arrives, what one update's way looks like, and
//! what a receiver that is away, slow or mute costs.

mod collectors;
mod errors;
mod export;
mod journey;
mod linked;
mod redirections;
mod sampling;
mod stage;
mod variables;
