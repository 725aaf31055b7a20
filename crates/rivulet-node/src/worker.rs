//! A worker: one thread's share of a node. One task takes input, serves slices and looks at the time.

use std::{
    cell::{Cell, RefCell, RefMut},
    future::poll_fn,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use opentelemetry::{KeyValue, context::FutureExt as _, trace::SpanKind};
use tokio::{
    sync::mpsc,
    time::{Instant, Interval, MissedTickBehavior},
};

use crate::{
    CloseReason, Holding, NodePhase,
    census::StreamState,
    config::{INTAKE_LEN_MAX, READ_PAUSE},
    delivery::Input,
    message_span::number,
    node::NodeShared,
    pages::{Ask, SharedPage},
    ready::{ROOM_KEPT, ReadyList},
    reservation::Reservation,
    seat::Phase,
    seat_trace::SeatTrace,
    seats::Seats,
    socket::Socket,
    stats::count,
    subscribe::{SubscribeError, SubscribeRequest},
    trace::Span,
    wheel::{TICK, Tick, ticks},
};

/// The handle of this thread's worker. Cheap to clone; stays on its thread.
#[derive(Clone)]
pub struct Worker(pub(crate) Rc<WorkerShared>);

pub(crate) struct WorkerShared {
    pub(crate) node: Arc<NodeShared>,
    pub(crate) ready: Arc<ReadyList>,
    pub(crate) seats: RefCell<Seats>,
    /// Whether the task has ended.
    ended: Cell<bool>,
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
            ended: Cell::new(false),
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
    /// `holding` is what the connection holds of the hub's limits; `None`: nobody counts it.
    ///
    /// # Errors
    ///
    /// See [`SubscribeError`].
    pub async fn reserve(
        &self,
        request: SubscribeRequest,
        holding: Option<Holding>,
    ) -> Result<Reservation, SubscribeError> {
        let trace = SeatTrace::of_request();
        let span = Span::child("reserve", SpanKind::Internal, || {
            [KeyValue::new("rivulet.matchers", number(request.matchers.len() as u64))]
        });
        let reserved = span.within(Reservation::make(self.0.clone(), request, holding, trace)).await;
        if let Err(error) = &reserved {
            error.note_in(&span);
        }
        span.end();
        reserved.inspect_err(|error| self.0.node.count_refusal(error))
    }
}

impl WorkerShared {
    /// Whether nobody serves seats here any more, or will soon.
    pub(crate) fn is_closed(&self) -> bool {
        self.ended.get() || self.node.phase.get() == NodePhase::Closed
    }

    pub(crate) fn now(&self) -> Tick {
        ticks(self.started.elapsed())
    }

    /// The seats, for work whose time is counted until [`Seats::end_work`].
    pub(crate) fn begin_work(&self) -> RefMut<'_, Seats> {
        let mut seats = self.seats.borrow_mut();
        seats.begin_work(self.now(), self.node.transport.clock_offset_micros());
        seats
    }

    /// Gives a reserved seat its socket and starts the stream with `head`.
    pub(crate) fn open(self: &Rc<Self>, key: usize, socket: Box<dyn Socket>, head: Bytes) {
        let mut seats = self.begin_work();
        let now = self.now();
        let seat = &mut seats.seats[key];
        let serial = seat.serial;
        seat.socket = Some(socket);
        let (state, dialect) = (StreamState::of(seat), seat.dialect);
        // What the subscriber is told first, if anything, stands there already.
        let told = std::mem::replace(&mut seat.partial, head);
        seat.put_first(told);
        seat.last_write = now;
        seats.reserved -= 1;
        seats.census.moves(dialect, StreamState::Reserved, state);
        count(&seats.stats.opened, 1);
        tracing::debug!(subscriber.id = %seats.seats[key].id, "stream opened");
        // A seat enters the wheel when it gets its socket; before that, the handler's own time limits hold.
        let soon = now + 1;
        seats.wheel.insert((key, serial), soon);
        if self.is_closed() {
            // The node was stopped after this seat was reserved. (While it drains, its last slice lets it go.)
            seats.end(key, CloseReason::NodeShutdown);
        }
        if seats.get(key, serial).is_some() {
            seats.look_for_input(key);
        }
        if seats.get(key, serial).is_some() {
            seats.serve(key);
        }
        seats.end_work();
        drop(seats);
        self.start_reads();
    }

    /// Starts the reads of the log that seats have asked for, and sees to it that seats whose turn ended are served on.
    pub(crate) fn start_reads(self: &Rc<Self>) {
        let wanted = std::mem::take(&mut self.seats.borrow_mut().reads_wanted);
        for (key, serial) in wanted {
            let mut seats = self.seats.borrow_mut();
            let Some(seat) = seats.get(key, serial) else { continue };
            let Phase::Replaying(replay) = &mut seat.phase else { continue };
            let ask = replay.ask(&seat.cursor);
            let read = self.clone().read_for(key, serial, ask);
            replay.own(match seat.trace.as_ref().and_then(|trace| trace.replay()) {
                Some(context) => tokio::task::spawn_local(read.with_context(context)),
                None => tokio::task::spawn_local(read),
            });
        }
        if !self.seats.borrow().passes.unfinished.is_empty() {
            self.ready.wake_task();
        }
    }

    /// Reads the next page for a seat. Its stream stays open while the log cannot be read, which is tried again until it can
    /// be or the seat is gone, which owns the task.
    async fn read_for(self: Rc<Self>, key: usize, serial: u32, ask: Ask) {
        let [mut pause, pause_max] = READ_PAUSE;
        loop {
            match self.node.pages.read(ask.clone()).await {
                Ok(page) => {
                    if !page.more && page.through <= ask.after && page.through < ask.floor {
                        // The log's clock stands behind what the rings have seen: asking at once would not move it.
                        tokio::time::sleep(pause).await;
                    }
                    return self.take_page(key, serial, page);
                }
                Err(error) => {
                    tracing::debug!(%error, "the log could not be read for a replay; trying again");
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(pause_max);
        }
    }

    fn take_page(self: &Rc<Self>, key: usize, serial: u32, page: Arc<SharedPage>) {
        let mut seats = self.begin_work();
        let (partitions, stats) = (seats.partitions, seats.stats.clone());
        let Some(seat) = seats.get(key, serial) else { return };
        seat.take_page(page, partitions, &stats);
        seats.serve(key);
        seats.end_work();
        drop(seats);
        self.start_reads();
    }
}

/// Ends what a worker holds when its task ends, be it by a panic: a seat that nobody serves must not look alive.
struct EndOfTask(Rc<WorkerShared>);

impl Drop for EndOfTask {
    fn drop(&mut self) {
        self.0.ended.set(true);
        if let Ok(mut seats) = self.0.seats.try_borrow_mut() {
            seats.end_all(CloseReason::NodeShutdown);
            seats.publish_stats();
        }
    }
}

async fn run(shared: Rc<WorkerShared>, mut intake: Intake) {
    let _end = EndOfTask(shared.clone());
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
        if seats.passes.congested == 0 && !seats.rings_are_full() {
            match intake.inbox.poll_recv_many(cx, &mut intake.inputs, INTAKE_LEN_MAX) {
                Poll::Ready(0) => return Poll::Ready(Work::End),
                Poll::Ready(_) => found = true,
                Poll::Pending => {}
            }
        }
        found |= seats.floods.are_due(self.now());
        found |= intake.clock.poll_tick(cx).is_ready();
        if found { Poll::Ready(Work::Some) } else { Poll::Pending }
    }

    fn turn(&self, intake: &mut Intake) {
        let mut seats = self.begin_work();
        let now = self.now();
        seats.advance_time(now);
        for input in intake.inputs.drain(..) {
            match input {
                Input::Deliver(letter) => {
                    seats.deliver(letter.delivery());
                    seats.follow(&letter);
                }
                Input::Verified(partition, position) => seats.verify(partition, position),
                Input::Lost(loss) => seats.lose(&loss),
                Input::Ask(question) => question(&mut seats),
                Input::Drain(period) => seats.start_drain(now, period),
                Input::Close => seats.end_all(CloseReason::NodeShutdown),
            }
        }
        seats.drain_slice(now);
        seats.look_at_floods(now);
        self.ready.drain(&mut intake.keys);
        for key in intake.keys.drain(..) {
            seats.look_for_input(key);
            if seats.seats.get(key).is_some_and(|seat| seat.behind) {
                seats.serve(key);
            }
        }
        intake.keys.shrink_to(ROOM_KEPT);
        seats.serve_unfinished();
        seats.slice();
        seats.relieve_rings();
        seats.relieve_pins();
        seats.end_work();
        seats.publish_stats();
    }
}

impl Seats {
    pub(crate) fn end_all(&mut self, reason: CloseReason) {
        let open: Vec<usize> =
            self.seats.iter().filter(|(_, seat)| seat.socket.is_some()).map(|(key, _)| key).collect();
        for key in open {
            self.end(key, reason);
        }
    }
}
