//! Hostile clients, each of one kind, and what they do to keep a hub busy.
//!
//! Each has a thread of its own and paces itself: what is asked is what the hub spends on a nuisance, not how much
//! traffic a machine can take. Only who floods a stream sends as much as is taken: how much that is, is the hub's choice.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, SocketAddrV4, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};

use crate::{
    approach::{Approach, proxy_header},
    subscriber,
};

/// Longest wait for a step of a connection.
const STEP_MAX: Duration = Duration::from_secs(2);
/// How often a slow one sends its next byte.
pub(crate) const DRIP: Duration = Duration::from_secs(1);
/// How often a hasty one comes again.
pub(crate) const AGAIN: Duration = Duration::from_millis(250);
/// What one that pipelines and reads nothing sends per second; what was seen to keep actix busy for ever was a little less.
const FLOOD_LEN: usize = 1_000_000;
/// What one that floods a stream sends at a time, without a pause.
const GUSH_LEN: usize = 64 * 1024;
/// The headers of one that sends a megabyte of them: few lines, as their number is limited everywhere.
const HEADER_LINES: usize = 64;
const HEADER_LINE_LEN: usize = 16 * 1024;
/// The pieces in which they come from one that hopes for the whole to be looked at again with each.
const PIECE_LEN: usize = 1024;
/// How the answer to an opened stream begins.
pub(crate) const OPENED: &[u8; 12] = b"HTTP/1.1 200";
/// How often a thread looks whether it is over.
const LOOK: Duration = Duration::from_millis(20);

/// What a hostile client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Sends a byte of a head every second, on many connections.
    SlowHead,
    /// Sends a byte of a publish request's body every second, on many connections.
    SlowBody,
    /// Opens a stream and pipelines requests behind its own, as many as are taken.
    PipelinedFlood,
    /// Pipelines requests before any stream, a megabyte a second, and reads no answer.
    PipelinedUnread,
    /// Sends a megabyte of headers at once, again and again.
    LongHeaders,
    /// The same in pieces of a kilobyte.
    HeadersInPieces,
    /// Sends half of TLS' hello and waits, on many connections.
    StalledHandshake,
    /// Sends half of TLS' hello and waits, on some hundred new connections every second.
    HandshakeStorm,
    /// Sends half of a PROXY header and waits, on many connections.
    StalledProxyHeader,
}

/// Whom it attacks, and with what.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) hub: SocketAddr,
    pub(crate) approach: Approach,
    pub(crate) token: String,
    /// Connections of those that hold many.
    pub(crate) connections: usize,
}

/// A hostile client at work. Dropping it ends it.
pub(crate) struct Attack {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<anyhow::Result<Done>>>,
}

/// What it has done.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Done {
    pub(crate) connections: u64,
    pub(crate) bytes: u64,
    /// Connections that the hub ended.
    pub(crate) ended: u64,
    /// How long the hub bore with one connection at most.
    pub(crate) longest: Duration,
    /// Those who came during a storm and did nothing wrong.
    pub(crate) newcomers: u64,
    pub(crate) newcomers_failed: u64,
}

impl Done {
    /// Together with another.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            connections: self.connections + other.connections,
            bytes: self.bytes + other.bytes,
            ended: self.ended + other.ended,
            longest: self.longest.max(other.longest),
            newcomers: self.newcomers + other.newcomers,
            newcomers_failed: self.newcomers_failed + other.newcomers_failed,
        }
    }
}

impl Attack {
    pub(crate) fn start(kind: Kind, target: Target) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let attacker = Attacker { kind, target, stop: stop.clone(), done: Done::default() };
        let thread = Some(thread::spawn(move || attacker.run()));
        Self { stop, thread }
    }

    /// Ends it; answers what it did, or why it could not.
    pub(crate) fn stop(mut self) -> anyhow::Result<Done> {
        self.stop.store(true, Ordering::Relaxed);
        let Some(thread) = self.thread.take() else { bail!("the attack was ended before") };
        thread.join().unwrap_or_else(|_| bail!("the attack has panicked"))
    }
}

impl Drop for Attack {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Whatever it says, nobody wants to know any more.
            let _ = thread.join();
        }
    }
}

