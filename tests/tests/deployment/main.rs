//! What is shipped for deployment, judged by the tools that will read it.

mod manifests;
mod policies;
