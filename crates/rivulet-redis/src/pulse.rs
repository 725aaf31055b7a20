//! Whether a connection that subscribes is alive: it answers, and what Redis announces arrives on it.

use std::time::Duration;

use futures_util::future::join_all;
use redis::{RedisError, aio::MultiplexedConnection};

use crate::{deployment::Server, partition_state::PartitionState, ticker::Ticker};

/// How often the node sends itself a tick, and asks whether the connection is there.
const TICK: Duration = Duration::from_secs(2);

/// Asks the server for an answer again and again; ends when none comes. A peer that vanished without a word is found so,
/// also while no tick can be sent.
pub(crate) async fn ping(mut connection: MultiplexedConnection) -> RedisError {
    loop {
        tokio::time::sleep(TICK).await;
        if let Err(error) = redis::cmd("PING").query_async::<()>(&mut connection).await {
            return error;
        }
    }
}

/// Sends ticks again and again; ends when a partition does not hear what Redis says it has announced. Ticks that Redis
/// refuses say nothing about the connection: the partition is stale then, and the reason is logged once.
pub(crate) async fn tick(ticker: &Ticker, states: &[&PartitionState], server: &Server) -> String {
    loop {
        tokio::time::sleep(TICK).await;
        let ticked = join_all(states.iter().map(|state| ticker.tick(state, server))).await;
        let mut news = None;
        for (state, ticked) in states.iter().zip(ticked) {
            if let Err(error) = ticked
                && state.status.refused(&error.reason)
            {
                news = Some((state.partition, error));
            }
        }
        if let Some((partition, error)) = news {
            tracing::warn!(%partition, reason = error.reason, "Redis cannot be written to");
        }
        if let Some(mute) = states.iter().find(|state| state.is_mute()) {
            return format!("ticks of partition {} do not arrive", mute.partition);
        }
    }
}
