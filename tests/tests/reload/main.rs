//! Reading the configuration again while the hub runs, and checking it before: what counts without a restart, what is refused,
//! and what nobody notices.

mod check_config;
mod configured;
mod limits;
mod mixed;
mod refused;
mod settings;
mod shown;
mod stopping;
mod tokens;
mod watched;
