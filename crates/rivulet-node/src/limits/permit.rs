//! What a connection holds of the hub's limits: one value, given back when it is dropped.

use std::{fmt, sync::Arc};

use super::{Client, Limit, Scope};

/// Who counts what permits hold.
pub trait Keeper: Send + Sync {
    /// Takes back what one connection held. Never waits.
    fn take_back(&self, held: &[(Limit, Scope)]);
}

/// A connection's places in the quotas. Dropping it gives them back, exactly once.
pub struct Permit {
    keeper: Arc<dyn Keeper>,
    held: Box<[(Limit, Scope)]>,
}

impl Permit {
    /// A permit for what `keeper` has counted already.
    pub fn new(keeper: Arc<dyn Keeper>, held: Box<[(Limit, Scope)]>) -> Self {
        Self { keeper, held }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.keeper.take_back(&self.held);
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Permit").field(&self.held).finish()
    }
}

/// Whose connection it is, and what it holds.
#[derive(Debug)]
pub struct Holding {
    /// Who is connected.
    pub client: Client,
    /// What the connection holds of the hub's limits.
    pub permit: Permit,
}
