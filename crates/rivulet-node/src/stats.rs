//! What a node counts. Each worker counts alone and is the only writer of its counters; a snapshot adds them up.

use std::{
    sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

use rivulet_core::Dialect;

use crate::{
    CloseReason, Histogram, HistogramSnapshot, StreamCounts, StreamState,
    histogram::{JOURNEY_BOUNDS, WORK_BOUNDS},
    subscribe::Refusal,
};

/// The counters of one worker, published once per turn.
#[derive(Debug)]
pub(crate) struct WorkerStats {
    pub(crate) opened: AtomicU64,
    pub(crate) closed: [AtomicU64; CloseReason::ALL.len()],
    pub(crate) deliveries: AtomicU64,
    pub(crate) bytes_written: AtomicU64,
    pub(crate) replays: AtomicU64,
    pub(crate) gaps: AtomicU64,
    pub(crate) sources: AtomicUsize,
    pub(crate) seats: AtomicUsize,
    pub(crate) behind: AtomicUsize,
    pub(crate) ring_frames: AtomicUsize,
    pub(crate) ring_frames_max: AtomicUsize,
    pub(crate) ring_bytes: AtomicUsize,
    pub(crate) timers: AtomicUsize,
    pub(crate) pinned_bytes: AtomicUsize,
    pub(crate) pinned_own_bytes: AtomicUsize,
    pub(crate) reserved: AtomicUsize,
    pub(crate) streams: [[AtomicUsize; Dialect::ALL.len()]; StreamState::ALL.len()],
    pub(crate) busy_nanos: AtomicU64,
    pub(crate) write_latency: Histogram,
    pub(crate) dispatch: Histogram,
}

impl Default for WorkerStats {
    fn default() -> Self {
        Self {
            opened: AtomicU64::default(),
            closed: Default::default(),
            deliveries: AtomicU64::default(),
            bytes_written: AtomicU64::default(),
            replays: AtomicU64::default(),
            gaps: AtomicU64::default(),
            sources: AtomicUsize::default(),
            seats: AtomicUsize::default(),
            behind: AtomicUsize::default(),
            ring_frames: AtomicUsize::default(),
            ring_frames_max: AtomicUsize::default(),
            ring_bytes: AtomicUsize::default(),
            timers: AtomicUsize::default(),
            pinned_bytes: AtomicUsize::default(),
            pinned_own_bytes: AtomicUsize::default(),
            reserved: AtomicUsize::default(),
            streams: Default::default(),
            busy_nanos: AtomicU64::default(),
            write_latency: Histogram::new(JOURNEY_BOUNDS),
            dispatch: Histogram::new(WORK_BOUNDS),
        }
    }
}

/// Adds to a counter that only this thread writes: no locked instruction.
pub(crate) fn count(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Relaxed) + n, Relaxed);
}

/// What a node has counted since it started, and what it holds now.
#[derive(Clone, Debug)]
pub struct NodeSnapshot {
    /// Connections that hold a place on this node now, those that are still being opened included.
    pub connections: usize,
    /// Streams opened.
    pub opened: u64,
    /// Streams ended, by reason, in the order of [`CloseReason::ALL`].
    pub closed: [u64; CloseReason::ALL.len()],
    /// Updates that this node appended for publishers.
    pub published: u64,
    /// Updates that arrived in the feed.
    pub received: u64,
    /// How often the feed said that it may lack updates.
    pub lost: u64,
    /// Frames encoded: at most one per received update.
    pub encoded: u64,
    /// Updates written to subscribers.
    pub deliveries: u64,
    /// Bytes written to subscribers.
    pub bytes_written: u64,
    /// Replays begun.
    pub replays: u64,
    /// Gaps that streams were told of.
    pub gaps: u64,
    /// Distinct matchers that subscribers hold, counted per worker.
    pub sources: usize,
    /// Open streams and reservations.
    pub seats: usize,
    /// Subscribers that have not yet taken everything that was dispatched.
    pub behind: usize,
    /// Memory of frames that something holds, each once, whoever holds it.
    pub frame_bytes: usize,
    /// Frames held in rings, in each that holds them.
    pub ring_frames: usize,
    /// Frames in the longest ring.
    pub ring_frames_max: usize,
    /// Bytes of these frames, in each ring that holds them.
    pub ring_bytes: usize,
    /// How many times streams stand in the timers of the workers, those that have ended included until they are due.
    pub timers: usize,
    /// Bytes of frames that subscribers have begun to take and not finished, each frame once per worker.
    pub pinned_bytes: usize,
    /// Reservations: subscribers whose stream has not begun yet.
    pub reserved: usize,
    /// Subscribers that came with a last id and are reading the log now.
    pub replaying: usize,
    /// Subscribers that were refused, by reason, in the order of [`Refusal::ALL`].
    pub refused: [u64; Refusal::ALL.len()],
    /// Whether the node is leaving: its streams end, or are about to.
    pub draining: bool,
    /// Streams by state and dialect, reservations included.
    pub streams: StreamCounts,
    /// How old updates were when they were written to subscribers that read the feed. What is read from the log for who
    /// comes back is not in it.
    pub write_latency: HistogramSnapshot,
    /// For each update and each matcher that selects it: from the feed until a worker had served all who were level.
    pub dispatch: HistogramSnapshot,
    /// Each worker, by its number.
    pub workers: Vec<WorkerSnapshot>,
}

