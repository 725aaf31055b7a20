//! The connections that a node may hold.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::AcqRel, Ordering::Acquire},
};

use tokio::sync::Notify;

/// Counts connections against the node's limit.
#[derive(Debug)]
pub(crate) struct Places {
    taken: AtomicUsize,
    max: usize,
    emptied: Notify,
}

/// One connection's place; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Place(Arc<Places>);

impl Places {
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { taken: AtomicUsize::new(0), max, emptied: Notify::new() })
    }

    pub(crate) fn take(self: &Arc<Self>) -> Option<Place> {
        let taken = self.taken.fetch_update(AcqRel, Acquire, |taken| (taken < self.max).then_some(taken + 1));
        taken.ok().map(|_| Place(self.clone()))
    }

    pub(crate) fn are_taken(&self) -> bool {
        self.taken() >= self.max
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
