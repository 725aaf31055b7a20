//! How the hub stops: not ready → still serving, while load balancers notice → streams end, evenly spread → the server
//! stops → the transport gives back what it holds. Publishers are served until the server stops.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rivulet_http::HttpServerHandle;
use rivulet_node::{CloseReason, Node, Transport};
use tokio::time::MissedTickBehavior;
use tracing::{info, warn};

use crate::{admin::Admin, config::Stopping, telemetry::Telemetry};

/// How often the log says how far a drain is.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

/// What runs, and is to be stopped.
pub(crate) struct Running {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) node: Arc<Node>,
    pub(crate) http: HttpServerHandle,
    pub(crate) telemetry: Telemetry,
    pub(crate) admin: Admin,
}

impl Running {
    /// Stops everything, in order. Admin is last, so that probes and whoever watches are answered until then.
    pub(crate) async fn stop(self, stopping: Stopping) {
        let Self { transport, node, http, telemetry, admin } = self;
        node.leave();
        if !stopping.delay.is_zero() {
            info!(delay = ?stopping.delay, "The node is not ready any more, and still serves");
            tokio::time::sleep(stopping.delay).await;
        }
        if !stopping.period.is_zero() {
            drain(&node, stopping.period).await;
        }
        node.shutdown().await;
        if let Err(error) = http.stop().await {
            warn!(%error, "The server did not end well");
        }
        transport.close().await;
        // Nothing makes spans any more.
        telemetry.stop().await;
        admin.stop().await;
    }
}

/// Ends the streams over a period, and says how far it is.
async fn drain(node: &Node, period: Duration) {
    let started = Instant::now();
    let streams = node.stats().connections;
    info!(streams, ?period, "The node takes no new streams, and ends those that it has");
    let draining = node.drain(period);
    tokio::pin!(draining);
    let mut clock = tokio::time::interval(PROGRESS_INTERVAL);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    clock.tick().await;
    loop {
        tokio::select! {
            () = &mut draining => break,
            _ = clock.tick() => {
                let (ended, left) = progress(node);
                let time_left = period.saturating_sub(started.elapsed());
                info!(ended, left, ?time_left, "The node drains");
            }
        }
    }
    let (ended, left) = progress(node);
    info!(ended, left, took = ?started.elapsed(), "The node has drained");
}

/// How many streams the drain has ended, and how many are left.
fn progress(node: &Node) -> (u64, usize) {
    let snapshot = node.stats();
    let reasons = CloseReason::ALL.iter().zip(snapshot.closed);
    let ended = reasons.filter(|(reason, _)| **reason == CloseReason::Drained).map(|(_, count)| count).sum();
    (ended, snapshot.connections)
}
