//! Updates that flow while something else is measured: so many a second to some topics, and now and then a long one.

use std::{
    ops::RangeInclusive,
    time::{Duration, Instant},
};

use mio::{Registry, Token};

use crate::{approach::Approach, chance::Chance, payload::Stamp, publisher::Publisher};

/// Updates that may be unanswered: beyond that the hub is behind, and the flow waits for it.
const UNANSWERED_MAX: u32 = 64;

/// One kind of update.
pub(crate) struct Current {
    /// They are published to in turn.
    pub(crate) topics: Vec<String>,
    pub(crate) every: Duration,
    /// How long their data are, in bytes: any of these lengths.
    pub(crate) data_len: RangeInclusive<usize>,
}

/// See the module. Dropping it ends its connection.
pub(crate) struct Flow {
    publisher: Publisher,
    currents: Vec<(Current, Instant)>,
    chance: Chance,
    began: Instant,
    /// Updates that were answered with 200.
    pub(crate) acknowledged: u64,
    sent: u32,
}

impl Flow {
    /// Connects a publisher and begins to flow.
    pub(crate) fn start(
        hub: std::net::SocketAddr,
        approach: &Approach,
        token: &str,
        (registry, id): (&Registry, Token),
        currents: Vec<Current>,
        chance: Chance,
    ) -> anyhow::Result<Self> {
        let publisher = Publisher::connect(hub, approach, token, registry, id)?;
        let began = Instant::now();
        let currents = currents.into_iter().map(|current| (current, began)).collect();
        Ok(Self { publisher, currents, chance, began, acknowledged: 0, sent: 0 })
    }

    /// Publishes what is due.
    pub(crate) fn publish(&mut self, now: Instant) -> anyhow::Result<()> {
        for (current, next) in &mut self.currents {
            while *next <= now && self.publisher.outstanding < UNANSWERED_MAX {
                let topic = &current.topics[self.sent as usize % current.topics.len()];
                let stamp = Stamp { number: self.sent, sent_ns: crate::client::elapsed_ns(self.began) };
                let (least, most) = (*current.data_len.start(), *current.data_len.end());
                let more = self.chance.below((most - least + 1) as u64);
                let data_len = least + usize::try_from(more)?;
                self.publisher.publish_long(topic, stamp, data_len)?;
                self.sent = self.sent.wrapping_add(1);
                *next += current.every;
            }
            // What could not be published in time is left out.
            *next = (*next).max(now);
        }
        Ok(())
    }

    /// Takes what its connection has to say.
    pub(crate) fn on_event(&mut self, buffer: &mut [u8]) -> anyhow::Result<()> {
        self.publisher.flush()?;
        self.acknowledged += u64::from(self.publisher.read(buffer)?);
        Ok(())
    }

    /// The id of the update that was acknowledged last; nothing before the first.
    pub(crate) fn last_id(&self) -> &str {
        &self.publisher.last_id
    }

    /// Whether all that was sent is answered.
    pub(crate) fn is_level(&self) -> bool {
        self.publisher.outstanding == 0
    }
}
