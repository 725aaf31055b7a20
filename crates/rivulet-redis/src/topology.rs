//! Which server is the primary of each partition, now: asked for, watched, and asked for again when something breaks.
//!
//! ```text
//!  a link broke, MOVED, READONLY ──▶ suspect ──▶ ask Sentinels or cluster ──▶ take over ──▶ map changed: feed and
//!  every 5 s ─────────────────────────▲                                                    commands follow
//! ```

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use rivulet_core::Partition;
use tokio::sync::{Notify, watch};

use crate::{
    cluster_view,
    connector::Connector,
    deployment::{Layout, Server},
    keys::Keys,
    partition_state::PartitionState,
    sentinels,
    takeover::take_over,
};

/// How often the topology is looked at although nothing seems wrong: a demoted master may go on answering.
const LOOK: Duration = Duration::from_secs(5);
/// The shortest time between two looks, however many links say that something is wrong.
const LOOK_PAUSE: Duration = Duration::from_millis(100);

/// After how many looks in vain somebody is told.
const FAILURES_TOLD: usize = 3;

/// The primaries at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Map {
    /// The primary of each partition.
    pub(crate) primaries: Vec<Primacy>,
    /// The primary that holds the layout's key.
    pub(crate) layout: Server,
    /// Of two maps, the one with the higher number is the later one: the epoch of who was asked.
    pub(crate) epoch: u64,
}

/// A server's time as the primary of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Primacy {
    pub(crate) server: Server,
    /// Rises with every failover: the configuration epoch of Sentinels and clusters, 0 where there are none.
    pub(crate) epoch: u64,
}

impl Map {
    /// One server for everything.
    pub(crate) fn of_one(server: Server, epoch: u64, keys: &Keys) -> Self {
        let primacy = Primacy { server: server.clone(), epoch };
        let primaries = vec![primacy; usize::from(keys.partitions().count())];
        Self { primaries, layout: server, epoch }
    }

    /// Each primary once, in order.
    pub(crate) fn servers(&self) -> Vec<Server> {
        let mut servers: Vec<Server> = self.primaries.iter().map(|primacy| primacy.server.clone()).collect();
        servers.sort();
        servers.dedup();
        servers
    }
}

/// See the module.
pub(crate) struct Topology {
    connector: Connector,
    keys: Keys,
    map: watch::Sender<Arc<Map>>,
    suspect: Notify,
    /// How many connections for commands have been made.
    connections: watch::Sender<u64>,
    /// What the node has seen of the partitions, once it has.
    states: OnceLock<Arc<[PartitionState]>>,
}

impl Topology {
    /// Asks for the topology; the error says who was asked and what was wrong.
    pub(crate) async fn discover(connector: Connector, keys: Keys) -> Result<Self, String> {
        let (map, _) = ask(&connector, &keys, None).await?;
        Ok(Self {
            connector,
            keys,
            map: watch::Sender::new(Arc::new(map)),
            suspect: Notify::new(),
            connections: watch::Sender::new(0),
            states: OnceLock::new(),
        })
    }

    /// Lets the primaries know in which epoch they are, before anything is appended.
    pub(crate) async fn take_over(&self) -> Result<(), String> {
        if matches!(self.connector.deployment.layout, Layout::Standalone(_)) {
            return Ok(());
        }
        take_over(&self.connector, &self.keys, None, &self.map(), &[]).await
    }

    /// From now on a primary that takes another's place is told what the node has seen.
    pub(crate) fn knows(&self, states: &Arc<[PartitionState]>) {
        // Once only: the states live as long as the transport.
        let _ = self.states.set(states.clone());
    }

    pub(crate) fn map(&self) -> Arc<Map> {
        self.map.borrow().clone()
    }

    /// Tells when the map has changed.
    pub(crate) fn changes(&self) -> watch::Receiver<Arc<Map>> {
        self.map.subscribe()
    }

    /// A connection for commands is up.
    pub(crate) fn connected(&self) {
        self.connections.send_modify(|connections| *connections += 1);
    }

    /// Tells when a connection for commands has come up.
    pub(crate) fn connections(&self) -> watch::Receiver<u64> {
        self.connections.subscribe()
    }

    /// The primary of a partition.
    pub(crate) fn server(&self, partition: Partition) -> Server {
        self.map.borrow().primaries[partition.index()].server.clone()
    }

    /// Something suggests that the map is not right any more.
    pub(crate) fn suspect(&self) {
        self.suspect.notify_one();
    }

    /// Keeps the map right. Never ends.
    pub(crate) async fn watch(&self) {
        if matches!(self.connector.deployment.layout, Layout::Standalone(_)) {
            return std::future::pending().await;
        }
        let mut failures = 0;
        loop {
            let _ = tokio::time::timeout(LOOK, self.suspect.notified()).await;
            match self.look().await {
                Ok(()) => failures = 0,
                Err(reason) => {
                    failures += 1;
                    if failures == FAILURES_TOLD {
                        tracing::warn!(reason, "nobody says which servers are the primaries of Redis now");
                    }
                }
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }

    async fn look(&self) -> Result<(), String> {
        let before = self.map();
        let (map, agreed) = ask(&self.connector, &self.keys, Some(&before)).await?;
        if map == *before {
            return Ok(());
        }
        // Who was cut off answers as well, with what was right then. Sentinels that were set up anew count from the
        // beginning: most of them have to say the same.
        if map.epoch < before.epoch && agreed == Agreed::No {
            return Err(format!("what is said is of epoch {}, before {}", map.epoch, before.epoch));
        }
        let states = self.states.get().map(|states| &states[..]).unwrap_or_default();
        take_over(&self.connector, &self.keys, Some(&before), &map, states).await?;
        tracing::info!(primaries = ?map.servers(), epoch = map.epoch, "the primaries of Redis have changed");
        self.map.send_replace(Arc::new(map));
        Ok(())
    }
}

/// Whether most of those who could be asked say the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Agreed {
    Yes,
    No,
}

async fn ask(connector: &Connector, keys: &Keys, before: Option<&Map>) -> Result<(Map, Agreed), String> {
    match &connector.deployment.layout {
        Layout::Standalone(server) => Ok((Map::of_one(server.clone(), 0, keys), Agreed::Yes)),
        Layout::Sentinel { sentinels, master } => {
            let (epoch, server, agreed) = sentinels::ask(connector, sentinels, master).await?;
            Ok((Map::of_one(server, epoch, keys), agreed))
        }
        Layout::Cluster { seeds } => {
            Ok((cluster_view::ask(connector, keys, seeds, before).await?, Agreed::No))
        }
    }
}
