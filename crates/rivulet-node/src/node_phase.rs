//! Where a node is in its life.
//!
//! ```text
//!   Open ───leave──▶ Leaving ───drain──▶ Draining ──shutdown──▶ Closed
//!   ready            not ready           refuses new streams,    ends at once
//!   serves all       still serves all    lets its own go         what is left
//! ```
//!
//! It only goes forward, and may skip phases.

use std::sync::atomic::{AtomicU8, Ordering::AcqRel, Ordering::Acquire};

/// See the module's documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NodePhase {
    /// New clients may be sent here.
    Open,
    /// None should be sent here any more; who comes all the same is served, since a load balancer needs time to notice.
    Leaving,
    /// New subscribers are refused, and streams end in even slices.
    Draining,
    /// All streams end.
    Closed,
}

impl NodePhase {
    const ALL: [Self; 4] = [Self::Open, Self::Leaving, Self::Draining, Self::Closed];

    /// Whether new subscribers are accepted.
    pub const fn is_serving(self) -> bool {
        matches!(self, Self::Open | Self::Leaving)
    }
}

/// The phase of a node, read and moved on by all its threads.
#[derive(Debug)]
pub(crate) struct PhaseCell(AtomicU8);

impl PhaseCell {
    pub(crate) const fn new() -> Self {
        Self(AtomicU8::new(NodePhase::Open as u8))
    }

    pub(crate) fn get(&self) -> NodePhase {
        NodePhase::ALL[usize::from(self.0.load(Acquire))]
    }

    /// Moves on to a phase, unless the node is there or beyond.
    pub(crate) fn advance(&self, to: NodePhase) {
        self.0.fetch_max(to as u8, AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_never_goes_back() {
        let phase = PhaseCell::new();
        for (to, expected) in [
            (NodePhase::Leaving, NodePhase::Leaving),
            (NodePhase::Open, NodePhase::Leaving),
            (NodePhase::Closed, NodePhase::Closed),
            (NodePhase::Draining, NodePhase::Closed),
        ] {
            phase.advance(to);
            assert_eq!(phase.get(), expected, "after {to:?}");
        }
    }

    #[test]
    fn subscribers_are_served_until_streams_end() {
        let serving = NodePhase::ALL.map(NodePhase::is_serving);
        assert_eq!(serving, [true, true, false, false]);
    }
}
