//! What this node tells the others beside its places, and what it knows of them: as of the last renewal of its lease.

use std::sync::atomic::Ordering;

use rivulet_node::{LimitsConfig, Peers};

use super::Limits;

/// The other nodes, as they last said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Others {
    pub(super) connections: u64,
    /// How many take new connections.
    pub(super) open: u32,
    /// The connections of those.
    pub(super) connections_of_open: u64,
}

impl Limits {
    /// See [`rivulet_node::Transport::peers`].
    pub(crate) fn peers(&self) -> Peers {
        let own = self.ledger.connections() as u64;
        let is_open = !self.leaves.load(Ordering::Acquire);
        let state = self.state.lock();
        let Others { connections, open, connections_of_open } = state.others;
        Peers {
            nodes: state.nodes.max(1),
            connections: connections + own,
            open_nodes: open + u32::from(is_open),
            open_connections: connections_of_open + if is_open { own } else { 0 },
        }
    }

    /// See [`rivulet_node::Transport::limits_changed`].
    pub(crate) fn configure(&self, limits: &LimitsConfig) {
        self.ledger.configure(limits);
    }

    /// See [`rivulet_node::Transport::leave`].
    pub(crate) fn leave(&self) {
        self.leaves.store(true, Ordering::Release);
        // The others compare themselves with this node: they are told now and not with the next renewal.
        self.work.notify_one();
    }
}
