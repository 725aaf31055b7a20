//! Questions to workers: what a worker holds is known on its thread only, so who wants to know has it look.

use tokio::sync::oneshot;

use crate::{
    config::{ASK_WAIT, SCAN_FOUND_MAX, SCAN_LEN},
    delivery::Input,
    node::NodeShared,
    seat::Seat,
    seats::Seats,
    wheel::Tick,
};

/// What a worker is to do between two slices; it must not take long.
pub(crate) type Question = Box<dyn FnOnce(&mut Seats) + Send>;

impl NodeShared {
    /// Has a worker answer a question. `None` if it has ended, or does not answer in time.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        worker: u8,
        question: impl FnOnce(&mut Seats) -> T + Send + 'static,
    ) -> Option<T> {
        let inbox = self.workers.inbox(worker)?;
        let (answer, answered) = oneshot::channel();
        let question: Question = Box::new(move |seats| {
            if !answer.is_closed() {
                // Who asked may have gone meanwhile.
                let _ = answer.send(question(seats));
            }
        });
        let asked = async {
            inbox.send(Input::Ask(question)).await.ok()?;
            answered.await.ok()
        };
        tokio::time::timeout(ASK_WAIT, asked).await.ok().flatten()
    }
}

/// What was found among some seats of a worker, and where to look on, if there are more.
pub(crate) type Scanned<T> = (Vec<T>, Option<usize>);

impl Seats {
    /// Looks at seats from a key on: at so many that other work of the worker does not wait long.
    pub(crate) fn scan<T>(
        &self,
        from: usize,
        found_max: usize,
        mut look: impl FnMut(usize, &Seat) -> Option<T>,
    ) -> Scanned<T> {
        let mut found = Vec::new();
        let to = from.saturating_add(SCAN_LEN).min(self.seats.capacity());
        for key in from..to {
            found.extend(self.seats.get(key).and_then(|seat| look(key, seat)));
            if found.len() >= found_max.min(SCAN_FOUND_MAX) {
                return (found, Some(key + 1));
            }
        }
        (found, Some(to).filter(|to| *to < self.seats.capacity()))
    }

    /// For how many ticks a seat has been there.
    pub(crate) fn age(&self, seat: &Seat) -> Tick {
        self.wheel.now().saturating_sub(seat.since)
    }
}
