//! The feed, partition by partition.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rivulet_core::{Partition, Position, cursor::position_id};

use crate::{FeedStatus, Node, StalePartition};

/// How far the feed of one partition is.
#[derive(Clone, Debug)]
pub struct PartitionFeed {
    /// Which.
    pub partition: Partition,
    /// Since when and why it is not alive; `None`: it is.
    pub stale: Option<StalePartition>,
    /// The id up to which every worker has everything.
    pub verified: String,
    /// How long ago that was, by this machine's clock.
    pub age: Duration,
}

impl Node {
    /// How far the feed is, in each partition.
    pub async fn feed(&self) -> Vec<PartitionFeed> {
        let partitions = self.shared.partitions;
        let mut verified: Box<[Option<Position>]> = partitions.iter().map(|_| None).collect();
        let _turn = self.shared.inspections.acquire().await;
        for worker in self.shared.workers.living().iter() {
            // One that does not answer has ended, or is far behind and will say so itself: the others are worth seeing.
            let Some(theirs) = self.shared.ask(worker, |seats| seats.verified().to_vec()).await else {
                continue;
            };
            for (least, theirs) in verified.iter_mut().zip(theirs) {
                *least = Some(least.map_or(theirs, |least| least.min(theirs)));
            }
        }
        let stale = match self.feed_status() {
            FeedStatus::Live => Vec::new(),
            FeedStatus::Stale(stale) => stale,
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let feed = |(partition, verified): (Partition, Option<Position>)| {
            let verified = verified.unwrap_or_default();
            PartitionFeed {
                partition,
                stale: stale.iter().find(|stale| stale.partition == partition).cloned(),
                verified: position_id(partitions, verified),
                age: now.saturating_sub(Duration::from_micros(verified.as_micros())),
            }
        };
        partitions.iter().zip(verified).map(feed).collect()
    }
}
