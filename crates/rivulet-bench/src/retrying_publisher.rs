//! A publisher that publishes a few updates a second and tries each again until it is acknowledged, as one that must
//! not lose any does. It has a thread of its own: it waits for its answers.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::{client::elapsed_ns, payload::Stamp, poster::Poster};

/// Pause after an acknowledgement: fifty updates a second at most.
const PAUSE: Duration = Duration::from_millis(20);
/// Pause before an update is tried again.
const RETRY: Duration = Duration::from_millis(20);
/// After so many updates it stops by itself.
const UPDATES_MAX: u32 = 100_000;

/// Dropping it ends it, after at most one request.
pub(crate) struct RetryingPublisher {
    acknowledged: mpsc::Receiver<Acknowledged>,
    stop: Arc<AtomicBool>,
    refused: Arc<AtomicU32>,
    thread: Option<JoinHandle<()>>,
}

/// An update that the hub has answered with 200.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Acknowledged {
    pub(crate) number: u32,
    /// When the request began that was answered so, in nanoseconds since the client began.
    pub(crate) asked_ns: u64,
    pub(crate) answered_ns: u64,
}

impl RetryingPublisher {
    /// Starts to publish to a topic. Times are counted from `began`.
    pub(crate) fn start(hub: SocketAddr, token: String, topic: String, began: Instant) -> Self {
        let (sender, acknowledged) = mpsc::channel();
        let (stop, refused) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let line = Line { hub, token, topic, began, stop: stop.clone(), refused: refused.clone() };
        let thread = Some(thread::spawn(move || line.publish_all(&sender)));
        Self { acknowledged, stop, refused, thread }
    }

    /// What was acknowledged since this was asked last.
    pub(crate) fn acknowledged(&self) -> impl Iterator<Item = Acknowledged> {
        self.acknowledged.try_iter()
    }

    /// How many requests were not answered with 200.
    pub(crate) fn refused(&self) -> u32 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Ends it.
    pub(crate) fn stop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It does not panic, and there would be nothing to do about it.
            let _ = thread.join();
        }
    }
}

impl Drop for RetryingPublisher {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The thread's part.
struct Line {
    hub: SocketAddr,
    token: String,
    topic: String,
    began: Instant,
    stop: Arc<AtomicBool>,
    refused: Arc<AtomicU32>,
}

impl Line {
    fn publish_all(&self, acknowledged: &mpsc::Sender<Acknowledged>) {
        let mut poster = None;
        for number in 0..UPDATES_MAX {
            let Some(done) = self.publish(&mut poster, number) else { return };
            if acknowledged.send(done).is_err() {
                return;
            }
            thread::sleep(PAUSE);
        }
    }

    /// Tries until it is acknowledged; `None` when it is told to stop.
    fn publish(&self, poster: &mut Option<Poster>, number: u32) -> Option<Acknowledged> {
        // The same content each time, or the idempotency key would not fit.
        let mut body = format!("topic={}&data=", self.topic).into_bytes();
        Stamp { number, sent_ns: elapsed_ns(self.began) }.append_data(&mut body);
        let headers =
            format!("Content-Type: application/x-www-form-urlencoded\r\nIdempotency-Key: bench-{number}\r\n");
        while !self.stop.load(Ordering::Relaxed) {
            let asked_ns = elapsed_ns(self.began);
            if poster.is_none() {
                *poster = Poster::connect(self.hub, &self.token).ok();
            }
            match poster.as_mut().map(|poster| poster.post(&headers, &body)) {
                Some(Ok(answer)) if answer.status == 200 => {
                    return Some(Acknowledged { number, asked_ns, answered_ns: elapsed_ns(self.began) });
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => *poster = None,
            }
            self.refused.fetch_add(1, Ordering::Relaxed);
            thread::sleep(RETRY);
        }
        None
    }
}
