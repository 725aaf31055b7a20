//! What stands in Redis or arrives from there and this node cannot read: of a newer node, or damaged. It is counted and
//! said; what it was is not lost silently: of an update subscribers are told a gap.

use std::{
    fmt::Display,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};

use rivulet_node::TransportStats;

/// Why something cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// A newer version may have written it: this node has to be upgraded.
    Newer,
    /// No version writes that.
    Damaged,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Unreadable {
    newer: AtomicU64,
    damaged: AtomicU64,
    is_told: AtomicBool,
}

impl Unreadable {
    /// Something could not be read. That a node is too old is said once: it stays so until it is upgraded.
    pub(crate) fn note(&self, cause: Cause, what: &'static str, error: impl Display) {
        match cause {
            Cause::Damaged => {
                self.damaged.fetch_add(1, Relaxed);
                tracing::warn!(%error, "{what} in Redis is not what any version writes");
            }
            Cause::Newer => {
                self.newer.fetch_add(1, Relaxed);
                if !self.is_told.swap(true, Relaxed) {
                    tracing::error!(
                        what,
                        %error,
                        "this node is too old to read what a newer one wrote: upgrade this node; until then its \
                         subscribers are told of gaps"
                    );
                }
            }
        }
    }

    /// There may be something that this node is too old to read, wherever it is.
    pub(crate) fn newer_expected(&self) {
        self.newer.fetch_add(1, Relaxed);
    }

    /// Adds what has been counted.
    pub(crate) fn add_to(&self, stats: &mut TransportStats) {
        stats.unreadable_newer += self.newer.load(Relaxed);
        stats.unreadable_damaged += self.damaged.load(Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_counted_by_its_cause() {
        let unreadable = Unreadable::default();
        for cause in [Cause::Newer, Cause::Damaged, Cause::Newer] {
            unreadable.note(cause, "an update", "for a test");
        }
        let mut stats = TransportStats::default();
        unreadable.add_to(&mut stats);
        assert_eq!((stats.unreadable_newer, stats.unreadable_damaged), (2, 1));
        assert!(unreadable.is_told.load(Relaxed));
    }
}
