//! The pump: takes the feed, encodes each update once, and hands it to the workers that have subscribers for it.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use tokio::sync::mpsc::error::TrySendError;

use crate::{Feed, FeedEvent, delivery::Delivery, delivery::Input, node::NodeShared};

/// Events that are taken from the feed at once.
const BURST_LEN_MAX: usize = 256;

/// Runs until the transport or the node ends.
pub(crate) async fn run(node: Arc<NodeShared>, mut feed: Feed) {
    let mut events = Vec::with_capacity(BURST_LEN_MAX);
    while feed.recv_many(&mut events, BURST_LEN_MAX).await > 0 {
        for event in events.drain(..) {
            match event {
                FeedEvent::Update(appended) => {
                    node.received.fetch_add(1, Relaxed);
                    let (workers, patterns) = node.registry.route(&appended);
                    if workers == crate::registry::WorkerSet::EMPTY {
                        continue;
                    }
                    node.encoded.fetch_add(1, Relaxed);
                    let delivery = Delivery::new(&appended, patterns);
                    for worker in workers.iter() {
                        hand_over(&node, worker, Input::Deliver(delivery.clone())).await;
                    }
                }
                FeedEvent::Verified(position) => {
                    for worker in node.workers.all().iter() {
                        hand_over(&node, worker, Input::Verified(position)).await;
                    }
                }
            }
        }
    }
}

/// Waits while the worker's inbox is full: what does not fit then waits in the feed, and behind it in the transport.
async fn hand_over(node: &NodeShared, worker: u8, input: Input) {
    let Some(inbox) = node.workers.inbox(worker) else { return };
    if let Err(TrySendError::Full(input)) = inbox.try_send(input) {
        // Fails only if the worker has ended.
        let _ = inbox.send(input).await;
    }
}
