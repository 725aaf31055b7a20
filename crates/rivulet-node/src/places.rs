//! The connections that a node may hold.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering::AcqRel, Ordering::Acquire, Ordering::Relaxed},
};

use tokio::sync::Notify;

use crate::config::READY_AGAIN_PERCENT;

/// Counts connections against the node's limit.
#[derive(Debug)]
pub(crate) struct Places {
    taken: AtomicUsize,
    /// Whether somebody was refused, or there was no place left, and there are not many again since.
    scarce: AtomicBool,
    max: usize,
    emptied: Notify,
}

/// One connection's place; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Place(Arc<Places>);

impl Places {
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self {
            taken: AtomicUsize::new(0),
            scarce: AtomicBool::new(false),
            max,
            emptied: Notify::new(),
        })
    }

    pub(crate) fn take(self: &Arc<Self>) -> Option<Place> {
        let taken = self.taken.fetch_update(AcqRel, Acquire, |taken| (taken < self.max).then_some(taken + 1));
        if taken.map_or(true, |taken| taken + 1 == self.max) {
            self.scarce.store(true, Relaxed);
        }
        taken.ok().map(|_| Place(self.clone()))
    }

    pub(crate) fn are_taken(&self) -> bool {
        self.taken() >= self.max
    }

    /// Whether all places are taken, or were, and not so many have come back since that it is worth saying.
    pub(crate) fn are_scarce(&self) -> bool {
        if self.scarce.load(Relaxed) && self.taken() * 100 < self.max * READY_AGAIN_PERCENT {
            self.scarce.store(false, Relaxed);
        }
        self.scarce.load(Relaxed)
    }

    pub(crate) fn max(&self) -> usize {
        self.max
    }

    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Acquire)
    }

    /// Waits until no place is taken.
    pub(crate) async fn emptied(&self) {
        loop {
            let emptied = self.emptied.notified();
            tokio::pin!(emptied);
            emptied.as_mut().enable();
            if self.taken() == 0 {
                return;
            }
            emptied.await;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.0.taken.fetch_sub(1, AcqRel) == 1 {
            self.0.emptied.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_stay_scarce_until_a_tenth_is_free() {
        let places = Places::new(20);
        let mut taken: Vec<_> = (0..19).map(|_| places.take()).collect();
        assert!(!places.are_scarce(), "one is left");
        taken.push(places.take());
        assert!(places.are_scarce());
        taken.truncate(18);
        assert!(places.are_scarce(), "two are free, no more");
        taken.truncate(17);
        assert!(!places.are_scarce());
        taken.extend((0..2).map(|_| places.take()));
        assert!(!places.are_scarce(), "it is not full again");
    }

    #[tokio::test]
    async fn a_place_comes_back_when_it_is_dropped() {
        let places = Places::new(2);
        let first = places.take();
        let second = places.take();
        assert!(first.is_some() && second.is_some());
        assert!(places.take().is_none(), "the third is refused");
        drop(first);
        assert_eq!(places.taken(), 1);
        assert!(places.take().is_some());
        drop(second);
        places.emptied().await;
    }
}