/// One worker.
#[derive(Clone, Copy, Debug, Default)]
pub struct WorkerSnapshot {
    /// How long it has worked: dispatch, opening of streams, timers. What its thread does beside, such as HTTP, is not in
    /// it.
    pub busy: Duration,
    /// Its streams, reservations included.
    pub streams: usize,
}

impl Default for NodeSnapshot {
    fn default() -> Self {
        Self {
            connections: 0,
            opened: 0,
            closed: Default::default(),
            published: 0,
            received: 0,
            lost: 0,
            encoded: 0,
            deliveries: 0,
            bytes_written: 0,
            replays: 0,
            gaps: 0,
            sources: 0,
            seats: 0,
            behind: 0,
            frame_bytes: 0,
            ring_frames: 0,
            ring_frames_max: 0,
            ring_bytes: 0,
            timers: 0,
            pinned_bytes: 0,
            reserved: 0,
            replaying: 0,
            refused: Default::default(),
            draining: false,
            streams: StreamCounts::default(),
            write_latency: HistogramSnapshot::empty(JOURNEY_BOUNDS),
            dispatch: HistogramSnapshot::empty(WORK_BOUNDS),
            workers: Vec::new(),
        }
    }
}

impl NodeSnapshot {
    pub(crate) fn add(&mut self, worker: &WorkerStats) {
        self.opened += worker.opened.load(Relaxed);
        for (sum, counter) in self.closed.iter_mut().zip(&worker.closed) {
            *sum += counter.load(Relaxed);
        }
        self.deliveries += worker.deliveries.load(Relaxed);
        self.bytes_written += worker.bytes_written.load(Relaxed);
        self.replays += worker.replays.load(Relaxed);
        self.gaps += worker.gaps.load(Relaxed);
        self.sources += worker.sources.load(Relaxed);
        self.seats += worker.seats.load(Relaxed);
        self.behind += worker.behind.load(Relaxed);
        self.ring_frames += worker.ring_frames.load(Relaxed);
        self.ring_frames_max = self.ring_frames_max.max(worker.ring_frames_max.load(Relaxed));
        self.ring_bytes += worker.ring_bytes.load(Relaxed);
        self.timers += worker.timers.load(Relaxed);
        self.pinned_bytes += worker.pinned_bytes.load(Relaxed);
        // The frames of others are in it already.
        self.frame_bytes += worker.pinned_own_bytes.load(Relaxed);
        self.reserved += worker.reserved.load(Relaxed);
        for (sums, counts) in self.streams.iter_mut().zip(&worker.streams) {
            sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count.load(Relaxed));
        }
        self.write_latency.add(&worker.write_latency);
        self.dispatch.add(&worker.dispatch);
        self.workers.push(WorkerSnapshot {
            busy: Duration::from_nanos(worker.busy_nanos.load(Relaxed)),
            streams: worker.seats.load(Relaxed),
        });
    }
}
