//! Fairness: a flooded topic delays another topic's updates by a bounded number of writes.

use std::{
    cell::RefCell,
    io::{self, IoSlice},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use bytes::Bytes;
use rivulet_node::{NodeConfig, Socket};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::harness::{Hub, exact, local};

/// Who was written to, in order.
type Writes = Rc<RefCell<Vec<&'static str>>>;

/// A socket that takes everything and notes it.
struct Noting(&'static str, Writes);

impl Socket for Noting {
    fn reset_on_close(&self) {}
}

impl AsyncRead for Noting {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for Noting {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.1.borrow_mut().push(self.0);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        frames: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.1.borrow_mut().push(self.0);
        Poll::Ready(Ok(frames.iter().map(|frame| frame.len()).sum()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

const CROWD: usize = 1000;
/// Subscribers that a worker serves before it takes input.
const SLICE_LEN: usize = 64;

/// How many writes to the crowd of a flooded topic come between the publishing of an update of another topic and its
/// write, at most.
async fn delay(flood_len: usize) -> usize {
    let hub = Hub::start(NodeConfig::default());
    let writes = Writes::default();
    let open = async |topic: &'static str| {
        let reserved = hub.reserve(exact(&[topic])).await.unwrap();
        reserved.open(Box::new(Noting(topic, writes.clone())), Bytes::from_static(b":\n"));
    };
    for _ in 0..CROWD {
        open("flooded").await;
    }
    open("quiet").await;
    let data = "x".repeat(flood_len);
    let mut longest = 0;
    for _ in 0..20 {
        for _ in 0..50 {
            hub.publish(&["flooded"], &data).await;
        }
        let before = writes.borrow().len();
        hub.publish(&["quiet"], "1").await;
        let waited = loop {
            if let Some(nth) = writes.borrow()[before..].iter().position(|to| *to == "quiet") {
                break nth;
            }
            // The flood goes on meanwhile.
            hub.publish(&["flooded"], &data).await;
            tokio::task::yield_now().await;
        };
        longest = longest.max(waited);
    }
    longest
}

#[tokio::test]
async fn a_flooded_topic_lets_another_one_pass_after_some_slices() {
    let longest = local(delay(10)).await;
    assert!(longest <= 4 * SLICE_LEN, "{longest} writes to the flooded topic came first");
}

#[tokio::test]
async fn a_topic_that_is_flooded_with_large_updates_lets_another_one_pass_after_its_pass() {
    let longest = local(delay(20_000)).await;
    assert!(longest <= 4 * CROWD, "{longest} writes to the flooded topic came first");
}
