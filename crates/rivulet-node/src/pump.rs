//! The pump: takes the feed, encodes each update once, and hands it to the workers that have subscribers for it.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use tokio::sync::mpsc::error::TrySendError;

use crate::{
    Appended, Feed, FeedEvent,
    delivery::{Delivery, Input, Loss},
    node::NodeShared,
};

/// Events that are taken from the feed at once.
const BURST_LEN_MAX: usize = 256;

/// Runs until the transport or the node ends.
pub(crate) async fn run(node: Arc<NodeShared>, mut feed: Feed) {
    let mut events = Vec::with_capacity(BURST_LEN_MAX);
    while feed.recv_many(&mut events, BURST_LEN_MAX).await > 0 {
        for event in events.drain(..) {
            match event {
                FeedEvent::Update(appended) => route(&node, &appended).await,
                FeedEvent::Verified(partition, position) => {
                    // Ticks come as long as there is a feed: what nobody reads any more does not stay.
                    node.pages.expire();
                    node.locations.expire();
                    hand_to_all(&node, &Input::Verified(partition, position)).await;
                }
                FeedEvent::Kick(kick) => {
                    // Nobody is ended yet: see below.
                    let _ = kick.ended.send(0);
                }
                FeedEvent::Lost { partition, through, topics } => {
                    tracing::warn!(
                        %partition, position = %through,
                        "the feed may lack updates up to this position: who depends on them reads the log"
                    );
                    node.registry.lose(partition, through);
                    hand_to_all(&node, &Input::Lost(Loss { partition, through, topics })).await;
                }
            }
        }
    }
}

async fn route(node: &NodeShared, appended: &Appended) {
    node.received.fetch_add(1, Relaxed);
    let (workers, patterns) = node.registry.route(appended);
    if workers == crate::registry::WorkerSet::EMPTY {
        return;
    }
    node.encoded.fetch_add(1, Relaxed);
    let delivery = Delivery::new(node.partitions, appended, patterns);
    for worker in workers.iter() {
        hand_over(node, worker, Input::Deliver(delivery.clone())).await;
    }
}

async fn hand_to_all(node: &NodeShared, input: &Input) {
    for worker in node.workers.all().iter() {
        hand_over(node, worker, input.clone()).await;
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
