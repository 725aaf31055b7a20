//! The two loads: one update after another, and a burst from many publishers.

use std::time::{Duration, Instant};

use indicatif::ProgressBar;

use crate::{
    client::Client,
    tally::{Latency, Tally},
    topics::Topics,
};

/// Longest silence before missing deliveries count as lost.
const QUIET_MAX: Duration = Duration::from_secs(10);
/// Longest load: what has not arrived by then counts as lost.
const LOAD_MAX: Duration = Duration::from_secs(180);
/// How often the wait looks at its deadlines.
const TURN_MAX: Duration = Duration::from_millis(100);

/// What is published.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) topics: Topics,
    pub(crate) updates: u32,
    pub(crate) publishers: u32,
    /// Requests that a publisher sends ahead of their answers.
    pub(crate) pipeline: u32,
}

/// What came of it.
pub(crate) struct Outcome {
    pub(crate) tally: Tally,
    /// Updates that were sent: fewer than planned if one got stuck.
    pub(crate) updates: u32,
    pub(crate) lost: u64,
    pub(crate) duplicates: u64,
    /// From the first publish to the last delivery.
    pub(crate) wall: Duration,
    /// From a publish until its last subscriber had it; only where one update follows another.
    pub(crate) last: Option<Latency>,
}

/// Publishes each update when all subscribers have the one before and its publisher has its answer.
pub(crate) fn one_by_one(client: &mut Client, load: Load, bar: &ProgressBar) -> anyhow::Result<Outcome> {
    client.open_publishers(1)?;
    client.reset();
    let subscribers = client.received().len();
    let (mut last, mut first_ns, mut sent) = (Latency::new(), None, 0);
    let mut deliveries_due = 0;
    while sent < load.updates {
        let topic = load.topics.of_update(sent, subscribers);
        let sent_ns = client.publish(0, &topic, sent)?;
        first_ns.get_or_insert(sent_ns);
        sent += 1;
        deliveries_due += match load.topics {
            Topics::Own => 1,
            Topics::Shared => subscribers as u64,
        };
        let done = |client: &Client| {
            client.tally().deliveries >= deliveries_due && client.tally().answers >= u64::from(sent)
        };
        if !wait(client, bar, done)? {
            break;
        }
        last.record_ns(client.last_delivery_ns().saturating_sub(sent_ns));
    }
    Ok(outcome(client, load, sent, first_ns.unwrap_or_default(), Some(last)))
}

/// Publishes from all publishers at once, each ahead of its answers by the pipeline.
pub(crate) fn burst(client: &mut Client, load: Load, bar: &ProgressBar) -> anyhow::Result<Outcome> {
    client.open_publishers(load.publishers)?;
    client.reset();
    let subscribers = client.received().len();
    let due: u64 = (0..subscribers).map(|i| load.topics.expected(i, load.updates, subscribers)).sum();
    let (mut first_ns, mut sent) = (None, 0);
    let mut watch = Watch::new();
    loop {
        for index in 0..client.publishers.len() {
            while sent < load.updates && client.publishers[index].outstanding < load.pipeline {
                let sent_ns = client.publish(index, &load.topics.of_update(sent, subscribers), sent)?;
                first_ns.get_or_insert(sent_ns);
                sent += 1;
            }
        }
        let done = client.tally().deliveries >= due && client.tally().answers >= u64::from(load.updates);
        if done || !watch.is_hopeful(client) {
            break;
        }
        client.turn(TURN_MAX)?;
        bar.set_position(client.tally().deliveries);
    }
    Ok(outcome(client, load, sent, first_ns.unwrap_or_default(), None))
}

/// Takes events until `done`; false if that was given up.
pub(crate) fn wait(
    client: &mut Client,
    bar: &ProgressBar,
    done: impl Fn(&Client) -> bool,
) -> anyhow::Result<bool> {
    let mut watch = Watch::new();
    while !done(client) {
        if !watch.is_hopeful(client) {
            return Ok(false);
        }
        client.turn(TURN_MAX)?;
        bar.set_position(client.tally().deliveries);
    }
    Ok(true)
}

/// Notices when nothing arrives any more.
struct Watch {
    began: Instant,
    quiet_since: Instant,
    seen: u64,
}

impl Watch {
    fn new() -> Self {
        let now = Instant::now();
        Self { began: now, quiet_since: now, seen: 0 }
    }

    fn is_hopeful(&mut self, client: &Client) -> bool {
        let (now, seen) = (Instant::now(), client.tally().deliveries + client.tally().answers);
        if seen != self.seen {
            (self.seen, self.quiet_since) = (seen, now);
        }
        now - self.quiet_since < QUIET_MAX && now - self.began < LOAD_MAX
    }
}

fn outcome(client: &mut Client, load: Load, sent: u32, first_ns: u64, last: Option<Latency>) -> Outcome {
    let subscribers = client.received().len();
    let (mut lost, mut duplicates) = (0, 0);
    for (index, received) in client.received().enumerate() {
        let expected = load.topics.expected(index, sent, subscribers);
        lost += expected.saturating_sub(received);
        duplicates += received.saturating_sub(expected);
    }
    let wall = Duration::from_nanos(client.last_delivery_ns().saturating_sub(first_ns));
    client.publishers.clear();
    Outcome { tally: client.take_tally(), updates: sent, lost, duplicates, wall, last }
}
