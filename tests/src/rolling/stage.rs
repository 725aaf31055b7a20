//! What all clients and publishers of a run share.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize},
    },
    time::{Duration, Instant},
};

use tokio::sync::watch;

use crate::supervisor::{balancer::Balancer, diary::Diary};

/// The topic of all clients; each has one of the others beside it.
pub(crate) const WIDE: usize = 0;

/// How far a run is.
#[derive(Clone, Debug)]
pub(crate) enum Phase {
    /// Updates are published.
    Running,
    /// Publishers are to end.
    Ending,
    /// Nothing more is published: this many updates of each topic. Who has them all leaves.
    Settling(Arc<Vec<u64>>),
    /// Everybody leaves.
    Over,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) diary: Diary,
    pub(crate) balancer: Arc<Balancer>,
    pub(crate) phase: watch::Sender<Phase>,
    /// Clients whose stream is open.
    pub(crate) connected: AtomicUsize,
    /// Updates that have arrived at clients.
    pub(crate) deliveries: AtomicU64,
}

impl Stage {
    pub(crate) fn new(diary: Diary, balancer: Arc<Balancer>) -> Self {
        Self {
            diary,
            balancer,
            phase: watch::Sender::new(Phase::Running),
            connected: AtomicUsize::new(0),
            deliveries: AtomicU64::new(0),
        }
    }

    pub(crate) fn now(&self) -> Duration {
        self.diary.now()
    }

    pub(crate) fn choose(&self) -> Option<SocketAddr> {
        self.balancer.choose(Instant::now())
    }
}

pub(crate) fn topic(index: usize) -> String {
    format!("https://example.com/rolling/{index}")
}
