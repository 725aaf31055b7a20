//! The memory that bodies hold, from their first byte until what they bring has been handed over: bounded over all
//! workers, since every publisher may send a whole batch at once, and shared between those who send.
//!
//! All bodies of one subject together may hold half of what the bodies of others leave; a single one may hold what there
//! is. So however many slow bodies a publisher begins, half of the memory stays free for the next one, and of two
//! that do so a third. No number has to be configured for that: who is alone has most of it.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use parking_lot::Mutex;

use crate::stats::HttpStats;

/// How much room the table keeps when most have gone.
const KEPT_LEN: usize = 64;

/// What all bodies hold.
#[derive(Debug)]
pub(crate) struct Bodies {
    /// Where the sum stands; it is changed under the lock only.
    stats: Arc<HttpStats>,
    bytes_max: AtomicUsize,
    /// By subject. No longer than the list of bodies under way: who holds nothing is not in it.
    held: Mutex<HashMap<Arc<str>, usize>>,
}

/// What one body holds; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct BodyMemory {
    bodies: Arc<Bodies>,
    subject: Arc<str>,
    bytes: usize,
}

/// Why there is no room for a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodiesBusy {
    /// All bodies together may hold so many bytes.
    All(usize),
    /// Those of this subject may hold so many now.
    OfSubject(usize),
}

impl Bodies {
    /// Bodies that may hold so many bytes together.
    pub(crate) fn new(stats: Arc<HttpStats>, bytes_max: usize) -> Self {
        Self { stats, bytes_max: AtomicUsize::new(bytes_max), held: Mutex::default() }
    }

    /// How many bytes they may hold from now on. If they hold more, what they hold stays, and no more is given.
    pub(crate) fn set_bytes_max(&self, bytes_max: usize) {
        self.bytes_max.store(bytes_max, Relaxed);
    }

    /// A body that holds nothing yet, and whose it is.
    pub(crate) fn begin(self: &Arc<Self>, subject: &Arc<str>) -> BodyMemory {
        BodyMemory { bodies: self.clone(), subject: subject.clone(), bytes: 0 }
    }
}

impl BodyMemory {
    /// Whose body it is.
    pub(crate) fn subject(&self) -> &str {
        &self.subject
    }

    /// Whether there is room for so many bytes now. Nothing is taken: who announces a long body and never sends it
    /// must not keep others out.
    pub(crate) fn check_room(&self, bytes: u64) -> Result<(), BodiesBusy> {
        let held = self.bodies.held.lock();
        self.check(&held, usize::try_from(bytes).unwrap_or(usize::MAX))
    }

    /// Takes so many bytes more.
    pub(crate) fn take(&mut self, more: usize) -> Result<(), BodiesBusy> {
        let mut held = self.bodies.held.lock();
        self.check(&held, more)?;
        self.bodies.stats.body_bytes.fetch_add(more, Relaxed);
        *held.entry(self.subject.clone()).or_insert(0) += more;
        self.bytes += more;
        Ok(())
    }

    fn check(&self, held: &HashMap<Arc<str>, usize>, more: usize) -> Result<(), BodiesBusy> {
        let (all, max) = (self.bodies.stats.body_bytes.load(Relaxed), self.bodies.bytes_max.load(Relaxed));
        if more > max.saturating_sub(all) {
            return Err(BodiesBusy::All(max));
        }
        let own = held.get(&self.subject).copied().unwrap_or(0);
        let share = max.saturating_sub(all - own) / 2;
        let is_only_one = own == self.bytes;
        if is_only_one || own + more <= share { Ok(()) } else { Err(BodiesBusy::OfSubject(share)) }
    }
}

impl Drop for BodyMemory {
    fn drop(&mut self) {
        if self.bytes == 0 {
            return;
        }
        let mut held = self.bodies.held.lock();
        self.bodies.stats.body_bytes.fetch_sub(self.bytes, Relaxed);
        if let Some(own) = held.get_mut(&self.subject) {
            *own -= self.bytes;
            if *own == 0 {
                held.remove(&self.subject);
            }
        }
        if held.capacity() > KEPT_LEN.max(4 * held.len()) {
            held.shrink_to(KEPT_LEN);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bodies(bytes_max: usize) -> (Arc<HttpStats>, Arc<Bodies>) {
        let stats = Arc::new(HttpStats::default());
        (stats.clone(), Arc::new(Bodies::new(stats, bytes_max)))
    }

    #[test]
    fn bodies_share_one_bound_and_give_back_what_they_held() {
        let (stats, bodies) = bodies(100);
        let [mut first, mut second] = ["a", "b"].map(|subject| bodies.begin(&subject.into()));
        assert_eq!((first.check_room(100), first.check_room(101)), (Ok(()), Err(BodiesBusy::All(100))));
        first.take(60).unwrap();
        second.take(40).unwrap();
        let full = Err(BodiesBusy::All(100));
        assert_eq!([second.take(1), first.take(usize::MAX), first.check_room(u64::MAX)], [full; 3]);
        drop(first);
        second.take(60).unwrap();
        assert_eq!(stats.snapshot().body_bytes, 100);
        drop(second);
        assert_eq!(stats.snapshot().body_bytes, 0);
        assert!(bodies.held.lock().is_empty());
    }

    #[test]
    fn bodies_of_one_subject_leave_as_much_as_they_hold() {
        let (stats, bodies) = bodies(100);
        let begin = |subject: &str| bodies.begin(&subject.into());
        let slow: Vec<BodyMemory> = std::iter::repeat_with(|| {
            let mut body = begin("slow");
            body.take(10).map(|()| body)
        })
        .map_while(Result::ok)
        .take(100)
        .collect();
        assert_eq!(slow.len(), 5, "half of it");
        assert_eq!(begin("slow").check_room(1), Err(BodiesBusy::OfSubject(50)));
        let mut other = begin("other");
        other.take(30).unwrap();
        assert_eq!(begin("slow").take(1), Err(BodiesBusy::OfSubject(35)), "half of what the other leaves");
        assert_eq!(begin("other").take(1), Err(BodiesBusy::OfSubject(25)));
        other.take(20).expect("its only one may have what there is");
        assert_eq!(begin("third").take(1), Err(BodiesBusy::All(100)));
        drop(slow);
        assert_eq!(stats.snapshot().body_bytes, 50);
        begin("other").take(1).expect_err("half of it is what it holds");
        begin("third").take(50).unwrap();
        drop(other);
        assert_eq!(stats.snapshot().body_bytes, 0);
    }

    #[test]
    fn the_table_does_not_keep_room_for_those_who_have_gone() {
        let (_stats, bodies) = bodies(10_000);
        let all: Vec<BodyMemory> = (0..5_000)
            .map(|number| {
                let mut body = bodies.begin(&format!("{number}").into());
                body.take(1).unwrap();
                body
            })
            .collect();
        assert_eq!(bodies.held.lock().len(), 5_000);
        drop(all);
        let held = bodies.held.lock();
        assert!(held.is_empty() && held.capacity() <= 4 * KEPT_LEN, "{}", held.capacity());
    }
}
