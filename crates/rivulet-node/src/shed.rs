//! Shedding: a node that holds more connections than others lets some of them go, slowly, so that they spread.
//!
//! Streams live long, so a node that was started last has hardly any, and a load balancer cannot change that.
//!
//! It compares itself with what the others last said, so it waits while they cannot be heard, and for a while after. Nodes
//! that are leaving or draining do not count: what they have goes to those who stay, and their falling numbers say nothing
//! about those.

use std::sync::Arc;

use tokio::time::MissedTickBehavior;

use crate::{
    FeedStatus, NodePhase, Peers,
    config::{SHED_HEARD_MIN, SHED_INTERVAL, SHED_MARGIN_MIN, SHED_MARGIN_SHARE},
    node::NodeShared,
    seat::Phase,
    seats::Seats,
};

/// Draws per stream that is let go: a free seat, or one that is going already, is drawn in vain.
const DRAWS_MAX: usize = 16;

/// Sheds for as long as the node is open, if it is to shed.
pub(crate) async fn run(node: Arc<NodeShared>) {
    let mut clock = tokio::time::interval(SHED_INTERVAL);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // What was not a whole stream yet.
    let mut owed = 0.0;
    let mut heard = 0_u64;
    while node.phase.get() == NodePhase::Open {
        clock.tick().await;
        let Some(share) = node.times.load().shed else {
            (owed, heard) = (0.0, 0);
            continue;
        };
        let per_interval = share.clamp(0.0, 1.0) * SHED_INTERVAL.as_secs_f64() / 60.0;
        // Of a transport that is away, the peers are those of the time before.
        heard = if node.transport.feed_status() == FeedStatus::Live { heard + 1 } else { 0 };
        let excess = excess(node.places.taken(), node.transport.peers());
        if excess == 0 || heard <= SHED_HEARD_MIN {
            owed = 0.0;
            continue;
        }
        let mut left = excess;
        for worker in node.workers.living().iter() {
            #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52 seats")]
            let seats = node.workers.seats(worker) as f64;
            owed += seats * per_interval;
            let count = whole(owed).min(left);
            #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52 seats")]
            let counted = count as f64;
            owed = (owed - counted).min(1.0);
            left -= count;
            if count > 0 {
                // A worker that does not answer in time does it later.
                let _ = node.ask(worker, move |seats| seats.shed(count)).await;
            }
        }
    }
}

/// How many connections a node holds beyond the mean of all nodes that take some, and a margin.
fn excess(own: usize, peers: Peers) -> usize {
    #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52 connections")]
    let (own, all) = (own as f64, peers.open_connections as f64);
    if peers.open_nodes < 2 {
        return 0;
    }
    let mean = all / f64::from(peers.open_nodes);
    whole(own - mean - SHED_MARGIN_MIN.max(mean * SHED_MARGIN_SHARE))
}

/// The whole part; zero if it is negative.
fn whole(number: f64) -> usize {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the whole part is wanted")]
    let whole = number.max(0.0) as usize;
    whole
}

impl Seats {
    /// Lets some streams go, drawn among all.
    fn shed(&mut self, count: usize) {
        let now = self.wheel.now();
        for _ in 0..count {
            let drawn = (0..DRAWS_MAX).find_map(|_| {
                let key = rand::random_range(0..self.seats.capacity().max(1));
                let seat = self.seats.get(key)?;
                let stays = seat.socket.is_some() && !matches!(seat.phase, Phase::Parting);
                stays.then_some((key, seat.serial))
            });
            if let Some(entry) = drawn {
                self.part(entry, now);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_clearly_more_than_the_mean_is_shed() {
        let cases = [
            // Alone.
            (1000, 1, 1000, 0),
            // At the mean, and within a tenth of it.
            (1000, 2, 2000, 0),
            (1100, 2, 2000, 0),
            (1101, 2, 2000, 1),
            // A new node has joined.
            (1000, 2, 1000, 450),
            // Within ten.
            (10, 2, 10, 0),
            (20, 2, 20, 0),
            (22, 2, 22, 1),
            // Fewer than the mean.
            (10, 3, 1000, 0),
        ];
        for (own, nodes, connections, expected) in cases {
            let peers = Peers { open_nodes: nodes, open_connections: connections, ..Peers::default() };
            assert_eq!(excess(own, peers), expected, "{own} of {connections}");
            // Whatever those hold who are about to go.
            for leaving in [0, 100_000] {
                let peers = Peers { nodes: nodes + 1, connections: connections + leaving, ..peers };
                assert_eq!(excess(own, peers), expected, "{own} of {connections}, beside {leaving}");
            }
        }
    }
}