pub(crate) struct Attacker {
    kind: Kind,
    pub(crate) target: Target,
    stop: Arc<AtomicBool>,
    pub(crate) done: Done,
}

/// One of its connections.
pub(crate) struct Nuisance {
    stream: TcpStream,
    pub(crate) began: Instant,
    /// What is still to be sent, a byte at a time.
    rest: std::vec::IntoIter<u8>,
}

impl Attacker {
    fn run(mut self) -> anyhow::Result<Done> {
        match self.kind {
            Kind::SlowHead | Kind::SlowBody | Kind::StalledHandshake | Kind::StalledProxyHeader => {
                self.hold_many()?;
            }
            Kind::PipelinedFlood => self.flood()?,
            Kind::PipelinedUnread => self.flood_unread()?,
            Kind::HandshakeStorm => self.storm()?,
            Kind::LongHeaders => self.come_again(HEADER_LINES * HEADER_LINE_LEN)?,
            Kind::HeadersInPieces => self.come_again(PIECE_LEN)?,
        }
        Ok(self.done)
    }

    pub(crate) fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    pub(crate) fn pause(&self, duration: Duration) {
        let until = Instant::now() + duration;
        while !self.is_over() && Instant::now() < until {
            thread::sleep(LOOK);
        }
    }

    pub(crate) fn connect(&mut self) -> anyhow::Result<TcpStream> {
        let stream =
            TcpStream::connect_timeout(&self.target.hub, STEP_MAX).context("connecting an attacker")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(STEP_MAX))?;
        stream.set_write_timeout(Some(STEP_MAX))?;
        self.done.connections += 1;
        Ok(stream)
    }

    /// Writes as much as the hub takes. That it takes no more is its good right, and ends the connection.
    fn write(&mut self, stream: &mut TcpStream, bytes: &[u8]) -> bool {
        let written = stream.write_all(bytes).is_ok();
        self.done.bytes += if written { bytes.len() as u64 } else { 0 };
        written
    }

    fn note_end(&mut self, began: Instant) {
        self.done.ended += 1;
        self.done.longest = self.done.longest.max(began.elapsed());
    }

    fn hold_many(&mut self) -> anyhow::Result<()> {
        let mut held: Vec<Nuisance> = Vec::new();
        while !self.is_over() {
            while held.len() < self.target.connections && !self.is_over() {
                held.push(self.begin()?);
            }
            self.pause(DRIP);
            let before = held.len();
            held.retain_mut(|nuisance| match nuisance.drip() {
                Some(sent) => {
                    self.done.bytes += sent;
                    true
                }
                None => {
                    self.note_end(nuisance.began);
                    false
                }
            });
            if held.len() == before && before == 0 {
                bail!("the hub lets nobody in");
            }
        }
        for nuisance in held {
            self.done.longest = self.done.longest.max(nuisance.began.elapsed());
        }
        Ok(())
    }

    pub(crate) fn begin(&mut self) -> anyhow::Result<Nuisance> {
        let (at_once, rest) = self.opening()?;
        let mut stream = self.connect()?;
        stream.write_all(&at_once).context("beginning an attack")?;
        self.done.bytes += at_once.len() as u64;
        stream.set_nonblocking(true)?;
        Ok(Nuisance { stream, began: Instant::now(), rest: rest.into_iter() })
    }

    /// What is sent at once, and what byte by byte.
    fn opening(&self) -> anyhow::Result<(Vec<u8>, Vec<u8>)> {
        let Target { hub, token, approach, .. } = &self.target;
        let ahead = approach.ahead();
        Ok(match self.kind {
            Kind::SlowBody => {
                let head = format!(
                    "POST /.well-known/mercure HTTP/1.1\r\nHost: {hub}\r\nAuthorization: Bearer {token}\r\n\
                     Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 100000\r\n\r\n"
                );
                ([ahead, head.into_bytes()].concat(), b"topic=slow&data=".repeat(1_000))
            }
            Kind::StalledHandshake | Kind::HandshakeStorm => {
                let mut tls = approach.tls_connection()?.context("there is no TLS to stall in")?;
                let mut hello = Vec::new();
                while tls.wants_write() {
                    tls.write_tls(&mut hello)?;
                }
                hello.truncate(hello.len() / 2);
                ([ahead, hello].concat(), Vec::new())
            }
            Kind::StalledProxyHeader => {
                let SocketAddr::V4(hub) = *hub else { bail!("{hub} is no IPv4 address") };
                let mut header = proxy_header(SocketAddrV4::new(*hub.ip(), 1), hub);
                header.truncate(header.len() / 2);
                (header, Vec::new())
            }
            _ => (ahead, subscriber::request(*hub, "slow", token).repeat(1_000)),
        })
    }

    fn flood(&mut self) -> anyhow::Result<()> {
        let (hub, token) = (self.target.hub, self.target.token.clone());
        let request = subscriber::request(hub, "https://example.com/bench/flood", &token);
        let more = request.repeat(GUSH_LEN / request.len());
        while !self.is_over() {
            let (mut stream, began) = (self.connect()?, Instant::now());
            let mut goes_on = self.write(&mut stream, &request);
            let mut status = [0; OPENED.len()];
            stream.read_exact(&mut status).context("opening a stream before a flood")?;
            if &status != OPENED {
                bail!("a stream was refused with {}", String::from_utf8_lossy(&status));
            }
            while goes_on && !self.is_over() {
                let (sent, went_on) = write_some(&mut stream, &more);
                self.done.bytes += sent;
                goes_on = went_on;
            }
            if goes_on {
                self.done.longest = self.done.longest.max(began.elapsed());
            } else {
                self.note_end(began);
            }
        }
        Ok(())
    }

    fn flood_unread(&mut self) -> anyhow::Result<()> {
        let request = format!("GET /nowhere HTTP/1.1\r\nHost: {}\r\n\r\n", self.target.hub).into_bytes();
        let more = request.repeat(FLOOD_LEN / request.len());
        while !self.is_over() {
            let (mut stream, began) = (self.connect()?, Instant::now());
            let mut goes_on = true;
            // One who reads nothing soon finds that nothing more is taken: that is when it was seen to cost a core.
            while goes_on && !self.is_over() {
                let (sent, went_on) = write_some(&mut stream, &more);
                self.done.bytes += sent;
                goes_on = went_on;
                self.pause(DRIP);
            }
            if goes_on {
                self.done.longest = self.done.longest.max(began.elapsed());
            } else {
                self.note_end(began);
            }
        }
        Ok(())
    }

    /// Sends a megabyte of headers in pieces of this length, waits for what the hub says to it, and comes again.
    fn come_again(&mut self, piece_len: usize) -> anyhow::Result<()> {
        let mut head = format!("GET /.well-known/mercure?topic=a HTTP/1.1\r\nHost: {}\r\n", self.target.hub);
        for line in 0..HEADER_LINES {
            head.push_str(&format!("X-Line-{line}: {}\r\n", "x".repeat(HEADER_LINE_LEN)));
        }
        head.push_str("\r\n");
        while !self.is_over() {
            let (mut stream, began) = (self.connect()?, Instant::now());
            let took_all = head.as_bytes().chunks(piece_len).all(|piece| self.write(&mut stream, piece));
            let mut answer = [0; 256];
            let answered = stream.read(&mut answer).unwrap_or(0);
            if took_all && answer[..answered].starts_with(b"HTTP/1.1 200") {
                bail!("the hub has taken a megabyte of headers");
            }
            self.note_end(began);
            self.pause(AGAIN);
        }
        Ok(())
    }
}

/// Writes until the peer takes no more for a moment; answers how much that was, and whether the connection goes on.
fn write_some(stream: &mut TcpStream, bytes: &[u8]) -> (u64, bool) {
    let mut sent = 0;
    while sent < bytes.len() {
        match stream.write(&bytes[sent..]) {
            Ok(0) => return (sent as u64, false),
            Ok(n) => sent += n,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return (sent as u64, false),
        }
    }
    (sent as u64, true)
}

impl Nuisance {
    /// Sends the next byte, if there is one; answers how many that were, or `None` when the hub has ended the connection.
    pub(crate) fn drip(&mut self) -> Option<u64> {
        let mut answer = [0; 512];
        loop {
            match self.stream.read(&mut answer) {
                Ok(0) => return None,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return None,
            }
        }
        let Some(byte) = self.rest.next() else { return Some(0) };
        self.stream.write_all(&[byte]).is_ok().then_some(1)
    }
}
