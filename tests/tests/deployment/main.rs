//! What a deployment consists of: the image, its health check, the workflows that make and release it, the manifests.

mod manifests;
mod policies;
