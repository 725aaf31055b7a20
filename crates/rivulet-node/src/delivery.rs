//! An update on its way to the subscribers of this node: encoded once, shared by all workers and rings.

use std::sync::Arc;

use rivulet_core::{Frame, Position, Topic};
use smallvec::SmallVec;

use crate::{Appended, registry::PatternId};

/// What the pump hands to workers.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) frame: Frame,
    pub(crate) topics: SmallVec<[Topic; 1]>,
    pub(crate) private: bool,
    /// The patterns on this node that select the update.
    pub(crate) patterns: SmallVec<[PatternId; 2]>,
}

impl Delivery {
    pub(crate) fn new(appended: &Appended, patterns: SmallVec<[PatternId; 2]>) -> Arc<Self> {
        Arc::new(Self {
            frame: Frame::encode(appended.position, &appended.update),
            topics: appended.update.topics.clone(),
            private: appended.update.private,
            patterns,
        })
    }

    pub(crate) fn position(&self) -> Position {
        self.frame.position
    }
}

/// What a worker takes in.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    Deliver(Arc<Delivery>),
    /// Everything up to this position has been delivered to this worker.
    Verified(Position),
    /// End all streams; no new ones come.
    Close,
}
