//! A socket that takes bytes before the kernel does, as TLS does.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use rivulet_node::{CloseReason, NodeConfig, Socket, SubscribeRequest, Unsent};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::sleep,
};

use crate::harness::{Hub, exact, local};

/// How much the socket holds at most.
const HELD_MAX: usize = 64;

/// Both sides of a connection: what the socket holds, and what the kernel has taken.
#[derive(Default)]
struct Pipe {
    held: Vec<u8>,
    taken: Vec<u8>,
    /// How many bytes the kernel takes now.
    room: usize,
    waker: Option<Waker>,
}

#[derive(Clone, Default)]
struct Holder(Arc<Mutex<Pipe>>);

impl Holder {
    /// Lets the kernel take so many bytes more.
    fn make_room(&self, len: usize) {
        let mut pipe = self.0.lock().unwrap();
        pipe.room = pipe.room.saturating_add(len);
        if let Some(waker) = pipe.waker.take() {
            waker.wake();
        }
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().taken.clone()).unwrap()
    }

    fn holds(&self) -> usize {
        self.0.lock().unwrap().held.len()
    }

    async fn open(&self, hub: &Hub, request: SubscribeRequest) {
        let reservation = hub.reserve(request).await.expect("a place is free");
        reservation.open(Box::new(self.clone()), Bytes::from_static(b":\n"));
    }
}

impl Pipe {
    fn send(&mut self, cx: &mut Context<'_>) -> Unsent {
        let n = self.room.min(self.held.len());
        self.room -= n;
        self.taken.extend(self.held.drain(..n));
        if self.held.is_empty() {
            return Unsent::Nothing;
        }
        self.waker = Some(cx.waker().clone());
        if n > 0 { Unsent::Less } else { Unsent::Same }
    }
}

impl Socket for Holder {
    fn reset_on_close(&self) {}

    fn send_unsent(&mut self, cx: &mut Context<'_>) -> io::Result<Unsent> {
        Ok(self.0.lock().unwrap().send(cx))
    }
}

impl AsyncRead for Holder {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for Holder {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut pipe = self.0.lock().unwrap();
        let n = bytes.len().min(HELD_MAX - pipe.held.len());
        pipe.held.extend(&bytes[..n]);
        pipe.send(cx);
        if n == 0 { Poll::Pending } else { Poll::Ready(Ok(n)) }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn quiet() -> NodeConfig {
    NodeConfig { heartbeat: None, lifetime: None, ..NodeConfig::default() }
}

#[tokio::test(start_paused = true)]
async fn what_a_socket_holds_is_sent_as_soon_as_the_kernel_takes_it() {
    local(async {
        let (hub, socket) = (Hub::start(quiet()), Holder::default());
        socket.make_room(2);
        socket.open(&hub, exact(&["a"])).await;
        assert_eq!(socket.text(), ":\n");
        let id = hub.publish(&["a"], "1").await;
        sleep(Duration::from_secs(1)).await;
        assert!(socket.holds() > 0);
        assert_eq!(hub.node.stats().behind, 1, "not level before the kernel has it");
        socket.make_room(10_000);
        sleep(Duration::from_millis(1)).await;
        assert_eq!(socket.text(), format!(":\nid: {id}\ndata: 1\n\n"));
        sleep(Duration::from_secs(1)).await;
        assert_eq!(hub.node.stats().behind, 0);
        sleep(Duration::from_secs(100)).await;
        assert_eq!(hub.node.stats().connections, 1, "nothing counts towards the deadline any more");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_socket_from_which_the_kernel_takes_nothing_is_ended_as_stalled() {
    local(async {
        let (hub, socket) = (Hub::start(quiet()), Holder::default());
        socket.open(&hub, exact(&["a"])).await;
        hub.publish(&["a"], "1").await;
        sleep(Duration::from_secs(19)).await;
        assert_eq!(hub.node.stats().connections, 1);
        sleep(Duration::from_secs(3)).await;
        assert_eq!(hub.node.stats().closed[CloseReason::Stalled as usize], 1);
        hub.is_empty_again().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_reads_slowly_is_not_stalled_and_misses_nothing() {
    local(async {
        let (hub, socket) = (Hub::start(quiet()), Holder::default());
        socket.open(&hub, exact(&["a"])).await;
        let mut expected = ":\n".to_owned();
        for n in 0..20 {
            let id = hub.publish(&["a"], &format!("update {n}")).await;
            expected.push_str(&format!("id: {id}\ndata: update {n}\n\n"));
            sleep(Duration::from_secs(15)).await;
            socket.make_room(1);
        }
        sleep(Duration::from_millis(1)).await;
        assert_eq!(socket.text(), expected[..20]);
        socket.make_room(usize::MAX >> 1);
        sleep(Duration::from_secs(1)).await;
        assert_eq!(socket.text(), expected);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_replay_through_a_socket_that_holds_bytes_says_everything_once() {
    local(async {
        let hub = Hub::start(quiet());
        let first = hub.publish(&["a"], "first").await;
        let mut expected = ":\n".to_owned();
        for n in 0..300 {
            let id = hub.publish(&["a"], &n.to_string()).await;
            expected.push_str(&format!("id: {id}\ndata: {n}\n\n"));
        }
        for step in [1, 7, HELD_MAX - 1, HELD_MAX, HELD_MAX + 1, 1000] {
            let socket = Holder::default();
            socket.open(&hub, hub.resuming(exact(&["a"]), &first)).await;
            while socket.text().len() < expected.len() {
                let before = socket.text().len();
                socket.make_room(step);
                sleep(Duration::from_millis(1)).await;
                assert!(socket.text().len() > before, "stuck at {before} in steps of {step}");
            }
            assert_eq!(socket.text(), expected, "in steps of {step}");
        }
    })
    .await;
}
