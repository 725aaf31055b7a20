//! `docker-compose.yml`: its shape, by the Compose specification and by what it promises, and its services as processes.
//!
//! No container engine is needed: each container becomes a process on a loopback address of its own, with the ports,
//! commands, environments and mounted files of the composition.

mod profiles;
mod shape;
mod shipped;
mod topology;
mod world;
