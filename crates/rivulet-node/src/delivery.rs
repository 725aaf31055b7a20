//! An update on its way to the subscribers of this node: encoded once, shared by all workers and rings.

use std::{sync::Arc, time::Duration};

use rivulet_core::{Frame, Partition, Partitions, Position, Topic};
use smallvec::SmallVec;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    Appended,
    config::{DELIVERY_BYTES, INBOXES_BYTES_MAX},
    frame_memory::FrameMemory,
    message_span::MessageTrace,
    question::Question,
    registry::PatternId,
};

/// How this node encodes updates.
#[derive(Clone, Debug)]
pub(crate) struct Encoding {
    pub(crate) partitions: Partitions,
    /// Whether frames tell which trace an update belongs to.
    pub(crate) exposes_trace: bool,
    /// What its frames take.
    pub(crate) memory: FrameMemory,
}

impl Encoding {
    /// Without traces.
    #[cfg(test)]
    pub(crate) fn plain(partitions: Partitions) -> Self {
        Self { partitions, exposes_trace: false, memory: FrameMemory::default() }
    }

    fn encode(&self, appended: &Appended) -> Frame {
        let encode = if self.exposes_trace { Frame::encode_with_trace } else { Frame::encode };
        let mut frame = encode(self.partitions, appended.position, &appended.update);
        self.memory.count(&mut frame);
        frame
    }
}

/// What the pump hands to workers, and what the pages of the log hold.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) frame: Frame,
    pub(crate) partition: Partition,
    pub(crate) topics: SmallVec<[Topic; 1]>,
    pub(crate) private: bool,
    /// When it was taken from the feed, in nanoseconds since the node started; 0 if it comes from the log.
    pub(crate) taken: u64,
    /// Of a sampled trace that it belongs to.
    pub(crate) trace_id: Option<[u8; 16]>,
    /// The patterns on this node that select the update.
    pub(crate) patterns: SmallVec<[PatternId; 2]>,
    /// The partition of each topic, if they are not all the same: then each of these partitions has a copy.
    spans: Option<Box<[Partition]>>,
}

impl Delivery {
    pub(crate) fn new(
        encoding: &Encoding,
        appended: &Appended,
        patterns: SmallVec<[PatternId; 2]>,
    ) -> Arc<Self> {
        Self::taken(encoding, appended, patterns, 0)
    }

    /// One that was taken from the feed, so many nanoseconds after the node started.
    pub(crate) fn taken(
        encoding: &Encoding,
        appended: &Appended,
        patterns: SmallVec<[PatternId; 2]>,
        taken: u64,
    ) -> Arc<Self> {
        let topics = appended.update.topics.clone();
        let trace = appended.update.trace.as_ref().filter(|trace| trace.is_sampled());
        Arc::new(Self {
            frame: encoding.encode(appended),
            partition: appended.partition,
            private: appended.update.private,
            taken,
            trace_id: trace.map(|trace| trace.trace_id()),
            patterns,
            spans: spans(encoding.partitions, &topics),
            topics,
        })
    }

    pub(crate) fn position(&self) -> Position {
        self.frame.position
    }

    /// The topics that stand in this copy's partition.
    pub(crate) fn topics_here(&self) -> impl Iterator<Item = &Topic> {
        let spans = self.spans.as_deref();
        let here = move |nth: usize| spans.is_none_or(|spans| spans[nth] == self.partition);
        self.topics.iter().enumerate().filter(move |(nth, _)| here(*nth)).map(|(_, topic)| topic)
    }

    /// Whether of all copies of the update this is the one for a subscriber: the copy in the partition of the first
    /// topic that it selects.
    pub(crate) fn is_for(&self, selects: impl Fn(&Topic) -> bool) -> bool {
        let Some(spans) = &self.spans else { return true };
        let first = self.topics.iter().position(selects);
        first.is_some_and(|nth| spans[nth] == self.partition)
    }
}

fn spans(partitions: Partitions, topics: &[Topic]) -> Option<Box<[Partition]>> {
    if partitions == Partitions::ONE || topics.len() < 2 {
        return None;
    }
    let spans: Box<[Partition]> = topics.iter().map(|topic| partitions.of(topic)).collect();
    spans.iter().any(|partition| *partition != spans[0]).then_some(spans)
}

/// Updates that the feed lacks, see [`crate::FeedEvent::Lost`].
#[derive(Clone, Debug)]
pub(crate) struct Loss {
    pub(crate) partition: Partition,
    pub(crate) through: Position,
    pub(crate) topics: Option<Arc<[Topic]>>,
}

/// A delivery in the inboxes of workers, with what it takes of their budget: given back when the last worker has it in
/// its rings.
#[derive(Clone, Debug)]
pub(crate) struct Letter(Arc<Sealed>);

#[derive(Debug)]
struct Sealed {
    delivery: Arc<Delivery>,
    trace: Option<Arc<MessageTrace>>,
    _bytes: OwnedSemaphorePermit,
}

impl Letter {
    /// Waits until the budget allows it.
    pub(crate) async fn seal(
        delivery: Arc<Delivery>,
        trace: Option<Arc<MessageTrace>>,
        budget: &Arc<Semaphore>,
    ) -> Self {
        let len = u32::try_from(delivery.frame.bytes.len()).unwrap_or(u32::MAX);
        let len = len.saturating_add(DELIVERY_BYTES).min(INBOXES_BYTES_MAX);
        let bytes = budget.clone().acquire_many_owned(len).await;
        let bytes = bytes.expect("the budget is never closed");
        Self(Arc::new(Sealed { delivery, trace, _bytes: bytes }))
    }

    pub(crate) fn delivery(&self) -> &Arc<Delivery> {
        &self.0.delivery
    }

    /// Where it is recorded what becomes of it, if that is.
    pub(crate) fn trace(&self) -> Option<&Arc<MessageTrace>> {
        self.0.trace.as_ref()
    }
}

/// What a worker takes in.
pub(crate) enum Input {
    Deliver(Letter),
    /// Everything of the partition up to this position has been delivered to this worker, or was lost.
    Verified(Partition, Position),
    Lost(Loss),
    /// Look at something and answer.
    Ask(Question),
    /// Let all streams go, evenly over this period.
    Drain(Duration),
    /// End all streams; no new ones come.
    Close,
}
