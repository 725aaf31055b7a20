//! The one connection that subscribes: made, watched, and made again when it breaks.
//!
//! ```text
//!  connect ─▶ subscribe all that is wanted ─▶ read what was missed ─▶ live: feed, changes of channels, ticks
//!     ▲                                                                   │ ended, no tick for 6 s, any error
//!     └────────────────────────── backoff ◀───────────────────────────────┘
//! ```
//!
//! Nothing but SUBSCRIBE and UNSUBSCRIBE goes over it, and it is never repaired: whatever is wrong, it is dropped. The
//! client library's own resubscription mixes up replies and never says what was missed.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use redis::aio::MultiplexedConnection;
use rivulet_core::Position;
use rivulet_node::{Interest, TransportError};
use tokio::sync::oneshot;

use crate::{
    channels::Channels,
    connector::{Backoff, Connector},
    feed_writer::FeedWriter,
    inbox::{Messages, Shared, inbox},
    keys::Keys,
    status::{SILENCE_MAX, Status},
    ticker::Ticker,
};

/// How often the node sends itself a tick.
const TICK: Duration = Duration::from_secs(2);
/// How often a tick is tried that says up to where new channels are subscribed: one refused call is no broken feed.
const TICK_TRIES: usize = 3;
/// How many channels are subscribed by one command.
const BATCH_LEN: usize = 1000;
/// How long changes are gathered, so that a storm of subscribers becomes a few commands.
const BATCH_WAIT: Duration = Duration::from_millis(2);

/// See the module.
pub(crate) struct Supervisor {
    pub(crate) connector: Connector,
    pub(crate) keys: Keys,
    pub(crate) channels: Arc<Channels>,
    pub(crate) ticker: Arc<Ticker>,
    pub(crate) status: Arc<Status>,
    pub(crate) writer: FeedWriter,
}

impl Supervisor {
    /// Runs until the node has dropped its feed.
    pub(crate) async fn run(mut self) {
        let mut backoff = Backoff::new();
        while !self.writer.feed.is_closed() {
            let connected = Instant::now();
            let reason = self.serve().await;
            self.status.stale(&reason);
            if connected.elapsed() > SILENCE_MAX {
                backoff = Backoff::new();
            }
            backoff.wait().await;
        }
    }

    /// One connection's life; answers why it ended.
    async fn serve(&mut self) -> String {
        self.channels.begin();
        let (inbox, messages, shared) = inbox();
        let connection = match self.connector.subscriptions(move |push| inbox.receive(push)).await {
            Ok(connection) => connection,
            Err(error) => return error.to_string(),
        };
        shared.connected();
        let (subscribed, ready) = oneshot::channel();
        let writer = &mut self.writer;
        let subscriber =
            Subscriber { connection, keys: &self.keys, channels: &self.channels, ticker: &self.ticker };
        tokio::select! {
            error = subscriber.run(subscribed) => error.reason,
            error = feed_when(ready, writer, messages) => error.reason,
            () = shared.ended.notified() => "the connection ended".to_owned(),
            () = tick_until_silent(&self.ticker, &shared) => format!("no tick arrived for {SILENCE_MAX:?}"),
        }
    }
}

async fn feed_when(
    ready: oneshot::Receiver<()>,
    writer: &mut FeedWriter,
    messages: Messages,
) -> TransportError {
    if ready.await.is_err() {
        return TransportError::new("the channels were not subscribed");
    }
    writer.run(messages).await
}

async fn tick_until_silent(ticker: &Ticker, shared: &Shared) {
    while shared.silent_for() < SILENCE_MAX {
        tokio::time::sleep(TICK).await;
        if let Err(error) = ticker.tick().await {
            tracing::debug!(reason = error.reason, "a tick could not be sent");
        }
    }
}

/// Brings the connection's channels to what is wanted, again and again.
struct Subscriber<'a> {
    connection: MultiplexedConnection,
    keys: &'a Keys,
    channels: &'a Channels,
    ticker: &'a Ticker,
}

impl Subscriber<'_> {
    async fn run(mut self, subscribed: oneshot::Sender<()>) -> TransportError {
        match self.start().await {
            Ok(()) => drop(subscribed.send(())),
            Err(error) => return error,
        }
        loop {
            let until = self.channels.lingers_until();
            tokio::select! {
                () = self.channels.work.notified() => tokio::time::sleep(BATCH_WAIT).await,
                () = linger(until) => {}
            }
            if let Err(error) = self.change().await {
                return error;
            }
        }
    }

    /// Subscribes what was wanted when the connection was made. What comes meanwhile waits for its turn: it would put
    /// off the feed of all others, under a steady stream of new topics for ever.
    async fn start(&mut self) -> Result<(), TransportError> {
        let mut left = self.channels.wanted_len();
        self.subscribe(&[self.ticker.channel().to_owned()]).await?;
        while left > 0 {
            let len = left.min(BATCH_LEN);
            self.subscribe_wanted(len).await?;
            left -= len;
        }
        self.channels.work.notify_one();
        self.tick().await.map(drop)
    }

    async fn change(&mut self) -> Result<(), TransportError> {
        loop {
            let unwanted = self.channels.take_unwanted(Instant::now(), BATCH_LEN);
            if !unwanted.is_empty() {
                let names = self.names(&unwanted);
                self.connection.unsubscribe(&names).await.map_err(failed)?;
            }
            self.subscribe_wanted(BATCH_LEN).await?;
            if unwanted.is_empty() && self.channels.wanted_len() == 0 {
                return Ok(());
            }
        }
    }

    /// Subscribes and confirms the next of what is wanted.
    async fn subscribe_wanted(&mut self, len_max: usize) -> Result<(), TransportError> {
        let wanted = self.channels.take_wanted(len_max);
        if !wanted.is_empty() {
            self.subscribe(&self.names(&wanted)).await?;
            // Only now: what is appended after this reading arrives on the channels.
            let since = self.tick().await?;
            self.channels.confirm(&wanted, since);
        }
        Ok(())
    }

    /// Reads the clock, with some patience for the connection that commands share: this one need not suffer from it.
    async fn tick(&self) -> Result<Position, TransportError> {
        let mut backoff = Backoff::new();
        for _ in 1..TICK_TRIES {
            match self.ticker.tick().await {
                Ok(position) => return Ok(position),
                Err(error) => {
                    tracing::debug!(reason = error.reason, "a tick could not be sent: trying again")
                }
            }
            backoff.wait().await;
        }
        self.ticker.tick().await
    }

    async fn subscribe(&mut self, names: &[String]) -> Result<(), TransportError> {
        self.connection.subscribe(names).await.map_err(failed)
    }

    fn names(&self, interests: &[Interest]) -> Vec<String> {
        let name = |interest: &Interest| match interest {
            Interest::All => self.keys.firehose.clone(),
            Interest::Topic(topic) => self.keys.stream(topic),
        };
        interests.iter().map(name).collect()
    }
}

// The closure of `map_err` hands the error over.
#[allow(clippy::needless_pass_by_value)]
fn failed(error: redis::RedisError) -> TransportError {
    TransportError::new(error.to_string())
}

async fn linger(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until.into()).await,
        None => std::future::pending().await,
    }
}
