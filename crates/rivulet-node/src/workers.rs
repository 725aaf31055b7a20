//! The workers of a node, by number.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use parking_lot::RwLock;
use tokio::sync::mpsc;

use crate::{
    config::{INBOX_LEN_MAX, WORKERS_MAX},
    delivery::Input,
    registry::WorkerSet,
    stats::{NodeSnapshot, WorkerStats},
};

/// Where each worker takes its input, and what it counts.
#[derive(Debug, Default)]
pub(crate) struct Workers(RwLock<Vec<Desk>>);

#[derive(Debug)]
struct Desk {
    inbox: mpsc::Sender<Input>,
    stats: Arc<WorkerStats>,
}

impl Workers {
    /// Gives a new worker the first number that no living worker has. The counters stay with the number, so that totals
    /// never go back.
    pub(crate) fn join(&self) -> (u8, mpsc::Receiver<Input>, Arc<WorkerStats>) {
        let (sender, receiver) = mpsc::channel(INBOX_LEN_MAX);
        let mut desks = self.0.write();
        let free = desks.iter().position(|desk| desk.inbox.is_closed());
        let number = free.unwrap_or(desks.len());
        assert!(number < WORKERS_MAX, "a node has at most {WORKERS_MAX} workers");
        let stats = match free {
            Some(number) => {
                desks[number].inbox = sender;
                desks[number].stats.clone()
            }
            None => {
                let stats = Arc::<WorkerStats>::default();
                desks.push(Desk { inbox: sender, stats: stats.clone() });
                stats
            }
        };
        (u8::try_from(number).expect("fewer than WORKERS_MAX"), receiver, stats)
    }

    pub(crate) fn inbox(&self, worker: u8) -> Option<mpsc::Sender<Input>> {
        self.0.read().get(usize::from(worker)).map(|desk| desk.inbox.clone())
    }

    pub(crate) fn all(&self) -> WorkerSet {
        WorkerSet::first(self.0.read().len())
    }

    /// Those that have not ended.
    pub(crate) fn living(&self) -> WorkerSet {
        let desks = self.0.read();
        let living = desks.iter().enumerate().filter(|(_, desk)| !desk.inbox.is_closed());
        living.map(|(number, _)| u8::try_from(number).expect("fewer than WORKERS_MAX")).collect()
    }

    /// How many seats a worker holds.
    pub(crate) fn seats(&self, worker: u8) -> usize {
        let desks = self.0.read();
        desks.get(usize::from(worker)).map_or(0, |desk| desk.stats.seats.load(Relaxed))
    }

    pub(crate) fn add_to(&self, snapshot: &mut NodeSnapshot) {
        for desk in self.0.read().iter() {
            snapshot.add(&desk.stats);
        }
    }
}
