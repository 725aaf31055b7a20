//! The contract of transports, on two nodes that share a real Redis.

// In a test a panic is the report.
#![allow(clippy::unwrap_used)]

mod harness;

use std::sync::Mutex;

use harness::RedisServer;
use rivulet_node::contract::{Hub, Kept, Member};
use rivulet_redis::{RedisConfig, RedisTransport};

/// A server per test: each test is a process or thread of its own, and breaking feeds breaks those of its server.
#[derive(Default)]
struct Redis(tokio::sync::OnceCell<RedisServer>, Mutex<usize>);

#[async_trait::async_trait]
impl Hub for Redis {
    async fn start(&self, kept: Kept) -> Vec<Member> {
        let server = self.0.get_or_init(RedisServer::start).await;
        let prefix = {
            let mut hubs = self.1.lock().unwrap();
            *hubs += 1;
            format!("hub-{hubs}")
        };
        let mut members = Vec::new();
        for _ in 0..2 {
            let config =
                RedisConfig { prefix: prefix.clone(), age: kept.age, count: kept.count, ..server.config() };
            let (transport, feed) = RedisTransport::connect(config).await.unwrap();
            members.push(Member { transport, feed });
        }
        members
    }

    async fn break_feeds(&self) {
        let server = self.0.get().unwrap();
        let _: usize = server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
    }
}

rivulet_node::contract_tests!(Redis::default());
