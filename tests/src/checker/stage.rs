//! The Redis of a run, whatever its shape: who leads, what can be broken, and whether it is well again.

use std::time::Duration;

use clap::ValueEnum;

use crate::{
    chaos_proxy::{ChaosProxy, Network},
    deadline::try_eventually,
    port,
    redis::RedisServer,
    redis_cluster::RedisCluster,
    sentinel::SentinelSetup,
};

/// The shapes of Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Topology {
    /// One server; each node reaches it through a proxy of its own.
    Standalone,
    /// A master, two replicas, three Sentinels; a proxy before each server.
    Sentinel,
    /// Three primaries with a replica each; a proxy before each server.
    Cluster,
}

impl Topology {
    /// For how many replicas a hub has to wait, so that whoever takes over has what was acknowledged. A Sentinel compares
    /// replicas by what it asked them a second ago: only what all of them have is safe.
    pub fn replicas(self) -> usize {
        match self {
            Self::Standalone => 0,
            Self::Sentinel => 2,
            Self::Cluster => 1,
        }
    }

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Standalone => "standalone",
            Self::Sentinel => "sentinel",
            Self::Cluster => "cluster",
        }
    }
}

/// Running servers.
#[derive(Debug)]
pub enum Stage {
    /// The server and the proxy of each node.
    Standalone(Box<RedisServer>, Vec<ChaosProxy>),
    /// See [`SentinelSetup`].
    Sentinel(SentinelSetup),
    /// See [`RedisCluster`].
    Cluster(RedisCluster),
}

impl Stage {
    /// Starts the servers for this many nodes.
    pub async fn start(topology: Topology, nodes: usize) -> Self {
        match topology {
            Topology::Standalone => {
                let server = RedisServer::start_with(port::free(), &[]).await;
                let mut proxies = Vec::new();
                for _ in 0..nodes {
                    proxies.push(ChaosProxy::start(server.address()).await);
                }
                Self::Standalone(Box::new(server), proxies)
            }
            Topology::Sentinel => Self::Sentinel(SentinelSetup::start().await),
            Topology::Cluster => Self::Cluster(RedisCluster::start().await),
        }
    }

    /// The URL of Redis for the node at each place.
    pub fn urls(&self, nodes: usize) -> Vec<String> {
        (0..nodes)
            .map(|place| match self {
                Self::Standalone(_, proxies) => format!("redis://{}", proxies[place].address()),
                Self::Sentinel(setup) => setup.url(),
                Self::Cluster(cluster) => cluster.url(),
            })
            .collect()
    }

    /// All servers.
    pub fn servers(&mut self) -> &mut [RedisServer] {
        match self {
            Self::Standalone(server, _) => std::slice::from_mut(&mut **server),
            Self::Sentinel(setup) => &mut setup.servers,
            Self::Cluster(cluster) => &mut cluster.servers,
        }
    }

    /// All proxies.
    pub fn proxies(&self) -> &[ChaosProxy] {
        match self {
            Self::Standalone(_, proxies) => proxies,
            Self::Sentinel(setup) => &setup.proxies,
            Self::Cluster(cluster) => &cluster.proxies,
        }
    }

    /// The numbers of the servers that take writes.
    ///
    /// # Errors
    /// While they do not agree on that.
    pub fn leaders(&self) -> Result<Vec<usize>, String> {
        match self {
            Self::Standalone(..) => Ok(vec![0]),
            Self::Sentinel(setup) => Ok(vec![setup.master()?]),
            Self::Cluster(cluster) => cluster.primaries(),
        }
    }

    /// The number of a server that follows a leader.
    ///
    /// # Errors
    /// When there is none.
    pub fn replica_of(&self, leader: usize) -> Result<usize, String> {
        match self {
            Self::Standalone(..) => Err("a single server has no replica".to_owned()),
            Self::Sentinel(setup) => Ok((leader + 1) % setup.servers.len()),
            Self::Cluster(cluster) => cluster.replica_of(leader),
        }
    }

    /// The numbers of the proxies that can be broken: all of a single server, else those before leaders.
    ///
    /// # Errors
    /// While leaders do not agree.
    pub fn breakable(&self) -> Result<Vec<usize>, String> {
        match self {
            Self::Standalone(_, proxies) => Ok((0..proxies.len()).collect()),
            _ => self.leaders(),
        }
    }

    /// Waits until another server has taken the place of a leader; answers which.
    ///
    /// # Errors
    /// If that does not come about.
    pub async fn failed_over(&self, leader: usize, replica: usize) -> Result<usize, String> {
        match self {
            Self::Standalone(..) => Err("a single server cannot fail over".to_owned()),
            Self::Sentinel(setup) => setup.failed_over(leader).await,
            Self::Cluster(cluster) => cluster.failed_over(leader, replica).await.map(|()| replica),
        }
    }

    /// Mends the network, thaws and starts servers, and waits until all are well.
    ///
    /// # Errors
    /// If they do not get well.
    pub async fn heal(&mut self) -> Result<(), String> {
        for proxy in self.proxies() {
            proxy.set(Network::Whole);
        }
        for server in self.servers() {
            if server.is_up() {
                server.thaw();
            } else {
                server.restart().await;
            }
        }
        match self {
            Self::Standalone(server, _) => {
                let answers = || server.command(&["PING"]).map(|_| ());
                try_eventually(Duration::from_secs(30), answers).await
            }
            Self::Sentinel(setup) => setup.settle().await,
            Self::Cluster(cluster) => cluster.settle().await,
        }
    }
}
