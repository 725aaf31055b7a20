//! The pump: takes the feed, encodes each update once, and hands it to the workers that have subscribers for it.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Instant,
};

use tokio::sync::mpsc::{self, error::TrySendError};

use crate::{
    Appended, Feed, FeedEvent, Kick,
    delivery::{Delivery, Input, Letter, Loss},
    feed::Weighed,
    message_span::MessageTrace,
    node::NodeShared,
    work_clock::nanos_since,
};

/// Events that are taken from the feed at once.
const BURST_LEN_MAX: usize = 256;

/// Runs until the transport or the node ends.
pub(crate) async fn run(node: Arc<NodeShared>, mut feed: Feed, kicks: mpsc::Sender<Kick>) {
    let mut events = Vec::with_capacity(BURST_LEN_MAX);
    while feed.recv_many(&mut events, BURST_LEN_MAX).await > 0 {
        // Each keeps what it takes of the feed's budget until it has been handed on.
        for Weighed { event, received, bytes: _until_handed_on } in events.drain(..) {
            match event {
                FeedEvent::Update(appended) => route(&node, &appended, received).await,
                FeedEvent::Verified(partition, position) => {
                    // Ticks come as long as there is a feed: what nobody reads any more does not stay.
                    node.pages.expire();
                    node.locations.expire();
                    node.hand_to_all(|| Input::Verified(partition, position)).await;
                }
                FeedEvent::Kick(kick) => {
                    // It takes its time, which updates must not wait for. Too many at once: who asked sees no answer.
                    if kicks.try_send(*kick).is_err() {
                        tracing::warn!("a kick was not carried out: too many wait for their turn");
                    }
                }
                FeedEvent::Lost { partition, through, topics } => {
                    tracing::warn!(
                        %partition, position = %through,
                        "the feed may lack updates up to this position: who depends on them reads the log"
                    );
                    node.lost.fetch_add(1, Relaxed);
                    node.registry.lose(partition, through);
                    let loss = Loss { partition, through, topics };
                    node.hand_to_all(|| Input::Lost(loss.clone())).await;
                }
            }
        }
    }
}

async fn route(node: &NodeShared, appended: &Appended, received: Option<Instant>) {
    node.received.fetch_add(1, Relaxed);
    let taken = nanos_since(node.started);
    let (workers, patterns) = node.registry.route(appended);
    if workers == crate::registry::WorkerSet::EMPTY {
        return;
    }
    node.encoded.fetch_add(1, Relaxed);
    let trace = MessageTrace::begin(node, appended, workers.iter().count(), received);
    let delivery = Delivery::taken(&node.encoding, appended, patterns, taken);
    let letter = Letter::seal(delivery, trace, &node.inboxes_budget).await;
    for worker in workers.iter() {
        node.hand_over(worker, Input::Deliver(letter.clone())).await;
    }
}

impl NodeShared {
    /// Hands an input to every worker.
    pub(crate) async fn hand_to_all(&self, input: impl Fn() -> Input) {
        for worker in self.workers.all().iter() {
            self.hand_over(worker, input()).await;
        }
    }

    /// Waits while the worker's inbox is full: what does not fit then waits in the feed, and behind it in the transport.
    async fn hand_over(&self, worker: u8, input: Input) {
        let Some(inbox) = self.workers.inbox(worker) else { return };
        if let Err(TrySendError::Full(input)) = inbox.try_send(input) {
            // Fails only if the worker has ended.
            let _ = inbox.send(input).await;
        }
    }
}
