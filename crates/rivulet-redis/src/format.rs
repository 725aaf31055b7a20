//! The formats: which this version knows, and which one the layout demands of those who take part. A newer node may raise that
//! while this one runs, so it is looked at again and again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use redis::{RedisResult, aio::MultiplexedConnection};
use rivulet_core::fault::{self, Fault};
use rivulet_node::Outdated;

use crate::{deployment::Server, keys::Keys, primaries::Primaries};

/// The format that this version knows and writes: what keys and messages mean. Additions that older nodes pass over make
/// a new one too, so that it can be seen who has been here. See docs/upgrades.md.
const FORMAT: u32 = 2;
/// The oldest format that a node must know that is to read what this version writes.
const FORMAT_OF_READERS: u32 = 2;
/// The oldest format that this version can read: a log whose readers must know no more than an older one may hold that.
pub(crate) const FORMAT_OLDEST: u32 = 2;
/// How often the layout is looked at: a command each time.
const LOOK: Duration = Duration::from_secs(5);

/// The format that this process knows, and the oldest that one must know that is to read what it writes.
pub(crate) fn formats() -> (u32, u32) {
    let is = |fault| u32::from(fault::is(fault));
    (FORMAT + is(Fault::NextVersion), FORMAT_OF_READERS + is(Fault::NextFormat))
}

/// What the layout demands.
pub(crate) struct Demand {
    primaries: Arc<Primaries>,
    layout: String,
    /// The format that a node must know, as it was last found; 0 before that.
    reader: AtomicU32,
}

impl Demand {
    pub(crate) fn new(primaries: Arc<Primaries>, keys: &Keys) -> Arc<Self> {
        Arc::new(Self { primaries, layout: keys.layout.clone(), reader: AtomicU32::new(0) })
    }

    /// What this node would have to know, if it does not.
    pub(crate) fn outdated(&self) -> Option<Outdated> {
        let (needed, (knows, _)) = (self.reader.load(Relaxed), formats());
        (needed > knows).then_some(Outdated { needed, knows })
    }

    /// Looks for ever.
    pub(crate) async fn watch(self: Arc<Self>) {
        let mut kept = None;
        loop {
            tokio::time::sleep(LOOK).await;
            match self.look(&mut kept).await {
                Ok(Some(reader)) => self.found(reader),
                // Who has written what this node cannot read goes on doing so, although the layout was lost.
                Ok(None) => {}
                // Whether Redis is there is told by others, and what it demands will not have become less.
                Err(error) => tracing::debug!(%error, "the layout could not be looked at"),
            }
        }
    }

    /// Asks where the layout lies, on a connection of its own: in a cluster that need not be a primary of ours.
    async fn look(&self, kept: &mut Option<(Server, MultiplexedConnection)>) -> RedisResult<Option<u32>> {
        let server = self.primaries.topology.map().layout.clone();
        let mut connection = match kept.take() {
            Some((of, connection)) if of == server => connection,
            _ => self.primaries.connector.question(&server).await?,
        };
        let reader = redis::cmd("HGET").arg(&self.layout).arg("reader").query_async(&mut connection).await?;
        *kept = Some((server, connection));
        Ok(reader)
    }

    fn found(&self, reader: u32) {
        let before = self.outdated();
        self.reader.store(reader, Relaxed);
        match (before, self.outdated()) {
            (_, Some(Outdated { needed, knows })) => {
                // As often as it is found, so that the alert lasts as long as the node does not know it.
                self.primaries.unreadable.newer_expected();
                if before.is_none() {
                    tracing::error!(
                        needed,
                        knows,
                        "newer nodes may write from now on what this node is too old to read: it is not ready any more and \
                         serves the streams that it has, with gaps where it cannot read; upgrade it"
                    );
                }
            }
            (Some(_), None) => tracing::info!(reader, "what nodes must know here is known to this one again"),
            (None, None) => {}
        }
    }
}
