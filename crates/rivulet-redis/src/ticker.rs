//! Ticks: messages that a node sends to itself through each partition. One that arrives proves that the feed is alive and
//! that everything before it has arrived.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use rivulet_core::{Partition, Position};
use rivulet_node::TransportError;

use crate::{
    clock_offset::Sent,
    deployment::Server,
    keys::Keys,
    partition_state::PartitionState,
    primaries::{Job, Primaries},
    script::{Asking, Call, Script},
    seen::{Proof, Seen},
};

/// Sends ticks to the node's own channels.
pub(crate) struct Ticker {
    primaries: Arc<Primaries>,
    keys: Keys,
    node: u64,
    script: Script,
    publish: &'static str,
}

impl Ticker {
    /// `publish` is the command that announces: PUBLISH or SPUBLISH.
    pub(crate) fn new(primaries: Arc<Primaries>, keys: Keys, publish: &'static str) -> Self {
        Self { primaries, keys, node: rand::random(), script: Script::tick(), publish }
    }

    /// The channel on which this node hears the ticks of a partition.
    pub(crate) fn channel(&self, partition: Partition) -> String {
        self.keys.of(partition).node(self.node)
    }

    /// Reads a partition's clock and announces it to this node, on the server to which the node listens and nowhere else:
    /// a master that was demoted passes on what its successor announces, but not what that has announced before. Every
    /// later append stands after the answer.
    pub(crate) async fn tick(
        &self,
        state: &PartitionState,
        server: &Server,
    ) -> Result<Position, TransportError> {
        let (tick, sent, begun) = (state.stats.tick_sent(), Sent::now(), Instant::now());
        let ticked = self.tick_on(state.partition, &state.seen, Some(server)).await;
        // Where the slot is being moved to, nobody is subscribed yet.
        if let Ok((position, Asking::No)) = ticked {
            state.clock.note(sent, begun.elapsed(), position);
            state.tick_sent(position);
        } else {
            state.stats.tick_failed(tick);
        }
        ticked.map(|(position, _)| position)
    }

    /// The same for who has seen nothing but this, on the primary of the partition.
    async fn first_tick(&self, partition: Partition, seen: &Seen) -> Result<Position, TransportError> {
        self.tick_on(partition, seen, None).await.map(|(position, _)| position)
    }

    /// The first tick of each partition: where its feed begins. Waits for the connections, for so long.
    pub(crate) async fn start(
        &self,
        proof: Proof,
        patience: Duration,
    ) -> Result<Arc<[PartitionState]>, TransportError> {
        let begun = Instant::now();
        let start = async |partition: Partition| {
            let seen = Seen::new(proof);
            loop {
                match self.first_tick(partition, &seen).await {
                    Ok(position) => {
                        return Ok(PartitionState::starting_after(partition, seen, position));
                    }
                    Err(error) if begun.elapsed() > patience => return Err(error),
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        };
        let states: Vec<Result<_, TransportError>> = join_all(self.keys.partitions().iter().map(start)).await;
        states.into_iter().collect()
    }

    async fn tick_on(
        &self,
        partition: Partition,
        seen: &Seen,
        server: Option<&Server>,
    ) -> Result<(Position, Asking), TransportError> {
        let names = self.keys.of(partition);
        let (least, update, channel) = (seen.least(), seen.update(), self.channel(partition));
        let call = Call {
            keys: [&names.clock, &names.birth, &names.index].map(String::as_bytes).to_vec(),
            args: [&least, &channel, &update, &names.control, self.publish].map(AsRef::as_ref).to_vec(),
        };
        let done = self.primaries.run_on(partition, server, Job::Tick(&self.script, &call)).await?;
        Ok((seen.answer(done.values.first().unwrap_or(&redis::Value::Nil))?, done.asking))
    }
}
