//! A connection to one server that concurrent calls share: they pipeline on it.
//!
//! ```text
//!            connected                 lost (end of connection, or a command without an answer)
//!  connecting ───────▶ up: calls run ──────▶ connecting: calls fail at once
//! ```
//!
//! So a Redis that is away costs its callers one deadline, and then nothing: no request waits for a reconnect.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use redis::{RedisError, Value, aio::MultiplexedConnection};
use tokio::sync::Notify;

use crate::{
    connector::{BACKOFF_MAX, Backoff, Connector},
    deployment::Server,
    error_type::ErrorType,
    reason::reason,
    refusal::{Refusal, ends_connection},
    script::{Asking, Call, Script},
    topology::Topology,
    traced,
};

/// See the module.
pub(crate) struct Commands {
    connector: Connector,
    server: Server,
    topology: Arc<Topology>,
    wait: Option<Wait>,
    state: Mutex<State>,
}

enum State {
    Up(Link),
    Away { since: Instant, reason: String },
}

#[derive(Clone)]
struct Link {
    connection: MultiplexedConnection,
    lost: Arc<Notify>,
}

impl Commands {
    /// A connection that [`Commands::keep`] is to make; with `wait`, each call may wait for replicas.
    pub(crate) fn new(
        connector: Connector,
        server: Server,
        topology: Arc<Topology>,
        wait: Option<Wait>,
    ) -> Self {
        let reason = "it is being connected".to_owned();
        let state = Mutex::new(State::Away { since: Instant::now(), reason });
        Self { connector, server, topology, wait, state }
    }

    /// Runs a script within the deadline, and waits for replicas if it should; answers what both answered. The script may
    /// have run although its answer did not arrive.
    pub(crate) async fn run(
        &self,
        script: &Script,
        call: &Call<'_>,
        asking: Asking,
    ) -> Result<Vec<Value>, Refusal> {
        let mut link = match &*self.state.lock() {
            State::Up(link) => link.clone(),
            State::Away { reason, .. } => {
                let reason = format!("Redis at {} is away: {reason}", self.server);
                return Err(traced::failed(ErrorType::Away, reason));
            }
        };
        let deadline = self.connector.deadline();
        let running = async {
            let answers = script.run(&mut link.connection, call, asking).await?;
            let Some(wait) = self.wait else { return Ok(vec![answers]) };
            let mut command = redis::cmd("WAIT");
            command.arg(wait.replicas).arg(wait.timeout_ms);
            Ok(vec![answers, command.query_async(&mut link.connection).await?])
        };
        match tokio::time::timeout(deadline + self.extra(), running).await {
            Ok(Ok(values)) => Ok(values),
            Ok(Err(error)) => {
                let error: RedisError = error;
                if ends_connection(&error) {
                    self.lose(&link, &reason(&error));
                }
                Err(traced::refused(error))
            }
            Err(_) => {
                let reason = format!("Redis at {}: no answer within {deadline:?}", self.server);
                self.lose(&link, &reason);
                Err(traced::failed(ErrorType::Timeout, reason))
            }
        }
    }

    /// Since when the server has been away, and why; `None` while calls run.
    pub(crate) fn away(&self) -> Option<(Duration, String)> {
        match &*self.state.lock() {
            State::Up(_) => None,
            State::Away { since, reason } => {
                Some((since.elapsed(), format!("Redis at {} is away: {reason}", self.server)))
            }
        }
    }

    /// Ends a connection, if it is still the one in use: of a thousand calls that fail together, the first does it.
    fn lose(&self, link: &Link, reason: &str) {
        let mut state = self.state.lock();
        if matches!(&*state, State::Up(up) if Arc::ptr_eq(&up.lost, &link.lost)) {
            *state = State::Away { since: Instant::now(), reason: reason.to_owned() };
            link.lost.notify_one();
            self.topology.suspect();
        }
    }

    fn extra(&self) -> Duration {
        self.wait.map_or(Duration::ZERO, Wait::timeout)
    }

    async fn connect(&self) -> Result<Link, RedisError> {
        let lost = Arc::new(Notify::new());
        let connection = self.connector.commands(&self.server, lost.clone(), self.extra()).await?;
        Ok(Link { connection, lost })
    }

    /// Keeps the connection up. Never ends.
    pub(crate) async fn keep(&self) {
        let mut backoff = Backoff::new();
        loop {
            match self.connect().await {
                Ok(link) => {
                    *self.state.lock() = State::Up(link.clone());
                    self.topology.connected();
                    let connected = Instant::now();
                    tracing::debug!(server = %self.server, "a connection for commands is up");
                    link.lost.notified().await;
                    self.lose(&link, "the connection ended");
                    // One that ends at once, again and again, is told of by the ticks.
                    if connected.elapsed() > BACKOFF_MAX {
                        backoff = Backoff::new();
                        tracing::warn!(server = %self.server, "a connection for commands was lost");
                    }
                }
                Err(error) => {
                    if let State::Away { reason: last, .. } = &mut *self.state.lock() {
                        *last = reason(&error);
                    }
                    self.topology.suspect();
                }
            }
            // Also after a connection that was lost at once (a read-only replica does that): as good as none.
            backoff.wait().await;
        }
    }
}

/// How many replicas have to have what was written before, and how long they may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wait {
    pub(crate) replicas: u32,
    pub(crate) timeout_ms: u32,
}

impl Wait {
    fn timeout(self) -> Duration {
        Duration::from_millis(self.timeout_ms.into())
    }
}
