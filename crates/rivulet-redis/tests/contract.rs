//! The contract of transports, on two nodes that share a real Redis: one server, a master behind Sentinels, a cluster.

// In a test a panic is the report.
#![allow(clippy::unwrap_used)]

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use rivulet_core::Partitions;
use rivulet_node::contract::{Hub, Kept, Member};
use rivulet_redis::{RedisConfig, RedisTransport};
use rivulet_tests::{redis::RedisServer, redis_cluster::RedisCluster, sentinel::SentinelSetup};
use tokio::sync::OnceCell;

/// The servers of a test: breaking feeds breaks those of its own only.
enum Servers {
    Standalone(RedisServer),
    Sentinel(SentinelSetup),
    Cluster(RedisCluster),
}

struct Redis {
    /// Made by the first hub, since a test's expression cannot wait.
    servers: OnceCell<Arc<Servers>>,
    hubs: AtomicUsize,
    partitions: Option<Partitions>,
}

impl Redis {
    fn standalone(partitions: u16) -> Self {
        let partitions = Partitions::new(partitions);
        Self { servers: OnceCell::new(), hubs: AtomicUsize::new(0), partitions }
    }

    fn on(servers: Servers) -> Self {
        let servers = OnceCell::new_with(Some(Arc::new(servers)));
        Self { servers, hubs: AtomicUsize::new(0), partitions: None }
    }
}

impl Servers {
    fn url(&self) -> String {
        match self {
            Self::Standalone(server) => server.url(),
            Self::Sentinel(setup) => setup.url(),
            Self::Cluster(cluster) => cluster.url(),
        }
    }

    fn all(&self) -> &[RedisServer] {
        match self {
            Self::Standalone(server) => std::slice::from_ref(server),
            Self::Sentinel(setup) => &setup.servers,
            Self::Cluster(cluster) => &cluster.servers,
        }
    }
}

#[async_trait::async_trait]
impl Hub for Redis {
    async fn start(&self, kept: Kept) -> Vec<Member> {
        let standalone = || async { Arc::new(Servers::Standalone(RedisServer::start().await)) };
        let servers = self.servers.get_or_init(standalone).await;
        let prefix = format!("hub-{}", self.hubs.fetch_add(1, Ordering::Relaxed));
        let mut members = Vec::new();
        for _ in 0..2 {
            let config = RedisConfig {
                url: servers.url(),
                prefix: prefix.clone(),
                partitions: self.partitions,
                age: kept.age,
                count: kept.count,
                ..RedisConfig::default()
            };
            let (transport, feed) = RedisTransport::connect(config).await.unwrap();
            members.push(Member { transport, feed });
        }
        members
    }

    async fn break_feeds(&self) {
        for server in self.servers.get().unwrap().all() {
            server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).unwrap();
        }
    }
}

mod one_partition {
    rivulet_node::contract_tests!(super::Redis::standalone(1));
}

mod eight_partitions {
    rivulet_node::contract_tests!(super::Redis::standalone(8));
}

mod sentinel {
    use super::{Redis, SentinelSetup, Servers};

    rivulet_node::contract_tests!(together Redis::on(Servers::Sentinel(SentinelSetup::start().await)));
}

mod cluster {
    use super::{Redis, RedisCluster, Servers};

    rivulet_node::contract_tests!(together Redis::on(Servers::Cluster(RedisCluster::start().await)));
}
