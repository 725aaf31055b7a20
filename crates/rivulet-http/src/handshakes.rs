//! How many TLS handshakes a worker has under way.
//!
//! A client that is silent has no place among them. One that stalls later gives its place up once others wait, so that
//! some hundred stalling clients cannot keep everybody else out until their time is over.

use std::{cell::Cell, time::Duration};

use tokio::sync::{Notify, Semaphore, SemaphorePermit};

/// How long a handshake keeps its place while others wait. Two round trips of a bad mobile network take less.
const KEPT_FOR: Duration = Duration::from_secs(3);

/// The places for handshakes of one worker.
pub(crate) struct Handshakes {
    places: Semaphore,
    /// How many wait for a place.
    waiting: Cell<usize>,
    /// Wakes a handshake that has had its place for long.
    wanted: Notify,
}

/// The handshake took long, and others waited for its place.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct CrowdedOut;

impl Handshakes {
    pub(crate) fn new(places: usize) -> Self {
        let places = Semaphore::new(places.min(Semaphore::MAX_PERMITS));
        Self { places, waiting: Cell::new(0), wanted: Notify::new() }
    }

    /// Runs a handshake as soon as there is a place for it.
    pub(crate) async fn run<T>(&self, handshake: impl Future<Output = T>) -> Result<T, CrowdedOut> {
        let _place = self.place().await;
        tokio::select! {
            biased;
            done = handshake => Ok(done),
            () = self.wanted_by_others() => Err(CrowdedOut),
        }
    }

    async fn place(&self) -> SemaphorePermit<'_> {
        if let Ok(place) = self.places.try_acquire() {
            return place;
        }
        let _waiting = Waiting::new(&self.waiting);
        self.wanted.notify_one();
        self.places.acquire().await.expect("the semaphore is never closed")
    }

    async fn wanted_by_others(&self) {
        tokio::time::sleep(KEPT_FOR).await;
        while self.waiting.get() == 0 {
            self.wanted.notified().await;
        }
    }
}

/// Counts one who waits, however the waiting ends.
struct Waiting<'a>(&'a Cell<usize>);

impl<'a> Waiting<'a> {
    fn new(waiting: &'a Cell<usize>) -> Self {
        waiting.set(waiting.get() + 1);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_that_stalls_keeps_its_place_while_nobody_waits_for_it() {
        let handshakes = Handshakes::new(2);
        let stalls = handshakes.run(pending::<()>());
        assert!(tokio::time::timeout(KEPT_FOR * 10, stalls).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_stalls_gives_way_to_one_that_waits() {
        let handshakes = Handshakes::new(1);
        let started = Instant::now();
        let (stalled, done) =
            tokio::join!(handshakes.run(pending::<()>()), async { handshakes.run(async { "done" }).await });
        assert_eq!((stalled, done), (Err(CrowdedOut), Ok("done")));
        assert!(started.elapsed() < KEPT_FOR * 2, "{:?}", started.elapsed());
        assert_eq!(handshakes.waiting.get(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_gave_up_waiting_throws_nobody_out() {
        let handshakes = Handshakes::new(1);
        let stalls = handshakes.run(pending::<()>());
        let impatient = tokio::time::timeout(KEPT_FOR / 2, handshakes.run(pending::<()>()));
        let (stalled, impatient) = tokio::join!(tokio::time::timeout(KEPT_FOR * 4, stalls), impatient);
        assert!(impatient.is_err());
        assert!(stalled.is_err(), "nobody waits any more");
    }
}
