//! What a deployment consists of: the image, its health check, the workflows that make and release it, the manifests.

mod healthcheck;
mod image;
mod image_check;
mod image_container;
mod image_names;
mod image_runs;
mod manifests;
mod policies;
mod workflows;
