//! The one connection to a primary that subscribes, for the partitions that stand there: made, watched, and made again
//! when it breaks.
//!
//! ```text
//!  connect ─▶ subscribe all that is wanted ─▶ read what was missed ─▶ live: feed, changes of channels, ticks
//!     ▲                                                                   │ ended, mute, a channel moved, any error
//!     └────────────────────────── backoff ◀───────────────────────────────┘
//! ```
//!
//! Nothing but (S)SUBSCRIBE, (S)UNSUBSCRIBE and PING goes over it, and it is never repaired: whatever is wrong, it is
//! dropped. The client library's own resubscription mixes up replies and never says what was missed.

use std::{sync::Arc, time::Instant};

use redis::aio::MultiplexedConnection;
use rivulet_core::Partition;
use rivulet_node::TransportError;
use tokio::sync::{Notify, oneshot};

use crate::{
    connector::{Backoff, Connector},
    deployment::Server,
    error_type::ErrorType,
    feed_writer::FeedWriter,
    inbox::{Messages, inbox},
    partition_state::PartitionState,
    pulse,
    reason::reason,
    status::SILENCE_MAX,
    subscriber::Subscriber,
    ticker::Ticker,
    topology::Topology,
};

/// What every link needs.
#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) connector: Connector,
    pub(crate) topology: Arc<Topology>,
    pub(crate) ticker: Arc<Ticker>,
    pub(crate) writer: FeedWriter,
}

/// See the module.
pub(crate) struct Link {
    parts: Parts,
    server: Server,
    partitions: Vec<Partition>,
}

impl Parts {
    pub(crate) fn states(&self, partitions: &[Partition]) -> Vec<&PartitionState> {
        partitions.iter().map(|partition| &self.writer.states[partition.index()]).collect()
    }
}

impl Link {
    pub(crate) fn new(parts: Parts, server: Server, partitions: Vec<Partition>) -> Self {
        Self { parts, server, partitions }
    }

    /// Runs until the node has dropped its feed.
    pub(crate) async fn run(self) {
        let mut backoff = Backoff::new();
        while !self.parts.writer.feed.is_closed() {
            let connected = Instant::now();
            let (kind, why) = self.serve().await;
            let why = format!("{}: {why}", self.server);
            let states = self.parts.states(&self.partitions);
            let broke = states.iter().filter(|state| state.status.broke(&why)).count();
            if broke > 0 {
                self.parts.writer.outage.begins(&why, broke);
                tracing::warn!(
                    reason = why,
                    partitions = broke,
                    "the feed from Redis broke; what is missed will be read from the log"
                );
            } else {
                self.parts.writer.outage.goes_on(kind, why);
            }
            // Where the primary is may be the very thing that has changed.
            self.parts.topology.suspect();
            if connected.elapsed() > SILENCE_MAX {
                backoff = Backoff::new();
            }
            backoff.wait().await;
        }
    }

    /// One connection's life; answers why it ended.
    async fn serve(&self) -> (ErrorType, String) {
        let states = self.parts.states(&self.partitions);
        let work = Arc::new(Notify::new());
        for state in &states {
            state.channels.begin(&work);
            state.begin();
        }
        let writer = &self.parts.writer;
        let (inbox, messages, shared) = inbox(writer.keys.clone(), writer.states.clone());
        let receive = move |push| inbox.receive(push);
        let connection = match self.parts.connector.subscriptions(&self.server, receive).await {
            Ok(connection) => connection,
            Err(error) => return (ErrorType::of(&error), reason(&error)),
        };
        let (subscribed, ready) = oneshot::channel();
        let subscriber = Subscriber {
            connection: connection.clone(),
            parts: &self.parts,
            server: &self.server,
            states: &states,
            work,
            shared: shared.clone(),
        };
        tokio::select! {
            error = subscriber.run(subscribed) => (ErrorType::of(&error), reason(&error)),
            error = feed_when(ready, writer, &self.partitions, messages) => (ErrorType::Connection, error.reason),
            () = shared.ended.notified() => (ErrorType::Connection, "the connection ended".to_owned()),
            () = shared.unsubscribed.notified() => {
                (ErrorType::Moved, "a slot has moved to another primary".to_owned())
            }
            broken = self.watch(connection, &states) => broken,
        }
    }

    /// Sends ticks, and ends when the connection is dead, or mute although Redis says that it has announced them.
    async fn watch(
        &self,
        connection: MultiplexedConnection,
        states: &[&PartitionState],
    ) -> (ErrorType, String) {
        tokio::select! {
            error = pulse::ping(connection) => {
                (ErrorType::of(&error), format!("no answer to PING: {}", reason(&error)))
            }
            reason = pulse::tick(&self.parts.ticker, states, &self.server) => (ErrorType::Timeout, reason),
        }
    }
}

async fn feed_when(
    ready: oneshot::Receiver<()>,
    writer: &FeedWriter,
    partitions: &[Partition],
    messages: Messages,
) -> TransportError {
    if ready.await.is_err() {
        return TransportError::new("the channels were not subscribed");
    }
    writer.run(partitions, messages).await
}
