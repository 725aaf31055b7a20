//! Ticks: messages that a node sends to itself through Redis. One that arrives proves that the feed is alive and that
//! everything before it has arrived.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use redis::Value;
use rivulet_core::Position;
use rivulet_node::TransportError;

use crate::{
    announcement::parse_position,
    commands::Commands,
    entry::unexpected,
    keys::Keys,
    script::{Call, Script},
};

/// Sends ticks to the node's own channel.
pub(crate) struct Ticker {
    pub(crate) commands: Arc<Commands>,
    pub(crate) seen: Arc<Seen>,
    script: Script,
    clock: String,
    birth: String,
    channel: String,
}

/// The latest position that this node was answered, or was shown by its feed. Each script gets it, so that a Redis that stands behind (restored
/// from an older copy, a replica that was promoted) is pushed forward instead of giving a position twice.
#[derive(Default)]
pub(crate) struct Seen(AtomicU64);

impl Seen {
    /// The least that a tick may answer.
    pub(crate) fn least(&self) -> String {
        self.0.load(Ordering::Acquire).to_string()
    }

    /// The least position that an update may get: after all that were given.
    pub(crate) fn next(&self) -> String {
        (self.0.load(Ordering::Acquire) + 1).to_string()
    }

    /// Reads a script's answer, and remembers it.
    pub(crate) fn answer(&self, answer: &Value) -> Result<Position, TransportError> {
        let Value::BulkString(digits) = answer else { return Err(unexpected("a position")) };
        let position = parse_position(digits).ok_or_else(|| unexpected("a position"))?;
        self.saw(position);
        Ok(position)
    }

    /// Remembers a position that another node was given.
    pub(crate) fn saw(&self, position: Position) {
        self.0.fetch_max(position.as_micros(), Ordering::AcqRel);
    }
}

impl Ticker {
    pub(crate) fn new(commands: Arc<Commands>, seen: Arc<Seen>, keys: &Keys) -> Self {
        Self {
            commands,
            seen,
            script: Script::tick(),
            clock: keys.clock.clone(),
            birth: keys.birth.clone(),
            channel: keys.node(rand::random()),
        }
    }

    pub(crate) fn channel(&self) -> &str {
        &self.channel
    }

    /// Reads the clock and announces it to this node. Every later append stands after the answer.
    pub(crate) async fn tick(&self) -> Result<Position, TransportError> {
        let least = self.seen.least();
        let call = Call {
            keys: vec![self.clock.as_bytes(), self.birth.as_bytes()],
            args: vec![least.as_bytes(), self.channel.as_bytes()],
        };
        self.seen.answer(&self.commands.run_small(&self.script, &call).await?)
    }
}
