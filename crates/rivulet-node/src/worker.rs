//! A worker: one thread's share of a node. One task takes input, serves slices and looks at the time.

use std::{
    cell::RefCell,
    future::poll_fn,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use rivulet_core::Position;
use tokio::{
    sync::mpsc,
    time::{Instant, Interval, MissedTickBehavior},
};

use crate::{
    CloseReason, Page, TransportError,
    config::INTAKE_LEN_MAX,
    delivery::{Delivery, Input},
    node::NodeShared,
    ready::ReadyList,
    replay::read_page,
    reservation::Reservation,
    seat::{Phase, Seat},
    seats::Seats,
    socket::Socket,
    stats::count,
    subscribe::{SubscribeError, SubscribeRequest},
    wheel::{TICK, Tick, ticks},
};

/// The handle of this thread's worker. Cheap to clone; stays on its thread.
#[derive(Clone)]
pub struct Worker(pub(crate) Rc<WorkerShared>);

pub(crate) struct WorkerShared {
    pub(crate) node: Arc<NodeShared>,
    pub(crate) ready: Arc<ReadyList>,
    pub(crate) seats: RefCell<Seats>,
    started: Instant,
}

/// What only the worker's task touches.
struct Intake {
    inbox: mpsc::Receiver<Input>,
    inputs: Vec<Input>,
    clock: Interval,
    keys: Vec<usize>,
}

impl Worker {
    /// Starts a worker on this thread, which must be able to spawn local tasks.
    pub(crate) fn start(node: Arc<NodeShared>, seats: Seats, inbox: mpsc::Receiver<Input>) -> Self {
        let mut clock = tokio::time::interval(TICK);
        clock.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let shared = Rc::new(WorkerShared {
            node,
            ready: Arc::default(),
            seats: RefCell::new(seats),
            started: Instant::now(),
        });
        let intake = Intake { inbox, inputs: Vec::new(), clock, keys: Vec::new() };
        // Dispatch writes to sockets without a task of their own; tokio's cooperative budget would make it believe
        // after 128 of them that all sockets were full.
        tokio::task::spawn_local(tokio::task::unconstrained(run(shared.clone(), intake)));
        Self(shared)
    }

    /// Reserves a seat: takes a place, subscribes, and finds where the subscriber continues. When it returns, every
    /// update published from now on, on any node, will reach the seat. Dropping the reservation gives everything back.
    ///
    /// # Errors
    ///
    /// See [`SubscribeError`].
    pub async fn reserve(&self, request: SubscribeRequest) -> Result<Reservation, SubscribeError> {
        Reservation::make(self.0.clone(), request).await
    }
}

impl WorkerShared {
    pub(crate) fn now(&self) -> Tick {
        ticks(self.started.elapsed())
    }

    /// Gives a reserved seat its socket and starts the stream with `head`.
    pub(crate) fn open(self: &Rc<Self>, key: usize, socket: Box<dyn Socket>, head: Bytes) {
        let mut seats = self.seats.borrow_mut();
        let now = self.now();
        let seat = &mut seats.seats[key];
        let serial = seat.serial;
        seat.socket = Some(socket);
        seat.partial = head;
        seat.last_write = now;
        count(&seats.stats.opened, 1);
        tracing::debug!(subscriber.id = %seats.seats[key].id, "stream opened");
        // A seat enters the wheel when it gets its socket; before that, the handler's own time limits hold.
        let soon = now + 1;
        seats.wheel.insert((key, serial), soon);
        if !self.node.is_open() {
            // The node began to stop after this seat was reserved.
            seats.end(key, CloseReason::NodeShutdown);
        }
        if seats.get(key, serial).is_some() {
            seats.look_for_input(key);
        }
        if seats.get(key, serial).is_some() {
            seats.serve(key);
        }
        drop(seats);
        self.start_reads();
    }

    /// Starts the reads of the log that seats have asked for, and sees to it that seats whose turn ended are served on.
    pub(crate) fn start_reads(self: &Rc<Self>) {
        let wanted = std::mem::take(&mut self.seats.borrow_mut().reads_wanted);
        for (key, serial) in wanted {
            let mut seats = self.seats.borrow_mut();
            let Some(Phase::Replaying(replay)) = seats.get(key, serial).map(|seat| &mut seat.phase) else {
                continue;
            };
            replay.reading = true;
            let (selection, after) = (replay.selection.clone(), replay.through);
            let shared = self.clone();
            tokio::task::spawn_local(async move {
                let page = shared.node.on_runtime(read_limited(shared.node.clone(), selection, after)).await;
                shared.take_page(key, serial, page);
            });
        }
        if !self.seats.borrow().passes.unfinished.is_empty() {
            self.ready.wake_task();
        }
    }

    fn take_page(self: &Rc<Self>, key: usize, serial: u32, page: Result<Page, TransportError>) {
        let mut seats = self.seats.borrow_mut();
        let Some(seat) = seats.get(key, serial) else { return };
        match page {
            Ok(page) => {
                seat.take_page(&page);
                seats.serve(key);
            }
            Err(error) => {
                tracing::warn!(subscriber.id = %seat.id, %error, "the log could not be read for a replay");
                seats.end(key, CloseReason::ReplayFailed);
            }
        }
        drop(seats);
        self.start_reads();
    }
}

impl Seat {
    /// Takes what this subscriber may have of a page.
    pub(crate) fn take_page(&mut self, page: &Page) {
        let entries = page.entries.iter().filter(|entry| {
            let topics = &entry.update.topics;
            !entry.update.private || rivulet_core::grants::may_receive(&self.grants, topics)
        });
        let pending = entries.map(|entry| Delivery::new(entry, Default::default())).collect();
        if let Phase::Replaying(replay) = &mut self.phase {
            replay.take_page(page, pending);
        }
    }
}

/// Reads one page, with at most so many reads at the same time on this node.
pub(crate) async fn read_limited(
    node: Arc<NodeShared>,
    selection: crate::Selection,
    after: Position,
) -> Result<Page, TransportError> {
    let _permit =
        node.replay_reads.acquire().await.map_err(|_| TransportError::new("the node has stopped"))?;
    read_page(&*node.transport, &selection, after).await
}

async fn run(shared: Rc<WorkerShared>, mut intake: Intake) {
    while poll_fn(|cx| shared.poll_work(&mut intake, cx)).await == Work::Some {
        shared.turn(&mut intake);
        shared.start_reads();
        // Other tasks and the reactor have their turn between two slices.
        tokio::task::yield_now().await;
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Work {
    Some,
    /// The node is gone.
    End,
}

impl WorkerShared {
    /// Waits until there is something to do: input, a ready socket, a tick, or subscribers that are still to be served.
    fn poll_work(&self, intake: &mut Intake, cx: &mut Context<'_>) -> Poll<Work> {
        let seats = self.seats.borrow();
        let mut found = self.ready.register(cx.waker());
        found |= !seats.passes.dirty.is_empty() || !seats.passes.unfinished.is_empty();
        if seats.passes.congested == 0 {
            match intake.inbox.poll_recv_many(cx, &mut intake.inputs, INTAKE_LEN_MAX) {
                Poll::Ready(0) => return Poll::Ready(Work::End),
                Poll::Ready(_) => found = true,
                Poll::Pending => {}
            }
        }
        found |= intake.clock.poll_tick(cx).is_ready();
        if found { Poll::Ready(Work::Some) } else { Poll::Pending }
    }

    fn turn(&self, intake: &mut Intake) {
        let mut seats = self.seats.borrow_mut();
        let now = self.now();
        seats.advance_time(now);
        for input in intake.inputs.drain(..) {
            match input {
                Input::Deliver(delivery) => seats.deliver(&delivery),
                Input::Verified(position) => seats.verified = seats.verified.max(position),
                Input::Close => seats.end_all(CloseReason::NodeShutdown),
            }
        }
        self.ready.drain(&mut intake.keys);
        for key in intake.keys.drain(..) {
            seats.look_for_input(key);
            if seats.seats.get(key).is_some_and(|seat| seat.behind) {
                seats.serve(key);
            }
        }
        for (key, serial) in std::mem::take(&mut seats.passes.unfinished) {
            if seats.get(key, serial).is_some() {
                seats.serve(key);
            }
        }
        seats.slice();
        seats.publish_stats();
    }
}

impl Seats {
    /// Throws away what a client sends, and ends its seat if it is gone.
    pub(crate) fn look_for_input(&mut self, key: usize) {
        if self.seats.get_mut(key).is_some_and(Seat::drain_input) {
            self.end(key, CloseReason::ClientGone);
        }
    }

    pub(crate) fn end_all(&mut self, reason: CloseReason) {
        let open: Vec<usize> =
            self.seats.iter().filter(|(_, seat)| seat.socket.is_some()).map(|(key, _)| key).collect();
        for key in open {
            self.end(key, reason);
        }
    }
}
