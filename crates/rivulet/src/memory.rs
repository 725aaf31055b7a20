//! How much memory the node may take, and whether it is near that: the sampler, and what others see of it.
//!
//! ```text
//!            used ≥ 90 % of the limit
//!   ample ─────────────────────────────▶ tight
//!     ▲                                    │
//!     └────────────────────────────────────┘
//!            used < 80 % of the limit
//! ```
//!
//! A tight node takes nobody new and keeps those that it has: a container that exceeds its limit is killed, with all its
//! streams. Between the two marks nothing changes, so that a node at the edge does not change its mind twice a second.

use std::{io, sync::Arc, time::Duration};

use rivulet_node::Node;
use tokio::{sync::watch, task::JoinHandle, time::MissedTickBehavior};
use tracing::{info, warn};

use crate::{cgroup::Cgroup, process};

/// How often memory is looked at. A node that takes 10,000 new streams a second grows by some 10 MB meanwhile.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(500);
/// From this part of the limit on, in per cent, memory is tight.
const TIGHT_FROM: u64 = 90;
/// Below this part of the limit, in per cent, it is not any more.
const AMPLE_BELOW: u64 = 80;
/// The part of a container's limit that `auto` uses, in per cent: between two looks there must be room to grow.
const AUTO_PART: u64 = 90;

/// What `--memory-max` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MemoryMax {
    /// What the container allows, if it limits anything.
    Auto,
    /// Whatever there is.
    Unlimited,
    /// So many bytes.
    Bytes(u64),
}

/// A limit, and what is measured against it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MemoryLimit {
    bytes: u64,
    of: Consumer,
}

/// Whose memory is measured.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Consumer {
    /// What the kernel could not take from this process without swapping. The buffers of its sockets are not in it.
    Process,
    /// What counts against the container's limit, those buffers included.
    Container(Cgroup),
}

impl MemoryLimit {
    /// The limit that a setting means on this machine, if it means any.
    pub(crate) fn resolve(max: MemoryMax) -> Option<Self> {
        match max {
            MemoryMax::Unlimited => None,
            MemoryMax::Bytes(bytes) => Some(Self { bytes, of: Consumer::Process }),
            MemoryMax::Auto => Cgroup::limited().map(Self::of_container),
        }
    }

    fn of_container(group: Cgroup) -> Self {
        Self { bytes: part(group.limit, AUTO_PART), of: Consumer::Container(group) }
    }

    fn used(&self) -> io::Result<u64> {
        match &self.of {
            Consumer::Process => process::unreclaimable_bytes()
                .ok_or_else(|| io::Error::other("neither the system nor the allocator tells")),
            Consumer::Container(group) => group.used(),
        }
    }
}

/// What is known about the node's memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct MemoryState {
    /// Bytes that may be used; 0 if there is no limit.
    pub(crate) max: u64,
    /// Bytes that are used, as they are measured against the limit; 0 without one.
    pub(crate) used: u64,
    /// Whether nobody new should be taken.
    pub(crate) tight: bool,
}

impl MemoryState {
    fn after(self, used: u64) -> Self {
        let mark = part(self.max, if self.tight { AMPLE_BELOW } else { TIGHT_FROM });
        Self { used, tight: used >= mark, ..self }
    }
}

/// Looks at memory as long as it lives.
#[derive(Debug)]
pub(crate) struct MemorySampler {
    state: watch::Receiver<MemoryState>,
    task: Option<JoinHandle<()>>,
}

impl MemorySampler {
    /// Starts to look, in a tokio runtime. Without a limit there is nothing to look for.
    pub(crate) fn start(limit: Option<MemoryLimit>) -> Self {
        let Some(limit) = limit else {
            return Self { state: watch::channel(MemoryState::default()).1, task: None };
        };
        info!(memory.max = limit.bytes, memory.measured = limit.measured(), "Memory is limited");
        Self::sample(limit.bytes, move || limit.used())
    }

    fn sample(max: u64, mut read: impl FnMut() -> io::Result<u64> + Send + 'static) -> Self {
        let (sender, state) = watch::channel(MemoryState { max, ..MemoryState::default() });
        let task = tokio::spawn(async move {
            let mut interval = tokio::time::interval(SAMPLE_INTERVAL);
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut is_readable = true;
            loop {
                interval.tick().await;
                match read() {
                    Ok(used) => {
                        take(&sender, used);
                        is_readable = true;
                    }
                    // What was known last is the best guess; an unreadable file is no reason to refuse everybody.
                    Err(error) if is_readable => {
                        warn!(%error, "Memory cannot be measured: its limit is not enforced now");
                        is_readable = false;
                    }
                    Err(_) => {}
                }
            }
        });
        Self { state, task: Some(task) }
    }

