//! What came out of a run: everything that was counted.

use std::{collections::BTreeMap, net::SocketAddr, sync::atomic::Ordering::Relaxed, time::Duration};

use super::{
    client::{Attempt, Record, Visit},
    publisher::Press,
    run::Plan,
    slope::{Steepest, Stop, steepest},
    stage::Stage,
};
use crate::supervisor::diary::{Entry, Happening};

/// The longest `retry:` that a node tells, which is how long a client stays away.
const AWAY_MAX: Duration = Duration::from_secs(10);

/// Updates in a page of the log.
const PAGE_LEN: f64 = 64.0;

/// How much of what is strange is kept.
const STRANGE_SHOWN: usize = 5;

/// When the run turned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moments {
    /// Updates are published, and the first pod is about to be replaced.
    pub(crate) begun: Duration,
    /// All pods are replaced, and all clients are back.
    pub(crate) rolled: Duration,
    /// The same after a while.
    pub(crate) lingered: Duration,
}

/// See the module.
#[derive(Debug)]
pub struct Outcome {
    /// What was run.
    pub plan: Plan,
    /// What became of the pods.
    pub diary: Vec<Entry>,
    /// How long it took from the first update to the last client's return.
    pub took: Duration,
    /// For how long updates were published.
    pub published_for: Duration,
    /// Updates that were acknowledged.
    pub published: u64,
    /// Updates that arrived at clients.
    pub deliveries: u64,
    /// Updates that a client should have seen and did not, over all clients.
    pub lost: u64,
    /// Updates that a client saw again.
    pub twice: u64,
    /// Updates that a client saw behind later ones.
    pub disordered: u64,
    /// Gaps that were announced.
    pub gaps: u64,
    /// Some of what no hub should send.
    pub strange: Vec<String>,
    /// Streams that ended after their clients had been told when to come back.
    pub released: usize,
    /// Streams that ended without a word.
    pub cut: usize,
    /// Connections to where nobody listened.
    pub refused: usize,
    /// Answers other than 200.
    pub statuses: BTreeMap<u16, usize>,
    /// Connections that failed otherwise.
    pub broken: BTreeMap<String, usize>,
    /// Clients without a stream when the rolling update was over.
    pub absent: usize,
    /// How many clients came back in each second after the first update.
    pub returns_by_second: Vec<usize>,
    /// The steepest window.
    pub steepest: Option<Steepest>,
    /// Streams of each pod when it was asked to stop.
    pub stopped_with: Vec<usize>,
    /// Reads of the log that the pods asked Redis for.
    pub reads: u64,
    /// How many there may be.
    pub reads_max: u64,
    /// The longest time that a client was without an update: half of the clients less, 99 % of them, all.
    pub pauses: [Duration; 3],
    /// Why publications were repeated.
    pub repeats: BTreeMap<String, u64>,
    /// Publications that were never acknowledged.
    pub given_up: u64,
    /// The longest time until one was.
    pub publish_wait_max: Duration,
    /// Streams by pod when the rolling update was over, and a while later.
    pub spread: [Vec<usize>; 2],
}

impl Outcome {
    pub(crate) fn new(
        plan: Plan,
        stage: &Stage,
        moments: Moments,
        presses: &[Press],
        records: &[Record],
        reads: u64,
        pods: usize,
    ) -> Self {
        let diary = stage.diary.entries();
        let visits: Vec<&Visit> = records.iter().flat_map(|record| &record.visits).collect();
        let returns = returns(records);
        let stops = stops(&diary, &visits);
        let published = published(presses);
        let lost = records.iter().flat_map(|record| &record.tallies);
        let lost = lost.map(|(topic, tally)| tally.lost(published.get(topic).copied().unwrap_or_default()));
        let tallies = || records.iter().flat_map(|record| record.tallies.values());
        let count = |kind: &Attempt| visits.iter().filter(|visit| visit.attempt == *kind).count();
        let spread = |at| spread(&diary, &visits, at);
        let there = visits.iter().filter(|visit| visit.is_open_at(moments.rolled)).count();
        Self {
            took: moments.rolled.saturating_sub(moments.begun),
            published_for: moments.lingered.saturating_sub(moments.begun),
            published: published.values().sum(),
            deliveries: stage.deliveries.load(Relaxed),
            lost: lost.sum(),
            twice: tallies().map(|tally| tally.twice).sum(),
            disordered: tallies().map(|tally| tally.disordered).sum(),
            gaps: records.iter().map(|record| record.gaps).sum(),
            strange: records.iter().flat_map(|record| &record.strange).take(STRANGE_SHOWN).cloned().collect(),
            released: count(&Attempt::Released),
            cut: count(&Attempt::Cut),
            refused: count(&Attempt::Refused),
            statuses: counted(visits.iter().filter_map(|visit| match visit.attempt {
                Attempt::Status(status) => Some(status),
                _ => None,
            })),
            broken: counted(visits.iter().filter_map(|visit| match &visit.attempt {
                Attempt::Broken(reason) => Some(reason.clone()),
                _ => None,
            })),
            absent: plan.clients.saturating_sub(there),
            returns_by_second: by_second(&returns, moments),
            steepest: steepest(&returns, &stops, plan.drain.period, plan.window),
            stopped_with: stops.iter().map(|stop| stop.streams).collect(),
            reads,
            reads_max: reads_max(&plan, returns.len(), pods),
            pauses: pauses(records),
            repeats: repeats(presses),
            given_up: presses.iter().map(|press| press.given_up).sum(),
            publish_wait_max: presses.iter().map(|press| press.wait_max).max().unwrap_or_default(),
            spread: [spread(moments.rolled), spread(moments.lingered)],
            diary,
            plan,
        }
    }

