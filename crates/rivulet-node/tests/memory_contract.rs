//! The contract of transports, on the memory transport, with one partition and with several.

use rivulet_core::Partitions;
use rivulet_node::{
    MemoryTransport, Retention,
    contract::{Hub, Kept, Member},
};

struct Memory {
    partitions: u16,
}

#[async_trait::async_trait]
impl Hub for Memory {
    async fn start(&self, kept: Kept) -> Vec<Member> {
        let retention = Retention { age: kept.age, count: kept.count, ..Retention::default() };
        let partitions = Partitions::new(self.partitions).expect("a small count");
        let (transport, feed) = MemoryTransport::partitioned(retention, partitions);
        vec![Member { transport, feed }]
    }

    async fn break_feeds(&self) {}
}

mod one_partition {
    rivulet_node::contract_tests!(crate::Memory { partitions: 1 });
}

mod eight_partitions {
    rivulet_node::contract_tests!(crate::Memory { partitions: 8 });
}
