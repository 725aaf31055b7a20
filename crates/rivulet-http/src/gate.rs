//! The gate: how many connections a worker has between accept and handover, and the answer to one too many.
//!
//! actix would stop to accept at its limit, and clients would hang in the backlog without a word.

use std::{
    cell::Cell,
    fmt::Write as _,
    io,
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use actix_web::{ResponseError, body::MessageBody};
use bytes::Bytes;
use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::{
    listener_stats::{ListenerStats, count},
    problem::Problem,
    rarely::Rarely,
    stats::HttpStats,
};

/// How many connections per worker may be told at the same time that they are too many: one for each eight that are let in,
/// and no more than this. Beyond, they are closed without an answer.
pub(crate) const REFUSALS_MAX: usize = 256;
/// See [`REFUSALS_MAX`].
const LET_IN_PER_REFUSAL: usize = 8;
/// How long a refused client may take to begin its request, and again to read the answer.
const REFUSAL_PATIENCE: Duration = Duration::from_secs(2);
/// How much of a refused request is read: closing with something unread makes the kernel reset the connection, and a
/// client that still sends would lose the answer.
const UNREAD_MAX: usize = 64 * 1024;

/// Of one node there is one story, however many connections it concerns.
static BUSY: Rarely = Rarely::new();

/// The gate of one worker.
pub(crate) struct Gate {
    open: Cell<usize>,
    open_max: usize,
    refusing: Cell<usize>,
    stats: Arc<ListenerStats>,
    http: Arc<HttpStats>,
}

/// How many connections a worker may let in ([`crate::HttpConfig::requests_max`]) that has so many files for them and for
/// those whom it refuses; at least one.
pub fn requests_within(files: usize) -> usize {
    files.saturating_sub(files.div_ceil(LET_IN_PER_REFUSAL + 1)).max(1)
}

fn refusals_max(open_max: usize) -> usize {
    (open_max / LET_IN_PER_REFUSAL).clamp(1, REFUSALS_MAX)
}

/// One connection's passage through the gate; ends with the handover or with the connection.
pub(crate) struct Passage(Rc<Gate>);

impl Gate {
    pub(crate) fn new(open_max: usize, stats: Arc<ListenerStats>, http: Arc<HttpStats>) -> Rc<Self> {
        let (open, refusing) = (Cell::new(0), Cell::new(0));
        Rc::new(Self { open, open_max, refusing, stats, http })
    }

    /// Lets a connection in, or counts it as refused.
    pub(crate) fn enter(self: &Rc<Self>) -> Option<Passage> {
        if self.open.get() < self.open_max {
            self.open.set(self.open.get() + 1);
            count(&self.stats.open);
            return Some(Passage(Rc::clone(self)));
        }
        count(&self.stats.refused_busy);
        self.http.count_refused(&Problem::node_busy(self.open_max));
        if let Some(unsaid) = BUSY.say(Instant::now()) {
            tracing::warn!(
                requests_max = self.open_max,
                unsaid,
                "A connection was refused: a worker has as many requests under way as it may have"
            );
        }
        None
    }

    /// Answers 503 to a client that was not let in, in its own time but not for long.
    pub(crate) async fn refuse(&self, tcp: TcpStream) {
        if self.refusing.get() >= refusals_max(self.open_max) {
            return;
        }
        let _refusing = Refusing::new(&self.refusing);
        // A client that hangs up or does not read has lost nothing but the answer.
        let _ = self.tell(tcp).await;
    }

    async fn tell(&self, mut tcp: TcpStream) -> io::Result<()> {
        // An answer that comes before its request makes clients believe that they talk to something else.
        let _ = timeout(REFUSAL_PATIENCE, tcp.readable()).await;
        let over = sleep(REFUSAL_PATIENCE);
        let told = async {
            tcp.write_all(&answer(self.open_max)).await?;
            tcp.shutdown().await?;
            throw_away(&tcp).await
        };
        tokio::select! {
            told = told => told,
            () = over => Ok(()),
        }
    }
}

/// Reads until the client closes, or has sent more than a request has.
async fn throw_away(tcp: &TcpStream) -> io::Result<()> {
    let mut left = UNREAD_MAX;
    while left > 0 {
        tcp.readable().await?;
        let mut scratch = [0; 4096];
        match tcp.try_read(&mut scratch) {
            Ok(0) => break,
            Ok(n) => left = left.saturating_sub(n),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The whole answer: each says for itself when to come back.
fn answer(open_max: usize) -> Bytes {
    let (head, body) = Problem::node_busy(open_max).error_response().into_parts();
    let body = body.try_into_bytes().expect("a problem's body is in memory");
    let mut text = format!("HTTP/1.1 {}\r\n", head.status());
    for (name, value) in head.headers() {
        let value = value.to_str().expect("a problem's headers are ASCII");
        write!(text, "{name}: {value}\r\n").expect("a string takes everything");
    }
    write!(text, "content-length: {}\r\nconnection: close\r\n\r\n", body.len())
        .expect("a string takes everything");
    [text.as_bytes(), &body].concat().into()
}

impl Drop for Passage {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
        self.0.stats.open.fetch_sub(1, Relaxed);
    }
}

/// Counts one refusal under way.
struct Refusing<'a>(&'a Cell<usize>);

impl<'a> Refusing<'a> {
    fn new(refusing: &'a Cell<usize>) -> Self {
        refusing.set(refusing.get() + 1);
        Self(refusing)
    }
}

impl Drop for Refusing<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_let_in_and_those_refused_have_files_together() {
        for files in 2..10_000 {
            let open_max = requests_within(files);
            assert!(open_max + refusals_max(open_max) <= files, "{open_max} of {files}");
            assert!(open_max * 9 >= (files - 1) * 8, "{open_max} of {files}");
        }
        assert_eq!((requests_within(0), requests_within(1)), (1, 1));
    }
}
