//! The latest positions of a partition that this node was answered, or was shown by its feed.

use std::sync::atomic::{AtomicU64, Ordering};

use redis::Value;
use rivulet_core::Position;
use rivulet_node::TransportError;

use crate::{announcement::parse_position, entry::unexpected};

/// Each script gets them: a Redis that stands behind (restored from an older copy, a replica that was promoted) is pushed
/// forward instead of giving a position twice, and finds out whether it has lost an update.
pub(crate) struct Seen {
    position: AtomicU64,
    update: AtomicU64,
    proof: Proof,
}

/// What shows that the log must have an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// It was announced: then it was appended, and Redis loses nothing but in a failover.
    Announcement,
    /// This node acknowledged it, after replicas had it. One that was announced only may go in a failover, which is
    /// nobody's loss.
    Acknowledgement,
}

impl Seen {
    pub(crate) fn new(proof: Proof) -> Self {
        Self { position: AtomicU64::new(0), update: AtomicU64::new(0), proof }
    }

    /// The least that a tick may answer.
    pub(crate) fn least(&self) -> String {
        self.position.load(Ordering::Acquire).to_string()
    }

    /// The least position that an update may get: after all that were given.
    pub(crate) fn next(&self) -> String {
        (self.position.load(Ordering::Acquire) + 1).to_string()
    }

    /// The last update that the log must have.
    pub(crate) fn update(&self) -> String {
        self.update.load(Ordering::Acquire).to_string()
    }

    /// Reads a script's answer, and remembers it.
    pub(crate) fn answer(&self, answer: &Value) -> Result<Position, TransportError> {
        let Value::BulkString(digits) = answer else { return Err(unexpected("a position")) };
        let position = parse_position(digits).ok_or_else(|| unexpected("a position"))?;
        self.saw(position);
        Ok(position)
    }

    /// Remembers a position of the clock.
    pub(crate) fn saw(&self, position: Position) {
        self.position.fetch_max(position.as_micros(), Ordering::AcqRel);
    }

    /// Remembers an update that the feed has shown.
    pub(crate) fn saw_announced(&self, position: Position) {
        self.saw(position);
        if self.proof == Proof::Announcement {
            self.acknowledged(position);
        }
    }

    /// Remembers an update that this node has acknowledged.
    pub(crate) fn acknowledged(&self, position: Position) {
        self.update.fetch_max(position.as_micros(), Ordering::AcqRel);
    }
}
