//! The contract of transports, on the memory transport.

use rivulet_node::{
    MemoryTransport, Retention,
    contract::{Hub, Kept, Member},
};

struct Memory;

#[async_trait::async_trait]
impl Hub for Memory {
    async fn start(&self, kept: Kept) -> Vec<Member> {
        let retention = Retention { age: kept.age, count: kept.count, ..Retention::default() };
        let (transport, feed) = MemoryTransport::start(retention);
        vec![Member { transport, feed }]
    }

    async fn break_feeds(&self) {}
}

rivulet_node::contract_tests!(Memory);