    /// Tells a node whenever memory has become tight, or is not any more, until this is dropped.
    pub(crate) fn tell(&self, node: Arc<Node>) {
        let mut state = self.state();
        tokio::spawn(async move {
            while state.changed().await.is_ok() {
                node.set_memory_tight(state.borrow_and_update().tight);
            }
        });
    }

    /// What is known, now and later.
    pub(crate) fn state(&self) -> watch::Receiver<MemoryState> {
        self.state.clone()
    }
}

impl Drop for MemorySampler {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl MemoryLimit {
    const fn measured(&self) -> &'static str {
        match self.of {
            Consumer::Process => "process",
            Consumer::Container(_) => "container",
        }
    }
}

fn take(sender: &watch::Sender<MemoryState>, used: u64) {
    let before = *sender.borrow();
    let now = before.after(used);
    sender.send_replace(now);
    if now.tight && !before.tight {
        let (used, max) = (now.used, now.max);
        warn!(memory.used = used, memory.max = max, "Memory is tight: this node takes nobody new");
    }
    if before.tight && !now.tight {
        let (used, max) = (now.used, now.max);
        info!(memory.used = used, memory.max = max, "Memory is not tight any more");
    }
}

/// So many per cent of a number of bytes.
const fn part(bytes: u64, per_cent: u64) -> u64 {
    // Divided first: no number of bytes is so small that this would matter, and some are too large to multiply.
    bytes / 100 * per_cent
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn memory_is_tight_from_90_per_cent_until_it_is_below_80() {
        let mut state = MemoryState { max: 1_000, ..MemoryState::default() };
        for (used, tight) in [
            (0, false),
            (899, false),
            (900, true),
            (850, true),
            (5_000, true),
            (800, true),
            (799, false),
            (850, false),
            (899, false),
            (900, true),
            (0, false),
        ] {
            state = state.after(used);
            assert_eq!((state.tight, state.used), (tight, used), "{used}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_sampler_tells_every_crossing_and_survives_what_it_cannot_read() {
        const UNREADABLE: u64 = u64::MAX;
        let used = Arc::new(AtomicU64::new(100));
        let reader = Arc::clone(&used);
        let sampler = MemorySampler::sample(1_000, move || match reader.load(Ordering::Relaxed) {
            UNREADABLE => Err(io::Error::other("broken")),
            used => Ok(used),
        });
        let mut state = sampler.state();
        let mut expect = async |now: u64, tight: bool| {
            used.store(now, Ordering::Relaxed);
            state.wait_for(|state| state.used == now).await.unwrap();
            assert_eq!(*state.borrow(), MemoryState { max: 1_000, used: now, tight });
        };
        expect(100, false).await;
        expect(950, true).await;
        expect(850, true).await;
        expect(700, false).await;
        expect(901, true).await;
        used.store(UNREADABLE, Ordering::Relaxed);
        tokio::time::sleep(10 * SAMPLE_INTERVAL).await;
        let mut state = sampler.state();
        assert!(state.borrow().tight);
        used.store(1, Ordering::Relaxed);
        state.wait_for(|state| !state.tight).await.unwrap();
        drop(sampler);
        // The task owns the only sender: it is gone.
        while state.changed().await.is_ok() {}
    }

    #[tokio::test]
    async fn the_memory_of_this_process_can_be_measured() {
        let sampler = MemorySampler::start(MemoryLimit::resolve(MemoryMax::Bytes(1 << 20)));
        let mut state = sampler.state();
        let state = *state.wait_for(|state| state.used > 0).await.unwrap();
        assert!(state.tight && state.used > 1 << 20, "{state:?}");
    }

    #[tokio::test]
    async fn without_a_limit_memory_is_never_tight() {
        assert_eq!(MemoryLimit::resolve(MemoryMax::Unlimited), None);
        let sampler = MemorySampler::start(None);
        assert_eq!(*sampler.state().borrow(), MemoryState::default());
    }
}
