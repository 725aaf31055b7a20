//! How sockets wake their seats without a task per connection.
//!
//! Each seat has a waker of its own, which the reactor calls when its socket becomes readable or writable. It puts the
//! seat on the worker's ready list and wakes the worker's one task.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::AcqRel},
    },
    task::{Wake, Waker},
};

use parking_lot::Mutex;

/// For how many ready seats a worker keeps room. More at once, as when a proxy goes, are rare.
pub(crate) const ROOM_KEPT: usize = 256;

/// The seats of one worker whose sockets became ready.
#[derive(Debug, Default)]
pub(crate) struct ReadyList(Mutex<List>);

#[derive(Debug, Default)]
struct List {
    seats: Vec<Arc<SeatWaker>>,
    task: Option<Waker>,
}

/// Wakes one seat. At most once in the list, so the list is no longer than the seats are many.
#[derive(Debug)]
pub(crate) struct SeatWaker {
    key: usize,
    listed: AtomicBool,
    list: Arc<ReadyList>,
}

impl SeatWaker {
    /// The waker of the seat with this key.
    pub(crate) fn waker(key: usize, list: &Arc<ReadyList>) -> Waker {
        Waker::from(Arc::new(Self { key, listed: AtomicBool::new(false), list: list.clone() }))
    }
}

impl Wake for SeatWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.listed.swap(true, AcqRel) {
            return;
        }
        let mut list = self.list.0.lock();
        list.seats.push(self.clone());
        if let Some(task) = list.task.take() {
            drop(list);
            task.wake();
        }
    }
}

impl ReadyList {
    /// Names the task to wake when a seat becomes ready. Answers whether one is already.
    pub(crate) fn register(&self, task: &Waker) -> bool {
        let mut list = self.0.lock();
        if !list.task.as_ref().is_some_and(|known| known.will_wake(task)) {
            list.task = Some(task.clone());
        }
        !list.seats.is_empty()
    }

    /// Wakes the worker's task for another reason than a socket.
    pub(crate) fn wake_task(&self) {
        let task = self.0.lock().task.take();
        if let Some(task) = task {
            task.wake();
        }
    }

    /// Takes the ready seats. A seat may have been ended and its key given to another in between; to look at a seat
    /// that is not ready is harmless.
    pub(crate) fn drain(&self, keys: &mut Vec<usize>) {
        let mut list = self.0.lock();
        for seat in list.seats.drain(..) {
            seat.listed.store(false, std::sync::atomic::Ordering::Release);
            keys.push(seat.key);
        }
        list.seats.shrink_to(ROOM_KEPT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_leaves_no_room_behind() {
        let (list, mut keys) = (Arc::new(ReadyList::default()), Vec::new());
        for key in 0..100 * ROOM_KEPT {
            let waker = SeatWaker::waker(key, &list);
            waker.wake_by_ref();
            waker.wake();
        }
        list.drain(&mut keys);
        assert_eq!(keys, (0..100 * ROOM_KEPT).collect::<Vec<_>>());
        assert!(list.0.lock().seats.capacity() <= ROOM_KEPT);
    }
}
