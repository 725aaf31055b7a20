//! A key set that is kept fresh: read periodically, and at once when a token names a key that it does not hold.

use std::{ops::AddAssign, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout},
};

use super::{
    Check, REFRESH_INTERVAL_MIN,
    bearer::KeyName,
    error::Refusal,
    jwks::KeySet,
    key_source::{KeySetSource, READ_DEADLINE},
    token::Token,
};

/// The first pause after a failed read; it doubles up to [`REFRESH_INTERVAL_MIN`].
const BACKOFF_MIN: Duration = Duration::from_secs(1);

/// How often a set may be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct RefreshTiming {
    /// The shortest time between two reads that tokens cause.
    pub(super) interval_min: Duration,
    /// The first pause after a failed read.
    pub(super) backoff_min: Duration,
}

impl Default for RefreshTiming {
    fn default() -> Self {
        Self { interval_min: REFRESH_INTERVAL_MIN, backoff_min: BACKOFF_MIN }
    }
}

/// What is known about the reads so far.
#[derive(Clone, Copy, Debug, Default)]
struct Reads {
    /// How many have ended, well or badly.
    count: u64,
    /// How many of them badly.
    failed: u64,
    /// When the last one ended.
    last: Option<Instant>,
    /// Whether a task is reading at all.
    running: bool,
}

/// What has become of the reads of a key set since the hub started, the one at its start not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeySetReads {
    /// It has been read.
    pub done: u64,
    /// It could not be.
    pub failed: u64,
}

impl AddAssign for KeySetReads {
    fn add_assign(&mut self, other: Self) {
        self.done += other.done;
        self.failed += other.failed;
    }
}

/// A key set and the reads that keep it fresh. Verifying never blocks a read, nor the other way round.
#[derive(Debug)]
pub(super) struct KeyCache {
    source: KeySetSource,
    timing: RefreshTiming,
    keys: ArcSwapOption<KeySet>,
    reads: watch::Sender<Reads>,
    /// The number of the read that some token waits for. Any number of waiting tokens ask for one read.
    wanted: watch::Sender<u64>,
}

impl KeyCache {
    /// A cache that holds `first`, if that was read already.
    pub(super) fn new(source: KeySetSource, first: Option<KeySet>, timing: RefreshTiming) -> Self {
        Self {
            source,
            timing,
            keys: ArcSwapOption::from_pointee(first),
            reads: watch::Sender::default(),
            wanted: watch::Sender::new(0),
        }
    }

    /// Verifies a token's signature and names its key. If its key is unknown, waits for one fresh read, unless the last one is too young.
    pub(super) async fn verify(&self, token: &Token<'_>) -> Result<KeyName, Refusal> {
        let reads = *self.reads.borrow();
        match self.verify_now(token) {
            Err(refusal) if matches!(refusal.check(), Check::KeyUnknown | Check::KeysUnavailable) => {
                if self.wait_for_read(reads).await { self.verify_now(token) } else { Err(refusal) }
            }
            result => result,
        }
    }

    /// What has become of the reads so far.
    pub(super) fn reads(&self) -> KeySetReads {
        let Reads { count, failed, .. } = *self.reads.borrow();
        KeySetReads { done: count - failed, failed }
    }

    fn verify_now(&self, token: &Token<'_>) -> Result<KeyName, Refusal> {
        match self.keys.load().as_deref() {
            Some(keys) => keys.verify(token),
            None => {
                let detail = "the keys that verify this token could not be read yet; this is the hub's fault";
                Err(Refusal::new(Check::KeysUnavailable, detail))
            }
        }
    }

    /// Asks for the read after `seen` and waits for it; `false` if there will be none soon.
    async fn wait_for_read(&self, seen: Reads) -> bool {
        let is_young = seen.last.is_some_and(|last| last.elapsed() < self.timing.interval_min);
        if is_young || !seen.running {
            return false;
        }
        let number = seen.count + 1;
        self.wanted.send_if_modified(|wanted| {
            let is_more = *wanted < number;
            *wanted = number.max(*wanted);
            is_more
        });
        let mut reads = self.reads.subscribe();
        let ended = reads.wait_for(|reads| reads.count >= number);
        matches!(timeout(READ_DEADLINE + Duration::from_secs(1), ended).await, Ok(Ok(_)))
    }

    /// The task that reads the set again and again; it never ends by itself. From this call on tokens may wait for it.
    pub(super) fn keep_fresh(self: Arc<Self>) -> impl Future<Output = ()> + Send {
        self.reads.send_modify(|reads| reads.running = true);
        async move { self.read_forever().await }
    }

    async fn read_forever(&self) {
        let mut wanted = self.wanted.subscribe();
        let mut failures: u32 = 0;
        // A set that was read when the hub started needs no second read at once.
        let mut pause = if self.keys.load().is_some() { self.source.period() } else { Duration::ZERO };
        loop {
            let next = Instant::now() + pause;
            let count = self.reads.borrow().count;
            tokio::select! {
                () = sleep_until(next) => {}
                asked = wanted.wait_for(|number| *number > count) => drop(asked),
            }
            failures = match self.source.read().await {
                Ok(keys) => {
                    self.accept(keys, failures);
                    0
                }
                Err(error) => {
                    if failures == 0 {
                        tracing::warn!(source = %self.source, error, "a key set cannot be read, trying again");
                    }
                    failures.saturating_add(1)
                }
            };
            pause = self.pause_after(failures);
            self.reads.send_modify(|reads| {
                reads.count += 1;
                reads.failed += u64::from(failures > 0);
                reads.last = Some(Instant::now());
            });
        }
    }

    /// Replaces the keys. Also by none: an issuer that publishes an empty set has withdrawn its keys.
    fn accept(&self, keys: KeySet, failures: u32) {
        let (count, skipped) = (keys.len(), keys.skipped);
        let before = self.keys.swap(Some(Arc::new(keys)));
        if count == 0 {
            tracing::warn!(source = %self.source, skipped, "a key set holds no key that verifies tokens");
        } else if failures > 0 || before.is_none() {
            tracing::info!(source = %self.source, keys = count, skipped, "a key set was read");
        }
    }

    /// How long to wait after `failures` failed reads in a row: doubling and spread, so that the nodes of a cluster do
    /// not come back to a recovering issuer at the same moment.
    fn pause_after(&self, failures: u32) -> Duration {
        let Some(doublings) = failures.checked_sub(1) else { return self.source.period() };
        let longest = self.timing.interval_min.max(self.timing.backoff_min);
        let pause = self.timing.backoff_min.saturating_mul(2_u32.saturating_pow(doublings)).min(longest);
        pause.mul_f64(rand::random_range(0.5..=1.0))
    }
}
