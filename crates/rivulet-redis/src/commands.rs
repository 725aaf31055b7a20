//! The connection that appends and ticks share: concurrent calls pipeline on it.
//!
//! ```text
//!            connected                 lost (end of connection, or a command without an answer)
//!  connecting ───────▶ up: calls run ──────▶ connecting: calls fail at once
//! ```
//!
//! So a Redis that is away costs its callers one deadline, and then nothing: no request waits for a reconnect.

use std::{sync::Arc, time::Instant};

use parking_lot::Mutex;
use redis::{ErrorKind, RedisError, ServerErrorKind, Value, aio::MultiplexedConnection};
use rivulet_node::TransportError;
use tokio::sync::{Notify, Semaphore};

use crate::{
    connector::{BACKOFF_MAX, Backoff, Connector},
    script::{Call, Script},
};

/// How many bytes of commands may be on their way. What comes when they are is refused at once.
const IN_FLIGHT_BYTES_MAX: usize = 64 << 20;
/// What a command without payload counts for.
const COMMAND_LEN: usize = 1024;

/// See the module.
pub(crate) struct Commands {
    connector: Connector,
    state: Mutex<State>,
    in_flight: Semaphore,
}

enum State {
    Up(Link),
    Away { reason: String },
}

#[derive(Clone)]
struct Link {
    connection: MultiplexedConnection,
    lost: Arc<Notify>,
}

impl Commands {
    pub(crate) async fn connect(connector: Connector) -> Result<Self, RedisError> {
        let link = Link::connect(&connector).await?;
        Ok(Self {
            connector,
            state: Mutex::new(State::Up(link)),
            in_flight: Semaphore::new(IN_FLIGHT_BYTES_MAX / COMMAND_LEN),
        })
    }

    /// Runs a script within the deadline. It may have run although its answer did not arrive.
    pub(crate) async fn run(&self, script: &Script, call: &Call<'_>) -> Result<Value, TransportError> {
        let bytes: usize = call.args.iter().chain(&call.keys).map(|part| part.len()).sum();
        let permits = u32::try_from(bytes / COMMAND_LEN + 1).unwrap_or(u32::MAX);
        let _permit = self
            .in_flight
            .try_acquire_many(permits)
            .map_err(|_| TransportError::new("too many commands wait for Redis"))?;
        self.run_small(script, call).await
    }

    /// The same for what carries no payload and is called by the transport's own tasks, one at a time: it does not
    /// count. A tick that is refused because publishers are busy would look like a broken feed.
    pub(crate) async fn run_small(&self, script: &Script, call: &Call<'_>) -> Result<Value, TransportError> {
        let mut link = match &*self.state.lock() {
            State::Up(link) => link.clone(),
            State::Away { reason } => return Err(TransportError::new(format!("Redis is away: {reason}"))),
        };
        let deadline = self.connector.deadline();
        match tokio::time::timeout(deadline, script.run(&mut link.connection, call)).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => {
                if ends_connection(&error) {
                    self.lose(&link, &error.to_string());
                }
                Err(TransportError::new(error.to_string()))
            }
            Err(_) => {
                let reason = format!("no answer within {deadline:?}");
                self.lose(&link, &reason);
                Err(TransportError::new(reason))
            }
        }
    }

    /// Ends a connection, if it is still the one in use: of a thousand calls that fail together, the first does it.
    fn lose(&self, link: &Link, reason: &str) {
        let mut state = self.state.lock();
        if matches!(&*state, State::Up(up) if Arc::ptr_eq(&up.lost, &link.lost)) {
            *state = State::Away { reason: reason.to_owned() };
            link.lost.notify_one();
        }
    }

    /// Keeps the connection up. Never ends.
    pub(crate) async fn keep(&self) {
        let mut backoff = Backoff::new();
        let mut connected = Instant::now();
        loop {
            let link = match &*self.state.lock() {
                State::Up(link) => Some(link.clone()),
                State::Away { .. } => None,
            };
            if let Some(link) = link {
                link.lost.notified().await;
                self.lose(&link, "the connection ended");
                tracing::warn!(address = self.connector.address(), "the connection for commands was lost");
            }
            if connected.elapsed() > BACKOFF_MAX {
                backoff = Backoff::new();
            } else {
                // It connected and was lost at once (a read-only replica does that): as good as not connected.
                backoff.wait().await;
            }
            loop {
                match Link::connect(&self.connector).await {
                    Ok(link) => {
                        *self.state.lock() = State::Up(link);
                        connected = Instant::now();
                        tracing::info!(address = self.connector.address(), "commands are connected again");
                        break;
                    }
                    Err(error) => *self.state.lock() = State::Away { reason: error.to_string() },
                }
                backoff.wait().await;
            }
        }
    }
}

impl Link {
    async fn connect(connector: &Connector) -> Result<Self, RedisError> {
        let lost = Arc::new(Notify::new());
        let connection = connector.commands(lost.clone()).await?;
        Ok(Self { connection, lost })
    }
}

/// Whether no further command can succeed on the connection. A server that became a read-only replica, or one whose
/// master is gone, answers well but never takes a write again; its address may lead to its successor by now.
fn ends_connection(error: &RedisError) -> bool {
    let refuses_writes =
        matches!(error.kind(), ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown));
    refuses_writes || error.is_unrecoverable_error() || error.is_timeout()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_takes_no_writes_ends_the_connection() {
        let check = |kind: ServerErrorKind, expected: bool| {
            let error = RedisError::from((ErrorKind::Server(kind), "refused"));
            assert_eq!(ends_connection(&error), expected, "{kind:?}");
        };
        check(ServerErrorKind::ReadOnly, true);
        check(ServerErrorKind::MasterDown, true);
        check(ServerErrorKind::ResponseError, false);
        check(ServerErrorKind::BusyLoading, false);
    }
}
