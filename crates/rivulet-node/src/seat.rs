//! A seat: one open connection on a worker. A socket, a cursor, its sources and grants; no queue.
//!
//! ```text
//!  Reserved ──open──▶ Replaying ◀──fell off a ring── Live
//!      └─────open─────────┼──────────────────────────▶ ▲
//!                         └─read up to the ring────────┘
//!
//!  Replaying or Live ──part──▶ Parting ──took its rest, or took too long──▶ gone          any of them ──end──▶ gone
//! ```

use std::{
    io::{self, IoSlice},
    num::NonZero,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use bytes::{Buf, Bytes};
use rivulet_core::{Cursor, Dialect, Matcher};
use smallvec::SmallVec;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use uuid::Uuid;

use crate::{
    CloseReason, Holding,
    batch::{Batch, Reach},
    config::WRITE_FRAMES_MAX,
    delivery::Delivery,
    pins::PinKey,
    places::Place,
    replay::Replay,
    seat_trace::SeatTrace,
    socket::{Socket, Unsent},
    wheel::Tick,
};

/// Where a seat is in its life; see the module's documentation.
#[derive(Debug)]
pub(crate) enum Phase {
    /// Its sources are subscribed; the socket has not come yet.
    Reserved,
    /// It reads the log.
    Replaying(Box<Replay>),
    /// It reads the rings.
    Live,
    /// It was told to come back later, and takes what it was given before; nothing new is given to it.
    Parting,
}

/// A seat's place among the members of one source.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Membership {
    pub(crate) source: u32,
    pub(crate) index: u32,
}

/// What a client has sent after its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientInput {
    /// Nothing, or not more than could be thrown away; the waker is called when something comes.
    Nothing,
    /// More than is read in one go.
    More,
    /// Its end.
    Over,
}

/// See the module's documentation.
pub(crate) struct Seat {
    pub(crate) id: Uuid,
    /// Tells this seat from others that had or will have the same key.
    pub(crate) serial: u32,
    pub(crate) phase: Phase,
    pub(crate) socket: Option<Box<dyn Socket>>,
    pub(crate) waker: Waker,
    /// What is left of bytes whose writing has begun.
    pub(crate) partial: Bytes,
    /// Whether the socket holds bytes that it has taken and the kernel has not (TLS). They count as written, but until
    /// they are gone the seat is not level and nothing more is given to the socket.
    pub(crate) unsent: bool,
    /// Everything up to here has been written, or is in `partial`.
    pub(crate) cursor: Cursor,
    pub(crate) reach: Reach,
    pub(crate) memberships: SmallVec<[Membership; 2]>,
    /// What private updates it may receive.
    pub(crate) grants: Box<[Matcher]>,
    /// Whether it may have something still to take; its sources count it.
    pub(crate) behind: bool,
    /// Since when its socket takes nothing (the first tick of a worker counts as the second).
    pub(crate) blocked_since: Option<NonZero<Tick>>,
    pub(crate) last_write: Tick,
    /// When it was reserved.
    pub(crate) since: Tick,
    pub(crate) ends_at: Tick,
    pub(crate) ends_as: CloseReason,
    pub(crate) dialect: Dialect,
    /// Of what frame `partial` is the rest, if it has been counted.
    pub(crate) pin: Option<PinKey>,
    /// Whose connection it is, and what it holds of the hub's limits.
    pub(crate) holding: Option<Box<Holding>>,
    /// Of those whose request is recorded.
    pub(crate) trace: Option<Box<SeatTrace>>,
    pub(crate) _place: Place,
}

/// Most connections are idle, so what a node can hold is decided here.
const _: () = assert!(size_of::<Seat>() <= 224);

/// What became of a write.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wrote {
    /// All of it.
    All,
    /// A part of it.
    Part,
    /// Nothing; the seat is woken when the socket can take more.
    Blocked,
    /// The connection is broken.
    Gone,
}

/// What a write did, for the counters.
#[derive(Debug, Default)]
pub(crate) struct Written {
    pub(crate) bytes: u64,
    pub(crate) deliveries: u64,
    /// The length of the frame that was begun and not finished.
    pub(crate) begun_len: usize,
}

impl Seat {
    /// Whether this subscriber may have a delivery that matched.
    pub(crate) fn may_receive(&self, delivery: &Delivery) -> bool {
        !delivery.private || rivulet_core::grants::may_receive(&self.grants, &delivery.topics)
    }

    /// Has `bytes` written before everything that has not been begun.
    pub(crate) fn put_first(&mut self, bytes: Bytes) {
        if self.partial.is_empty() {
            self.partial = bytes;
        } else {
            self.partial = [&self.partial[..], &bytes].concat().into();
        }
    }

