//! The last frames of one source on one worker: what some subscriber there has still to write. All of one partition.

use std::{collections::VecDeque, sync::Arc};

use rivulet_core::Position;

use crate::{
    config::{RING_BYTES_MAX, RING_LEN_MAX},
    delivery::Delivery,
};

/// Holds every delivery after its floor, in position order. Empty, and without an allocation, while all subscribers
/// are level.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    frames: VecDeque<Arc<Delivery>>,
    bytes: usize,
    floor: Position,
}

impl Ring {
    pub(crate) fn starting_after(floor: Position) -> Self {
        Self { floor, ..Self::default() }
    }

    /// Every delivery after this position is here. Reading from an older one needs the log.
    pub(crate) fn floor(&self) -> Position {
        self.floor
    }

    pub(crate) fn raise_floor(&mut self, floor: Position) {
        self.floor = self.floor.max(floor);
    }

    /// Forgets what stands up to `through`, and that it ever had it.
    pub(crate) fn lose(&mut self, through: Position) {
        let lost = self.frames.partition_point(|delivery| delivery.position() <= through);
        for delivery in self.frames.drain(..lost) {
            self.bytes -= delivery.frame.bytes.len();
        }
        self.floor = self.floor.max(through);
    }

    /// The last position that was pushed, or the floor.
    pub(crate) fn last(&self) -> Position {
        self.frames.back().map_or(self.floor, |delivery| delivery.position().max(self.floor))
    }

    pub(crate) fn len(&self) -> usize {
        self.frames.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds a delivery and discards the oldest ones beyond the limits. Answers whether it was new.
    pub(crate) fn push(&mut self, delivery: &Arc<Delivery>) -> bool {
        if delivery.position() <= self.last() {
            return false;
        }
        self.bytes += delivery.frame.bytes.len();
        self.frames.push_back(delivery.clone());
        while self.frames.len() > RING_LEN_MAX || (self.bytes > RING_BYTES_MAX && self.frames.len() > 1) {
            if let Some(oldest) = self.frames.pop_front() {
                self.bytes -= oldest.frame.bytes.len();
                self.floor = self.floor.max(oldest.position());
            }
        }
        true
    }

    /// The deliveries after a position, oldest first.
    pub(crate) fn after(&self, position: Position) -> impl Iterator<Item = &Arc<Delivery>> {
        let start = self.frames.partition_point(|delivery| delivery.position() <= position);
        self.frames.range(start..)
    }

    /// Forgets all deliveries, with their memory.
    pub(crate) fn clear(&mut self) {
        self.floor = self.last();
        self.frames = VecDeque::new();
        self.bytes = 0;
    }
}
