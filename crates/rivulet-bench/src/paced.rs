//! A load of so many updates a second, whatever the hub does.

use std::time::{Duration, Instant};

use crate::{client::Client, load, tally::Latency};

/// Connections that publish, and updates that each of them sends ahead of its answers.
const PUBLISHERS: u32 = 4;
const PIPELINE: u32 = 32;
/// Longest wait of a turn: the next update is due soon.
const TURN_MAX: Duration = Duration::from_millis(1);

/// What is published: to one topic that all subscribers of the client have.
pub(crate) struct Pace {
    pub(crate) topic: String,
    pub(crate) updates_per_s: u32,
    /// Before anything is measured.
    pub(crate) warm_up: Duration,
    pub(crate) measured: Duration,
}

/// What came of it.
pub(crate) struct Paced {
    /// Of what was published while it was measured.
    pub(crate) latency: Latency,
    pub(crate) deliveries_per_s: f64,
    pub(crate) updates_per_s: f64,
    /// Of all that was published.
    pub(crate) lost: u64,
    pub(crate) duplicates: u64,
    pub(crate) closed: u64,
}

impl Pace {
    /// Publishes; calls `at_end` when the time is over and what was published last is still on its way.
    pub(crate) fn run(
        &self,
        client: &mut Client,
        at_end: &mut dyn FnMut() -> anyhow::Result<()>,
    ) -> anyhow::Result<Paced> {
        client.open_publishers(PUBLISHERS)?;
        client.reset();
        let began = Instant::now();
        let warm = self.publish_until(client, began, 0, self.warm_up)?;
        let mut closed = client.take_tally().closed;
        let measured = Instant::now();
        let sent = self.publish_until(client, began, warm, self.warm_up + self.measured)?;
        let measured_s = measured.elapsed().as_secs_f64();
        let deliveries = client.tally().deliveries;
        at_end()?;
        let hidden = indicatif::ProgressBar::hidden();
        load::wait(client, &hidden, |client| client.received().all(|received| received >= u64::from(sent)))?;
        let (mut lost, mut duplicates) = (0, 0);
        for received in client.received() {
            lost += u64::from(sent).saturating_sub(received);
            duplicates += received.saturating_sub(sent.into());
        }
        let tally = client.take_tally();
        closed += tally.closed;
        client.publishers.clear();
        Ok(Paced {
            latency: tally.latency,
            deliveries_per_s: crate::metric::count(deliveries) / measured_s,
            updates_per_s: f64::from(sent - warm) / measured_s,
            lost,
            duplicates,
            closed,
        })
    }

    /// Publishes on from update `sent` until so long after the beginning; answers how many were sent by then.
    fn publish_until(
        &self,
        client: &mut Client,
        began: Instant,
        mut sent: u32,
        until: Duration,
    ) -> anyhow::Result<u32> {
        loop {
            let elapsed = began.elapsed();
            if elapsed >= until {
                return Ok(sent);
            }
            let due = elapsed.as_micros() * u128::from(self.updates_per_s) / 1_000_000;
            while u128::from(sent) < due && self.publish_one(client, sent)? {
                sent += 1;
            }
            client.turn(TURN_MAX)?;
        }
    }

    /// False if all publishers wait for answers. Of those that are as free as others, each has its turn: a hub closes a
    /// connection that never asks for anything.
    fn publish_one(&self, client: &mut Client, number: u32) -> anyhow::Result<bool> {
        let count = client.publishers.len();
        let turn = number as usize % count;
        let publisher = (0..count)
            .min_by_key(|index| (client.publishers[*index].outstanding, (index + count - turn) % count));
        let free = publisher.filter(|index| client.publishers[*index].outstanding < PIPELINE);
        let Some(publisher) = free else { return Ok(false) };
        client.publish(publisher, &self.topic, number)?;
        Ok(true)
    }
}