    /// Writes what is left of earlier bytes and then the batch, and moves the cursor.
    pub(crate) fn write(&mut self, batch: &Batch<'_>, written: &mut Written) -> Wrote {
        if self.unsent {
            match self.send_unsent() {
                Ok(Unsent::Nothing) => {}
                Ok(Unsent::Less | Unsent::Same) => return Wrote::Blocked,
                Err(_) => return Wrote::Gone,
            }
        }
        let mut slices: SmallVec<[IoSlice<'_>; WRITE_FRAMES_MAX + 1]> = SmallVec::new();
        if !self.partial.is_empty() {
            slices.push(IoSlice::new(&self.partial));
        }
        slices.extend(batch.frames().map(|bytes| IoSlice::new(bytes)));
        if slices.is_empty() {
            self.cursor.clone_from(&batch.through);
            return Wrote::All;
        }
        let Some(socket) = self.socket.as_mut() else { return Wrote::Blocked };
        let mut cx = Context::from_waker(&self.waker);
        let socket = Pin::new(socket);
        let result = match slices.as_slice() {
            [only] => socket.poll_write(&mut cx, only),
            many => socket.poll_write_vectored(&mut cx, many),
        };
        drop(slices);
        match result {
            Poll::Pending => Wrote::Blocked,
            Poll::Ready(Ok(0) | Err(_)) => Wrote::Gone,
            Poll::Ready(Ok(n)) => {
                written.bytes += n as u64;
                match (self.send_unsent(), self.advance(batch, n, written)) {
                    (Err(_), _) => Wrote::Gone,
                    // It comes back, finds that the socket still holds something, and waits.
                    (Ok(_), Wrote::All) if self.unsent => Wrote::Part,
                    (Ok(_), wrote) => wrote,
                }
            }
        }
    }

    /// Has the socket send what it still holds, and notes whether there is a rest.
    fn send_unsent(&mut self) -> io::Result<Unsent> {
        let Some(socket) = self.socket.as_mut() else { return Ok(Unsent::Nothing) };
        let unsent = socket.send_unsent(&mut Context::from_waker(&self.waker))?;
        self.unsent = unsent != Unsent::Nothing;
        if unsent == Unsent::Less {
            // The write deadline is for those who take nothing.
            self.blocked_since = None;
        }
        Ok(unsent)
    }

    /// Accounts for `n` written bytes.
    fn advance(&mut self, batch: &Batch<'_>, n: usize, written: &mut Written) -> Wrote {
        if n < self.partial.len() {
            self.partial.advance(n);
            return Wrote::Part;
        }
        let mut left = n - self.partial.len();
        self.partial = Bytes::new();
        for (nth, bytes) in batch.frames().enumerate() {
            if left == 0 {
                return Wrote::Part;
            }
            batch.move_to(nth, &mut self.cursor);
            written.deliveries += 1;
            if left < bytes.len() {
                self.partial = bytes.slice(left..);
                written.begun_len = bytes.len();
                return Wrote::Part;
            }
            left -= bytes.len();
        }
        self.cursor.clone_from(&batch.through);
        Wrote::All
    }

    /// For a socket that takes nothing: takes the first frame of the batch as begun, if no other is, so that there is
    /// something to write when the socket is ready, and what the batch was made of need not be kept until then. Answers
    /// how many frames were begun.
    pub(crate) fn begin(&mut self, batch: &Batch<'_>) -> u64 {
        match batch.frames().next() {
            Some(first) if self.partial.is_empty() => {
                self.partial = first.clone();
                batch.move_to(0, &mut self.cursor);
                1
            }
            Some(_) => 0,
            None => {
                self.cursor.clone_from(&batch.through);
                0
            }
        }
    }

    /// Reads so often and throws away what the client sends after its request. Answers how often there was something, too.
    pub(crate) fn drain_input(&mut self, reads_max: usize) -> (usize, ClientInput) {
        let Some(socket) = self.socket.as_mut() else { return (0, ClientInput::Nothing) };
        let mut cx = Context::from_waker(&self.waker);
        let mut scratch = [std::mem::MaybeUninit::uninit(); 16 * 1024];
        for reads in 0..reads_max {
            let mut buffer = ReadBuf::uninit(&mut scratch);
            match Pin::new(&mut *socket).poll_read(&mut cx, &mut buffer) {
                Poll::Pending => return (reads, ClientInput::Nothing),
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => return (reads, ClientInput::Over),
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Poll::Ready(Err(_)) => return (reads, ClientInput::Over),
            }
        }
        (reads_max, ClientInput::More)
    }

    /// The defect [`Fault::ForgetSeat`](rivulet_core::fault::Fault::ForgetSeat): socket, place, permit and turn are given
    /// back, and what else the seat was made of stays in memory.
    pub(crate) fn forget(self) {
        let Self { waker, partial, cursor, grants, holding, memberships, .. } = self;
        let client = holding.map(|holding| holding.client);
        std::mem::forget(Box::new((waker, partial, cursor, grants, client, memberships)));
    }

    /// Says goodbye to the peer, as far as that needs no waiting.
    pub(crate) fn close(&mut self, reason: CloseReason) {
        let Some(mut socket) = self.socket.take() else { return };
        match reason {
            CloseReason::Stalled => socket.reset_on_close(),
            CloseReason::ClientGone => {}
            _ => {
                let mut cx = Context::from_waker(Waker::noop());
                let _ = Pin::new(&mut socket).poll_shutdown(&mut cx);
            }
        }
    }
}
