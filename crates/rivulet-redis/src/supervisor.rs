//! Keeps a link to each primary, for the partitions that stand there, as the topology changes.

use std::collections::BTreeMap;

use rivulet_core::Partition;
use tokio::task::JoinHandle;

use crate::{
    deployment::Server,
    link::{Link, Parts},
    primaries::Primaries,
    topology::Map,
};

/// Why the feed of a partition breaks that another server has taken over.
const PRIMARY_CHANGED: &str = "the primary of the partition has changed";

/// The links that run.
pub(crate) struct Supervisor {
    parts: Parts,
    links: BTreeMap<Server, RunningLink>,
}

struct RunningLink {
    partitions: Vec<Partition>,
    task: AbortOnDrop,
}

struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Supervisor {
    pub(crate) fn new(parts: Parts) -> Self {
        Self { parts, links: BTreeMap::new() }
    }

    /// Runs until the node has dropped its feed.
    pub(crate) async fn run(mut self, primaries: std::sync::Arc<Primaries>) {
        let mut changes = self.parts.topology.changes();
        let feed = self.parts.writer.feed.clone();
        loop {
            let map = changes.borrow_and_update().clone();
            self.follow(&map).await;
            primaries.follow();
            tokio::select! {
                () = feed.closed() => return,
                changed = changes.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Ends the links that serve something else than they should, then makes those that are missing: a partition is
    /// served by one link at a time.
    async fn follow(&mut self, map: &Map) {
        let mut wanted: BTreeMap<Server, Vec<Partition>> = BTreeMap::new();
        for (partition, primacy) in self.parts.writer.keys.partitions().iter().zip(&map.primaries) {
            wanted.entry(primacy.server.clone()).or_default().push(partition);
        }
        let running = std::mem::take(&mut self.links);
        for (server, mut link) in running {
            if wanted.get(&server) == Some(&link.partitions) {
                self.links.insert(server, link);
            } else {
                link.task.0.abort();
                // Fails because it was aborted, which is what is waited for.
                let _ = (&mut link.task.0).await;
                let (why, states) = (PRIMARY_CHANGED, self.parts.states(&link.partitions));
                let broke = states.iter().filter(|state| state.status.broke(why)).count();
                if broke > 0 {
                    self.parts.writer.outage.begins(why, broke);
                }
            }
        }
        for (server, partitions) in wanted {
            if !self.links.contains_key(&server) {
                let link = Link::new(self.parts.clone(), server.clone(), partitions.clone());
                let task = AbortOnDrop(tokio::spawn(link.run()));
                self.links.insert(server, RunningLink { partitions, task });
            }
        }
    }
}
