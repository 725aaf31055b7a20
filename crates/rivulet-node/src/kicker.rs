//! Carrying out kicks: the connections that fit are found on all workers, and ended.
//!
//! First all are found, then they are ended: so it is known which are the youngest. Both happen piece by piece, between
//! two slices of each worker. Who subscribes meanwhile may stay: a kick is for those who are there, a late one for those who
//! were there when it was told.

use std::{
    net::Ipv4Addr,
    sync::{Arc, LazyLock},
};

use opentelemetry::KeyValue;
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use crate::{
    Client, CloseReason, Kick, KickReport, KickTarget, Node, TransportError,
    config::SCAN_FOUND_MAX,
    message_span::number,
    node::NodeShared,
    question::Scanned,
    seat::Seat,
    seats::Seats,
    trace::Span,
    wheel::{Entry, Tick, ticks},
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
    while let Some(Kick { target, count_max, before, ended }) = kicks.recv().await {
        if ended.is_closed() {
            // Who asked has given up, was told that this node did not answer, and has looked anew perhaps.
            continue;
        }
        // Without a number, the transport reports this node as one that did not answer.
        let Some(count) = node.kick_here(target, count_max, before, &ended).await else { continue };
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
        let span = Span::root("kick");
        let kick = span.within(async move { transport.kick(&target).await });
        let kicked = self.shared.on_runtime(kick).await;
        match &kicked {
            Ok(report) => span.set(|| {
                [
                    KeyValue::new("rivulet.ended", number(report.ended as u64)),
                    KeyValue::new("rivulet.nodes", number(report.nodes as u64)),
                    KeyValue::new("rivulet.nodes_unanswered", number(report.nodes_unanswered as u64)),
                ]
            }),
            Err(error) => span.fail("transport-unavailable", error.reason.clone()),
        }
        span.end();
        kicked
    }
}

impl NodeShared {
    /// Ends connections of this node, and answers how many; `None` if it ended none because a worker did not answer in
    /// time, or because nobody waits for the answer any more.
    async fn kick_here(
        &self,
        target: KickTarget,
        count_max: Option<usize>,
        before: Option<Instant>,
        asked: &oneshot::Sender<usize>,
    ) -> Option<usize> {
        if target.is_empty() {
            // It would fit everybody.
            return Some(0);
        }
        let target = Arc::new(target);
        let mut found = Vec::new();
        for worker in self.workers.living().iter() {
            if self.find(worker, &target, before, &mut found).await.is_none() {
                tracing::warn!(worker, "a kick was not carried out: a worker did not answer in time");
                return None;
            }
        }
        // So many were too many when it was asked for: meanwhile others may have been ended for the same excess.
        if count_max.is_some() && asked.is_closed() {
            return None;
        }
        // Of those who came at the same tick to the same worker, the higher serial came later.
        found.sort_unstable_by_key(|found: &Found| (found.age, std::cmp::Reverse(found.entry.1)));
        found.truncate(count_max.unwrap_or(usize::MAX));
        self.end_found(found).await
    }

    /// Ends what was found. A worker that does not answer keeps nobody from ending what others hold, and what was ended
    /// is told; `None` if that is nothing.
    async fn end_found(&self, mut found: Vec<Found>) -> Option<usize> {
        found.sort_by_key(|found| found.worker);
        let (mut ended, mut complete) = (0, true);
        for of_worker in found.chunk_by(|a, b| a.worker == b.worker) {
            let worker = of_worker[0].worker;
            for some in of_worker.chunks(SCAN_FOUND_MAX) {
                let entries: Vec<Entry> = some.iter().map(|found| found.entry).collect();
                let Some(count) = self.ask(worker, move |seats| seats.kick(&entries)).await else {
                    tracing::warn!(
                        worker,
                        "a kick was not carried out completely: a worker did not answer in time"
                    );
                    complete = false;
                    break;
                };
                ended += count;
            }
        }
        (complete || ended > 0).then_some(ended)
    }

