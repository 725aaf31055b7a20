//! What is shipped for monitoring: rules and their runbooks, the dashboard; judged by the real tools.

mod alerts;
mod exemplars;
mod exposition;
mod expressions;
mod leak;
mod promql;
mod scraped;
mod shipped;
