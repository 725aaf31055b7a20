//! Whether new clients should be sent to this node, and whether one that comes is let in.

use std::{fmt, sync::atomic::Ordering::Relaxed};

use crate::{Node, NodePhase, Outdated, Refusal, SubscribeError, node::NodeShared};

/// Why no new clients should be sent to a node, as far as the node itself knows: [`Node::feed_status`] may know more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unready {
    /// It is about to stop.
    Leaving,
    /// It holds as many connections as it may, or did, and has not come down to nine tenths of that since.
    Full {
        /// How many it holds.
        connections: usize,
        /// How many it may.
        connections_max: usize,
    },
    /// It has hardly any memory left.
    MemoryTight,
    /// It may not be able to read what newer nodes write: who comes here may be told of gaps that nobody else has.
    Outdated(Outdated),
}

impl Unready {
    /// A name for programs.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Leaving => "leaving",
            Self::Full { .. } => "full",
            Self::MemoryTight => "memory_tight",
            Self::Outdated(_) => "outdated",
        }
    }
}

impl fmt::Display for Unready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Leaving => f.write_str("the node is stopping"),
            Self::Full { connections, connections_max } => {
                write!(f, "the node holds {connections} connections, and may hold {connections_max}")
            }
            Self::MemoryTight => f.write_str("the node has hardly any memory left"),
            Self::Outdated(Outdated { needed, knows }) => {
                write!(
                    f,
                    "nodes of this hub must know format {needed} by now, this one knows {knows}: upgrade it"
                )
            }
        }
    }
}

impl Node {
    /// Where the node is in its life.
    pub fn phase(&self) -> NodePhase {
        self.shared.phase.get()
    }

    /// Whether it is neither about to stop nor stopping.
    pub fn is_open(&self) -> bool {
        self.phase() == NodePhase::Open
    }

    /// Whether new subscribers are accepted, as far as there is room.
    pub fn is_serving(&self) -> bool {
        self.phase().is_serving()
    }

    /// Says whether the process has hardly any memory left: then new subscribers are refused.
    pub fn set_memory_tight(&self, is_tight: bool) {
        self.shared.memory_tight.store(is_tight, Relaxed);
    }

    /// Whether [`Node::set_memory_tight`] last said so.
    pub fn is_memory_tight(&self) -> bool {
        self.shared.memory_tight.load(Relaxed)
    }

    /// Why no new clients should be sent here; empty if they may.
    pub fn readiness(&self) -> Vec<Unready> {
        let places = &self.shared.places;
        let full = || Unready::Full { connections: places.taken(), connections_max: places.max() };
        let reasons = [
            (!self.is_open()).then_some(Unready::Leaving),
            self.shared.transport.outdated().map(Unready::Outdated),
            places.are_scarce().then(full),
            self.is_memory_tight().then_some(Unready::MemoryTight),
        ];
        reasons.into_iter().flatten().collect()
    }

    /// Whether a new subscriber has a chance here: to be asked before anything costs.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn check_room(&self) -> Result<(), SubscribeError> {
        let room = self.shared.check_room();
        room.inspect_err(|error| self.shared.count_refusal(error))
    }

    /// Whether a subscriber that has missed something may read it now: to be asked before it costs, or takes anything from
    /// the limits of the hub.
    ///
    /// # Errors
    ///
    /// [`SubscribeError::ReplaysBusy`].
    pub fn check_replays(&self) -> Result<(), SubscribeError> {
        if !self.shared.replays.are_taken() {
            return Ok(());
        }
        self.shared.count_refusal(&SubscribeError::ReplaysBusy);
        Err(SubscribeError::ReplaysBusy)
    }
}

impl NodeShared {
    pub(crate) fn check_room(&self) -> Result<(), SubscribeError> {
        if !self.phase.get().is_serving() {
            return Err(SubscribeError::Closing);
        }
        if self.memory_tight.load(Relaxed) {
            return Err(SubscribeError::MemoryTight);
        }
        if self.places.are_taken() { Err(SubscribeError::NodeFull) } else { Ok(()) }
    }

    /// Counts an error if it is the node's refusal.
    pub(crate) fn count_refusal(&self, error: &SubscribeError) {
        if let Some(refusal) = error.refusal() {
            self.refused[refusal as usize].fetch_add(1, Relaxed);
        }
    }

    pub(crate) fn refused(&self) -> [u64; Refusal::ALL.len()] {
        self.refused.each_ref().map(|counter| counter.load(Relaxed))
    }
}
