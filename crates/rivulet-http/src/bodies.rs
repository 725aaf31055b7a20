//! The memory that bodies hold, from their first byte until what they bring has been handed over: bounded over all
//! workers, since every publisher may send a whole batch at once.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use crate::stats::HttpStats;

/// What one body holds; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct BodyMemory {
    stats: Arc<HttpStats>,
    bytes: usize,
    /// How much all bodies may hold together.
    bytes_max: usize,
}

/// The bodies hold as much as they may.
#[derive(Debug)]
pub(crate) struct BodiesBusy;

impl BodyMemory {
    /// Nothing yet.
    pub(crate) fn new(stats: Arc<HttpStats>, bytes_max: usize) -> Self {
        Self { stats, bytes: 0, bytes_max }
    }

    /// Whether there is room for so many bytes now. Nothing is taken: who announces a long body and never sends it
    /// must not keep others out.
    pub(crate) fn has_room(&self, bytes: u64) -> bool {
        let taken = self.stats.body_bytes.load(Relaxed);
        bytes <= self.bytes_max.saturating_sub(taken) as u64
    }

    /// Takes so many bytes more.
    pub(crate) fn take(&mut self, more: usize) -> Result<(), BodiesBusy> {
        let grown = |taken: usize| taken.checked_add(more).filter(|taken| *taken <= self.bytes_max);
        self.stats.body_bytes.fetch_update(Relaxed, Relaxed, grown).map_err(|_| BodiesBusy)?;
        self.bytes += more;
        Ok(())
    }
}

impl Drop for BodyMemory {
    fn drop(&mut self) {
        self.stats.body_bytes.fetch_sub(self.bytes, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_share_one_bound_and_give_back_what_they_held() {
        let stats = Arc::new(HttpStats::default());
        let body = || BodyMemory::new(stats.clone(), 100);
        let (mut first, mut second) = (body(), body());
        assert!(first.has_room(100) && !first.has_room(101));
        first.take(60).unwrap();
        second.take(40).unwrap();
        assert!(second.take(1).is_err() && first.take(usize::MAX).is_err() && !first.has_room(1));
        drop(first);
        second.take(60).unwrap();
        assert_eq!(stats.snapshot().body_bytes, 100);
        drop(second);
        assert_eq!(stats.snapshot().body_bytes, 0);
    }
}
