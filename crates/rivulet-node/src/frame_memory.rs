//! How much memory frames take, each counted once however many hold it: inboxes, rings, pages of the log, and readers that
//! are in the middle of it.
//!
//! It is counted where a frame is made and where its last holder lets it go, so that nothing is counted per ring, worker or
//! subscriber.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use bytes::Bytes;
use rivulet_core::Frame;

use crate::config::DELIVERY_BYTES;

/// The frames of one node.
#[derive(Clone, Debug, Default)]
pub(crate) struct FrameMemory(Arc<AtomicUsize>);

/// The bytes of a frame, while somebody holds them.
struct Counted {
    bytes: Bytes,
    total: FrameMemory,
}

impl FrameMemory {
    /// Counts a frame that was just made, until nobody holds its bytes any more.
    pub(crate) fn count(&self, frame: &mut Frame) {
        self.0.fetch_add(cost(&frame.bytes), Relaxed);
        let bytes = std::mem::take(&mut frame.bytes);
        frame.bytes = Bytes::from_owner(Counted { bytes, total: self.clone() });
    }

    /// What all frames take now, with what a delivery costs beside its frame.
    pub(crate) fn bytes(&self) -> usize {
        self.0.load(Relaxed)
    }
}

fn cost(bytes: &Bytes) -> usize {
    bytes.len() + DELIVERY_BYTES as usize
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.total.0.fetch_sub(cost(&self.bytes), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use rivulet_core::{Partitions, Position, Topic, Update};

    use super::*;

    #[test]
    fn a_frame_counts_once_until_its_last_holder_lets_it_go() {
        let update = Update {
            topics: [Topic::parse("a").unwrap()].into_iter().collect(),
            data: vec![b'x'; 1_000].into(),
            private: false,
            id: None,
            event_type: None,
            retry_ms: None,
            trace: None,
        };
        let memory = FrameMemory::default();
        let mut frame = Frame::encode(Partitions::ONE, Position::from_micros(7), &update);
        let encoded = frame.bytes.clone();
        memory.count(&mut frame);
        assert_eq!(frame.bytes, encoded);
        let one = memory.bytes();
        assert!((1_000..1_000 + 2 * DELIVERY_BYTES as usize).contains(&one), "{one}");
        let rest = frame.bytes.slice(900..);
        let others: Vec<_> = (0..64).map(|_| frame.clone()).collect();
        assert_eq!(memory.bytes(), one, "however many hold it");
        drop((frame, others));
        assert_eq!(memory.bytes(), one, "the rest of a frame holds all of it");
        drop(rest);
        assert_eq!(memory.bytes(), 0);
    }
}
