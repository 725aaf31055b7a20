//! A stream that can be taken out from under actix.
//!
//! actix's HTTP service is generic over its stream. [`Handover`] wraps the real one in a slot; the subscribe handler
//! empties the slot through the connection's [`Taker`]. [`drive`] then drops actix's whole state of the connection,
//! the handler's future included, whatever is still in its buffers: nothing is written, nothing is logged, and input
//! that a client had sent ahead cannot keep actix busy.

use std::{
    cell::{Cell, RefCell},
    fmt, io,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, Waker},
};

use futures_util::future::poll_fn;
use rivulet_node::Socket;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How often actix may be woken in a row without reading or writing a byte. What our handlers wait for wakes them a few
/// times; a client that sends more requests ahead than actix' buffer takes makes it wake itself without end, one core
/// per connection, until the handler is done.
const IDLE_POLLS_MAX: u32 = 10_000;

/// Where a connection's socket is as long as actix has it.
pub(crate) struct Slot<S> {
    socket: RefCell<Option<S>>,
    /// Whether actix has written something that the socket has not taken completely.
    unflushed: Cell<bool>,
    /// How often actix was woken since it last read or wrote a byte.
    idle_polls: Cell<u32>,
    /// Who waits for [`Slot::unflushed`] to become false.
    waiting: Cell<Option<Waker>>,
}

/// The stream that actix sees.
pub(crate) struct Handover<S>(Rc<Slot<S>>);

impl<S> Handover<S> {
    pub(crate) fn new(slot: Rc<Slot<S>>) -> Self {
        Self(slot)
    }

    /// What empties this stream's slot.
    pub(crate) fn taker(&self) -> Taker
    where
        S: Socket + 'static,
    {
        Taker(self.0.clone())
    }
}

impl<S> Slot<S> {
    pub(crate) fn new(socket: S) -> Rc<Self> {
        Rc::new(Self {
            socket: RefCell::new(Some(socket)),
            unflushed: Cell::new(false),
            idle_polls: Cell::new(0),
            waiting: Cell::default(),
        })
    }

    fn is_empty(&self) -> bool {
        self.socket.borrow().is_none()
    }

    /// Whether actix only keeps itself busy.
    fn is_spinning(&self) -> bool {
        self.idle_polls.set(self.idle_polls.get().saturating_add(1));
        self.idle_polls.get() > IDLE_POLLS_MAX
    }

    /// Only what moves bytes counts: a client that sends ahead and reads nothing has actix try to write without end.
    fn note_write(&self, written: &Poll<io::Result<usize>>) {
        if matches!(written, Poll::Ready(Ok(_))) {
            self.idle_polls.set(0);
        }
        if !matches!(written, Poll::Ready(Err(_))) {
            self.unflushed.set(true);
        }
    }

    fn note_flush(&self, flushed: &Poll<io::Result<()>>) {
        if matches!(flushed, Poll::Ready(Ok(()))) {
            self.unflushed.set(false);
            if let Some(waker) = self.waiting.take() {
                waker.wake();
            }
        }
    }
}

/// What the taker needs of a slot, whatever stream is in it.
trait Emptied {
    fn take(&self) -> Option<Box<dyn Socket>>;
    fn poll_flushed(&self, cx: &mut Context<'_>) -> Poll<()>;
}

impl<S: Socket + 'static> Emptied for Slot<S> {
    fn take(&self) -> Option<Box<dyn Socket>> {
        self.socket.borrow_mut().take().map(|socket| Box::new(socket) as Box<dyn Socket>)
    }

    fn poll_flushed(&self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.unflushed.get() {
            return Poll::Ready(());
        }
        self.waiting.set(Some(cx.waker().clone()));
        Poll::Pending
    }
}

/// Takes a connection's socket; kept in the connection's data.
#[derive(Clone)]
pub(crate) struct Taker(Rc<dyn Emptied>);

impl Taker {
    /// Waits until the answers to earlier requests on this connection have left actix's buffer. A client that sends
    /// several requests at once would lose them otherwise.
    pub(crate) async fn flushed(&self) {
        // actix writes after it has polled the handler, so the first look would come too early.
        let mut looked = false;
        poll_fn(|cx| {
            if looked {
                return self.0.poll_flushed(cx);
            }
            looked = true;
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    /// The socket, once.
    pub(crate) fn take(&self) -> Option<Box<dyn Socket>> {
        self.0.take()
    }
}

impl fmt::Debug for Taker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Taker")
    }
}

/// Runs actix's side of a connection until it ends, the slot is emptied, or a client makes it spin.
pub(crate) async fn drive<S, E>(
    slot: Rc<Slot<S>>,
    dispatcher: impl Future<Output = Result<(), E>>,
) -> Result<(), E> {
    let mut dispatcher = pin!(dispatcher);
    // The slot can only be emptied by a handler, which runs inside of the dispatcher: looking afterwards is enough.
    poll_fn(|cx| match dispatcher.as_mut().poll(cx) {
        Poll::Pending if slot.is_empty() || slot.is_spinning() => Poll::Ready(Ok(())),
        polled => polled,
    })
    .await
}

fn handed_over() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "the socket was handed over")
}

impl<S: AsyncRead + Unpin> AsyncRead for Handover<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let filled = buf.filled().len();
        let read = match self.0.socket.borrow_mut().as_mut() {
            Some(socket) => Pin::new(socket).poll_read(cx, buf),
            None => Poll::Ready(Ok(())),
        };
        if buf.filled().len() > filled {
            self.0.idle_polls.set(0);
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Handover<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = match self.0.socket.borrow_mut().as_mut() {
            Some(socket) => Pin::new(socket).poll_write(cx, buf),
            None => Poll::Ready(Err(handed_over())),
        };
        self.0.note_write(&written);
        written
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = match self.0.socket.borrow_mut().as_mut() {
            Some(socket) => Pin::new(socket).poll_flush(cx),
            None => Poll::Ready(Err(handed_over())),
        };
        self.0.note_flush(&flushed);
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.0.socket.borrow_mut().as_mut() {
            Some(socket) => Pin::new(socket).poll_shutdown(cx),
            None => Poll::Ready(Ok(())),
        }
    }
}
