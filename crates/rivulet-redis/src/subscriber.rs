//! Brings the channels of one connection to what is wanted, again and again.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::{join_all, try_join_all};
use redis::{RedisError, aio::MultiplexedConnection};
use rivulet_node::Interest;
use tokio::sync::{Notify, oneshot};

use crate::{
    command_parts::parts, deployment::Server, inbox::Shared, link::Parts, partition_state::PartitionState,
};

/// How many channels are subscribed at once.
const BATCH_LEN: usize = 500;
/// What a command of its own adds to a channel's name.
const EACH_LEN: usize = "*2\r\n$12\r\nSUNSUBSCRIBE\r\n".len();
/// How long changes are gathered, so that a storm of subscribers becomes a few commands.
const BATCH_WAIT: Duration = Duration::from_millis(2);
/// How long to wait before channels are confirmed whose partition could not be asked for its clock.
const RETRY: Duration = Duration::from_millis(250);

/// See the module.
pub(crate) struct Subscriber<'a> {
    pub(crate) connection: MultiplexedConnection,
    pub(crate) parts: &'a Parts,
    pub(crate) server: &'a Server,
    pub(crate) states: &'a [&'a PartitionState],
    /// Told when there is something to subscribe or to leave.
    pub(crate) work: Arc<Notify>,
    pub(crate) shared: Arc<Shared>,
}

/// Whether all that was subscribed could be confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Confirmed {
    All,
    NotAll,
}

/// What becomes of channels.
#[derive(Clone, Copy, Debug)]
enum Change {
    Subscribe,
    Leave,
}

impl Subscriber<'_> {
    /// `subscribed` is told when everything is subscribed that was wanted when the connection was made.
    pub(crate) async fn run(self, subscribed: oneshot::Sender<()>) -> RedisError {
        match self.start().await {
            Ok(()) => drop(subscribed.send(())),
            Err(error) => return error,
        }
        let mut confirmed = Confirmed::NotAll;
        loop {
            let retry = (confirmed == Confirmed::NotAll).then(|| Instant::now() + RETRY);
            let lingering = self.states.iter().filter_map(|state| state.channels.lingers_until());
            let until = lingering.chain(retry).min();
            tokio::select! {
                () = self.work.notified() => tokio::time::sleep(BATCH_WAIT).await,
                () = at(until) => {}
            }
            match self.change().await {
                Ok(done) => confirmed = done,
                Err(error) => return error,
            }
        }
    }

    /// Subscribes what was wanted when the connection was made. What comes meanwhile waits for its turn: it would put
    /// off the feed of all others, under a steady stream of new topics for ever.
    async fn start(&self) -> Result<(), RedisError> {
        let own = |state: &&PartitionState| {
            let control = self.parts.writer.keys.of(state.partition).control.clone();
            [self.parts.ticker.channel(state.partition), control]
        };
        let own: Vec<String> = self.states.iter().flat_map(own).collect();
        self.send(Change::Subscribe, &own).await?;
        let mut left: Vec<usize> = self.states.iter().map(|state| state.channels.wanted_len()).collect();
        while left.iter().any(|left| *left > 0) {
            self.subscribe_wanted(Some(&mut left)).await?;
        }
        // Each partition hears a tick as soon as its feed runs: one that has no channels too.
        join_all(self.states.iter().map(|state| self.parts.ticker.tick(state, self.server))).await;
        self.work.notify_one();
        Ok(())
    }

    async fn change(&self) -> Result<Confirmed, RedisError> {
        loop {
            let left = self.leave_unwanted().await?;
            if self.subscribe_wanted(None).await? == Confirmed::NotAll {
                return Ok(Confirmed::NotAll);
            }
            if left == 0 && self.states.iter().all(|state| state.channels.wanted_len() == 0) {
                return Ok(Confirmed::All);
            }
        }
    }

    async fn leave_unwanted(&self) -> Result<usize, RedisError> {
        let mut names = Vec::new();
        for state in self.states {
            let unwanted = state.channels.take_unwanted(Instant::now(), BATCH_LEN - names.len());
            names.extend(unwanted.iter().map(|interest| self.name(state, interest)));
        }
        if names.is_empty() {
            return Ok(0);
        }
        if self.is_sharded() {
            self.shared.leave(&names);
        }
        self.send(Change::Leave, &names).await?;
        Ok(names.len())
    }

    /// Subscribes and confirms the next of what is wanted; with `left`, no more of each partition than it says.
    async fn subscribe_wanted(&self, mut left: Option<&mut Vec<usize>>) -> Result<Confirmed, RedisError> {
        let (mut room, mut taken, mut names) = (BATCH_LEN, Vec::new(), Vec::new());
        for (nth, state) in self.states.iter().enumerate() {
            let len = left.as_ref().map_or(room, |left| left[nth].min(room));
            let wanted = state.channels.take_wanted(len);
            if let Some(left) = left.as_mut() {
                left[nth] -= len;
            }
            room -= wanted.len();
            if !wanted.is_empty() {
                names.extend(wanted.iter().map(|interest| self.name(state, interest)));
                taken.push((*state, wanted));
            }
        }
        if taken.is_empty() {
            return Ok(Confirmed::All);
        }
        self.send(Change::Subscribe, &names).await?;
        // Only now: what is appended after these readings of the clocks arrives on the channels.
        let ticks = join_all(taken.iter().map(|(state, _)| self.parts.ticker.tick(state, self.server))).await;
        let mut confirmed = Confirmed::All;
        for ((state, wanted), tick) in taken.into_iter().zip(ticks) {
            match tick {
                Ok(since) => state.channels.confirm(&wanted, since),
                Err(error) => {
                    tracing::debug!(partition = %state.partition, %error, "channels are subscribed but not confirmed");
                    state.channels.want_again(wanted);
                    confirmed = Confirmed::NotAll;
                }
            }
        }
        Ok(confirmed)
    }

    fn is_sharded(&self) -> bool {
        self.parts.connector.deployment.is_cluster()
    }

    /// Subscribes or leaves channels, with commands of which none waits for the answer to another.
    async fn send(&self, change: Change, names: &[String]) -> Result<(), RedisError> {
        let is_sharded = self.is_sharded();
        let around = if is_sharded { EACH_LEN } else { 0 };
        let commands = parts(names, |name| name.len() + around).map(|names| {
            let mut connection = self.connection.clone();
            async move {
                match change {
                    Change::Subscribe if is_sharded => each("SSUBSCRIBE", names, &mut connection).await,
                    Change::Subscribe => connection.subscribe(names).await,
                    Change::Leave if is_sharded => each("SUNSUBSCRIBE", names, &mut connection).await,
                    Change::Leave => connection.unsubscribe(names).await,
                }
            }
        });
        try_join_all(commands).await.map(drop)
    }

    fn name(&self, state: &PartitionState, interest: &Interest) -> String {
        let names = self.parts.writer.keys.of(state.partition);
        match interest {
            Interest::All => names.firehose.clone(),
            Interest::Topic(topic) => names.stream(topic),
        }
    }
}

/// A command per channel: the channels of one command have to stand in one slot, and each is confirmed by an answer of its
/// own.
async fn each(
    command: &str,
    names: &[String],
    connection: &mut MultiplexedConnection,
) -> Result<(), RedisError> {
    let mut pipeline = redis::pipe();
    for name in names {
        pipeline.cmd(command).arg(name);
    }
    pipeline.query_async(connection).await
}

async fn at(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until.into()).await,
        None => std::future::pending().await,
    }
}
