//! A batch: what one `writev` brings to one seat.

use bytes::Bytes;
use rivulet_core::{Cursor, Partition, Partitions, Position};
use smallvec::SmallVec;

use crate::{
    config::{WRITE_BYTES_MAX, WRITE_FRAMES_MAX},
    delivery::Delivery,
};

/// How a seat's cursor moves, and what ids its frames carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// All its sources stand in this partition: its cursor is one position, and the shared frames have its ids.
    One(Partition),
    /// It reads several partitions, so each of its frames has an id of its own: the whole cursor.
    Several,
}

impl Reach {
    /// Notes in a cursor that everything up to `position` has been read.
    pub(crate) fn advance(self, cursor: &mut Cursor, partition: Partition, position: Position) {
        match self {
            Self::One(_) => cursor.raise(position),
            Self::Several => cursor.advance(partition, position),
        }
    }
}

/// Deliveries for one `writev`.
pub(crate) struct Batch<'a> {
    reach: Reach,
    partitions: Partitions,
    frames: SmallVec<[&'a Delivery; WRITE_FRAMES_MAX]>,
    /// The bytes of `frames`, if they have ids of their own, each with the cursor that its id says.
    own: Vec<(Bytes, Cursor)>,
    bytes: usize,
    /// Where the cursor is when everything has been written: also after deliveries that are not for this subscriber.
    pub(crate) through: Cursor,
}

impl<'a> Batch<'a> {
    pub(crate) fn starting_after(cursor: &Cursor, reach: Reach, partitions: Partitions) -> Self {
        let through = cursor.clone();
        Self { reach, partitions, frames: SmallVec::new(), own: Vec::new(), bytes: 0, through }
    }

    /// Adds a delivery.
    pub(crate) fn push(&mut self, delivery: &'a Delivery) {
        self.pass(delivery.partition, delivery.position());
        let mut len = delivery.frame.bytes.len();
        if self.reach == Reach::Several {
            let own = delivery.frame.with_id(&self.through.id(self.partitions));
            len = own.len();
            self.own.push((own, self.through.clone()));
        }
        self.bytes += len;
        self.frames.push(delivery);
    }

    /// Notes that everything up to here is in the batch, or not for this subscriber.
    pub(crate) fn pass(&mut self, partition: Partition, position: Position) {
        self.reach.advance(&mut self.through, partition, position);
    }

    /// What it holds.
    pub(crate) fn deliveries(&self) -> &[&'a Delivery] {
        &self.frames
    }

    pub(crate) fn is_full(&self) -> bool {
        self.frames.len() >= WRITE_FRAMES_MAX || self.bytes >= WRITE_BYTES_MAX
    }

    /// The bytes of each frame.
    pub(crate) fn frames(&self) -> impl Iterator<Item = &Bytes> {
        let bytes_of = |(nth, delivery): (usize, &&'a Delivery)| -> &Bytes {
            self.own.get(nth).map_or(&delivery.frame.bytes, |(bytes, _)| bytes)
        };
        self.frames.iter().enumerate().map(bytes_of)
    }

    /// Moves a cursor to where the frame with this number leaves it: to what its id says, which is also behind what was
    /// passed by before it.
    pub(crate) fn move_to(&self, nth: usize, cursor: &mut Cursor) {
        match self.own.get(nth) {
            Some((_, own)) => cursor.clone_from(own),
            None => self.reach.advance(cursor, self.frames[nth].partition, self.frames[nth].position()),
        }
    }
}