    async fn find(
        &self,
        worker: u8,
        target: &Arc<KickTarget>,
        before: Option<Instant>,
        found: &mut Vec<Found>,
    ) -> Option<()> {
        let mut from = Some(0);
        while let Some(at) = from {
            let target = target.clone();
            let find = move |seats: &mut Seats| seats.find_targets(at, worker, &target, before);
            let (some, next) = self.ask(worker, find).await?;
            found.extend(some);
            from = next;
        }
        Some(())
    }
}

impl Seats {
    fn find_targets(
        &self,
        from: usize,
        worker: u8,
        target: &KickTarget,
        before: Option<Instant>,
    ) -> Scanned<Found> {
        // Of both ends it is known in which tick they were: who has begun before may be counted two ticks too young.
        let least = before.map(|before| ticks(before.elapsed()).saturating_sub(2));
        self.scan(from, usize::MAX, |key, seat| {
            let found = Found { age: self.age(seat), worker, entry: (key, seat.serial) };
            let may_be_meant = least.is_none_or(|least| found.age >= least);
            (may_be_meant && self.fits(target, seat)).then_some(found)
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

#[cfg(test)]
mod tests {
    use rivulet_core::{Dialect, Grants, Matcher};
    use tokio::task::LocalSet;

    use super::*;
    use crate::{MemoryTransport, NodeConfig, Reservation, Retention, SubscribeRequest, Worker};

    async fn seated(worker: &Worker) -> Reservation {
        let matchers = vec![Matcher::exact("a").unwrap()];
        let request = SubscribeRequest {
            matchers,
            grants: Grants::default(),
            last_event_id: None,
            expires_at: None,
            dialect: Dialect::V1,
        };
        worker.reserve(request, None).await.unwrap()
    }

    fn node() -> Arc<Node> {
        let (transport, feed) = MemoryTransport::start(Retention::default());
        Node::start(transport, feed, NodeConfig::default())
    }

    fn on_topic() -> KickTarget {
        KickTarget { topic: Some("a".to_owned()), ..KickTarget::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_ended_is_told_although_another_worker_does_not_answer() {
        LocalSet::new()
            .run_until(async {
                let node = node();
                // Its task belongs to a set that nobody runs.
                let stuck = LocalSet::new();
                let first = {
                    let _entered = stuck.enter();
                    node.enter()
                };
                let second = node.enter();
                let _kept = [seated(&first).await, seated(&second).await, seated(&second).await];
                let (asked, _answer) = oneshot::channel();
                assert_eq!(node.shared.kick_here(on_topic(), None, None, &asked).await, None);
                assert_eq!(node.stats().connections, 3, "whom it would fit was not known");

                let target = Arc::new(on_topic());
                let mut found = Vec::new();
                node.shared.find(1, &target, None, &mut found).await.unwrap();
                let seat = Found { age: 0, worker: 0, entry: (0, 1) };
                assert!(first.0.seats.borrow_mut().get(0, 1).is_some(), "it is the stuck worker's");
                found.push(seat);
                assert_eq!(node.shared.end_found(found).await, Some(2));
                assert_eq!(node.shared.end_found(vec![seat]).await, None, "nothing was ended at all");
                assert_eq!(node.stats().connections, 1);
            })
            .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_number_that_nobody_waits_for_any_more_ends_nobody() {
        LocalSet::new()
            .run_until(async {
                let node = node();
                let worker = node.enter();
                let _kept = [seated(&worker).await, seated(&worker).await];
                let (asked, answer) = oneshot::channel();
                drop(answer);
                assert_eq!(node.shared.kick_here(on_topic(), Some(1), None, &asked).await, None);
                assert_eq!(node.stats().connections, 2);
                assert_eq!(
                    node.shared.kick_here(on_topic(), None, None, &asked).await,
                    Some(2),
                    "that is what was meant"
                );
            })
            .await;
    }
}
