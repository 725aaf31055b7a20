//! What a deployment consists of: the image, its health check, and the workflows that make and release it.

mod healthcheck;
mod image;
mod image_check;
mod image_container;
mod image_names;
mod image_runs;
mod workflows;
