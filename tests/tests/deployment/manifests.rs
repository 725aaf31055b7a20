//! The manifests of k8s/: every combination is rendered by the real Kustomize and judged by the schemas of Kubernetes and of
//! what extends it; a real node starts with what it finds in them.

pub(crate) mod matrix;
pub(crate) mod rendered;
pub(crate) mod schemas;

mod containers;
mod node;
mod page;
mod servers;
mod sources;