    /// How often something happened to a pod.
    pub fn happened(&self, is: impl Fn(&Happening) -> bool) -> usize {
        self.diary.iter().filter(|entry| is(&entry.what)).count()
    }

    /// How many clients came back, each time counted.
    pub fn returns(&self) -> usize {
        self.returns_by_second.iter().sum()
    }
}

/// When clients came again, ascending.
fn returns(records: &[Record]) -> Vec<Duration> {
    let again = records.iter().flat_map(|record| record.visits.iter().skip(1).map(|visit| visit.asked));
    let mut again: Vec<_> = again.collect();
    again.sort();
    again
}

fn by_second(returns: &[Duration], moments: Moments) -> Vec<usize> {
    let end = returns.last().copied().unwrap_or_default().max(moments.rolled).saturating_sub(moments.begun);
    let mut seconds = vec![0; usize::try_from(end.as_secs()).expect("a run is short") + 1];
    for time in returns {
        let second = time.saturating_sub(moments.begun).as_secs();
        seconds[usize::try_from(second).expect("a run is short")] += 1;
    }
    seconds
}

fn stops(diary: &[Entry], visits: &[&Visit]) -> Vec<Stop> {
    let asked = diary.iter().filter(|entry| entry.what == Happening::Asked);
    asked.map(|entry| Stop { at: entry.at, streams: open_at(visits, entry.address, entry.at) }).collect()
}

fn open_at(visits: &[&Visit], node: SocketAddr, time: Duration) -> usize {
    visits.iter().filter(|visit| visit.node == node && visit.is_open_at(time)).count()
}

/// The streams of each pod that was not deleted by then.
fn spread(diary: &[Entry], visits: &[&Visit], at: Duration) -> Vec<usize> {
    let before = |entry: &&Entry| entry.at <= at;
    let gone = |address| {
        let mut ends = diary.iter().filter(before).filter(|entry| entry.address == address);
        ends.any(|entry| matches!(entry.what, Happening::Deleted | Happening::Crashed(_)))
    };
    let started = diary.iter().filter(before).filter(|entry| entry.what == Happening::Started);
    let here = started.filter(|entry| !gone(entry.address));
    here.map(|entry| open_at(visits, entry.address, at)).collect()
}

fn published(presses: &[Press]) -> BTreeMap<usize, u64> {
    presses.iter().flat_map(|press| press.published.clone()).collect()
}

fn repeats(presses: &[Press]) -> BTreeMap<String, u64> {
    let mut all = BTreeMap::new();
    for (reason, count) in presses.iter().flat_map(|press| &press.repeats) {
        *all.entry(reason.clone()).or_default() += count;
    }
    all
}

fn counted<T: Ord>(items: impl Iterator<Item = T>) -> BTreeMap<T, usize> {
    let mut counts = BTreeMap::new();
    items.for_each(|item| *counts.entry(item).or_default() += 1);
    counts
}

fn pauses(records: &[Record]) -> [Duration; 3] {
    let mut pauses: Vec<Duration> = records.iter().map(|record| record.pause_max).collect();
    pauses.sort();
    let last = pauses.len().saturating_sub(1);
    [last / 2, last * 99 / 100, last].map(|nth| pauses.get(nth).copied().unwrap_or_default())
}

/// How often the log may be read.
///
/// A client that comes back reads the pages that hold what it missed in the seconds that it was away, and perhaps one more to
/// reach what its node has in memory. Reads that clients share count once, so this is more than what is needed. And a
/// node that subscribes a topic reads once what came just before; it may do so again after the topic was without
/// subscribers.
#[expect(clippy::cast_precision_loss, reason = "topics of a run are few")]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is positive and small")]
fn reads_max(plan: &Plan, returns: usize, pods: usize) -> u64 {
    let rate = plan.updates_per_second / plan.topics as f64 + plan.wide_updates_per_second;
    let pages = (AWAY_MAX.as_secs_f64() * rate / PAGE_LEN).ceil() as u64;
    returns as u64 * (pages + 1) + 2 * pods as u64 * (plan.topics as u64 + 1)
}
