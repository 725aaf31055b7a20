//! What goes wrong around a hub, seen from outside: Redis that is away, wrong, full or closed, networks that lie, and
//! clients that send nonsense. Each time: a clear answer, a clear log, a truthful `/ready`, and nothing lost.

mod acl;
mod away;
mod garbage;
mod half_open;
mod idempotency;
mod journey;
mod last_ids;
mod no_writes;
mod older_copy;
mod readiness;
mod replicas;
mod startup;
mod tls;
mod waiting;
