//! Carrying out kicks: the connections that fit are found on all workers, and ended.
//!
//! First all are found, then they are ended: so it is known which are the youngest. Both happen piece by piece, between
//! two slices of each worker. Who subscribes meanwhile may stay: a kick is for those who are there.

use std::{
    net::Ipv4Addr,
    sync::{Arc, LazyLock},
};

use tokio::sync::mpsc;

use crate::{
    Client, CloseReason, Kick, KickReport, KickTarget, Node, TransportError,
    config::SCAN_FOUND_MAX,
    node::NodeShared,
    question::Scanned,
    seat::Seat,
    seats::Seats,
    wheel::{Entry, Tick},
};

/// Whose the connections are that nobody counts: no subject is empty, and nobody comes from this address.
static NOBODY: LazyLock<Client> =
    LazyLock::new(|| Client { subject: "".into(), ip: Ipv4Addr::UNSPECIFIED.into() });

/// A connection that fits, found on a worker.
#[derive(Clone, Copy, Debug)]
struct Found {
    age: Tick,
    worker: u8,
    entry: Entry,
}

/// Carries out one kick after another, until the pump ends.
pub(crate) async fn run(node: Arc<NodeShared>, mut kicks: mpsc::Receiver<Kick>) {
    while let Some(Kick { target, count_max, ended }) = kicks.recv().await {
        let Some(count) = node.kick_here(target, count_max).await else {
            // Nobody is told a number: the transport reports this node as one that did not answer.
            tracing::warn!("a kick was not carried out completely: a worker did not answer in time");
            continue;
        };
        if count > 0 {
            tracing::info!(connections = count, "connections were ended by a kick");
        }
        // Who asked may have given up meanwhile.
        let _ = ended.send(count);
    }
}

impl Node {
    /// Ends connections, on all nodes of the hub.
    ///
    /// # Errors
    ///
    /// The transport could not tell the nodes, or the target names nobody.
    pub async fn kick(&self, target: KickTarget) -> Result<KickReport, TransportError> {
        if target.is_empty() {
            return Err(TransportError::new("a kick must name somebody"));
        }
        let transport = self.shared.transport.clone();
        self.shared.on_runtime(async move { transport.kick(&target).await }).await
    }
}

impl NodeShared {
    /// Ends connections of this node, and answers how many; `None` if a worker did not answer in time.
    async fn kick_here(&self, target: KickTarget, count_max: Option<usize>) -> Option<usize> {
        if target.is_empty() {
            // It would fit everybody.
            return Some(0);
        }
        let target = Arc::new(target);
        let mut found = Vec::new();
        for worker in self.workers.living().iter() {
            self.find(worker, &target, &mut found).await?;
        }
        // Of those who came at the same tick to the same worker, the higher serial came later.
        found.sort_unstable_by_key(|found: &Found| (found.age, std::cmp::Reverse(found.entry.1)));
        found.truncate(count_max.unwrap_or(usize::MAX));
        found.sort_by_key(|found| found.worker);
        let mut ended = 0;
        for of_worker in found.chunk_by(|a, b| a.worker == b.worker) {
            for some in of_worker.chunks(SCAN_FOUND_MAX) {
                let entries: Vec<Entry> = some.iter().map(|found| found.entry).collect();
                ended += self.ask(some[0].worker, move |seats| seats.kick(&entries)).await?;
            }
        }
        Some(ended)
    }

    async fn find(&self, worker: u8, target: &Arc<KickTarget>, found: &mut Vec<Found>) -> Option<()> {
        let mut from = Some(0);
        while let Some(at) = from {
            let target = target.clone();
            let (some, next) = self.ask(worker, move |seats| seats.find_targets(at, worker, &target)).await?;
            found.extend(some);
            from = next;
        }
        Some(())
    }
}

impl Seats {
    fn find_targets(&self, from: usize, worker: u8, target: &KickTarget) -> Scanned<Found> {
        self.scan(from, usize::MAX, |key, seat| {
            let found = Found { age: self.age(seat), worker, entry: (key, seat.serial) };
            self.fits(target, seat).then_some(found)
        })
    }

    /// Whether a seat is among those that are meant.
    pub(crate) fn fits(&self, target: &KickTarget, seat: &Seat) -> bool {
        let client = seat.holding.as_ref().map_or(&*NOBODY, |holding| &holding.client);
        let matchers = seat.memberships.iter().map(|m| &self.sources[m.source as usize].matcher);
        target.fits(seat.id, client, matchers)
    }

    /// Ends those of these seats that are still there.
    fn kick(&mut self, entries: &[Entry]) -> usize {
        let mut ended = 0;
        for (key, serial) in entries {
            if self.get(*key, *serial).is_some() {
                self.end(*key, CloseReason::Kicked);
                ended += 1;
            }
        }
        ended
    }
}
