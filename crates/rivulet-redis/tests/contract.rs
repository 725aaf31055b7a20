//! The contract of transports, on two nodes that share a real Redis.

// In a test a panic is the report.
#![allow(clippy::unwrap_used)]

mod harness;

use std::sync::Mutex;

use harness::RedisServer;
use rivulet_core::Partitions;
use rivulet_node::contract::{Hub, Kept, Member};
use rivulet_redis::{RedisConfig, RedisTransport};

/// A server per test: each test is a process or thread of its own, and breaking feeds breaks those of its server.
struct Redis {
    server: tokio::sync::OnceCell<RedisServer>,
    hubs: Mutex<usize>,
    partitions: Option<Partitions>,
}

impl Redis {
    fn with(partitions: u16) -> Self {
        let partitions = Partitions::new(partitions);
        Self { server: Default::default(), hubs: Mutex::default(), partitions }
    }
}

#[async_trait::async_trait]
impl Hub for Redis {
    async fn start(&self, kept: Kept) -> Vec<Member> {
        let server = self.server.get_or_init(RedisServer::start).await;
        let prefix = {
            let mut hubs = self.hubs.lock().unwrap();
            *hubs += 1;
            format!("hub-{hubs}")
        };
        let mut members = Vec::new();
        for _ in 0..2 {
            let config = RedisConfig {
                prefix: prefix.clone(),
                partitions: self.partitions,
                age: kept.age,
                count: kept.count,
                ..server.config()
            };
            let (transport, feed) = RedisTransport::connect(config).await.unwrap();
            members.push(Member { transport, feed });
        }
        members
    }

    async fn break_feeds(&self) {
        let server = self.server.get().unwrap();
        let _: usize = server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
    }
}

mod one_partition {
    rivulet_node::contract_tests!(super::Redis::with(1));
}

mod eight_partitions {
    rivulet_node::contract_tests!(super::Redis::with(8));
}
