//! A collector of traces, as a hub's exporter sees one: it takes OTLP over HTTP and throws it away, or it takes
//! connections and never answers.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, bail};

use crate::{head::Head, port::free_address};

/// How often a connection on which nothing happens looks whether all is over.
const LOOK: Duration = Duration::from_millis(100);
/// Connections at a time: an exporter has one or two.
const CONNECTIONS_MAX: usize = 32;
/// Bytes per read.
const READ_LEN: usize = 64 * 1024;
/// The longest export that is taken.
const BODY_LEN_MAX: usize = 64 * 1024 * 1024;
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n";

/// What it does with exports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    Answering,
    Mute,
}

/// See the module. Dropping it ends it.
pub(crate) struct Collector {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    has_ended: AtomicBool,
    /// Exports that were answered; by a mute one, connections that it has taken.
    exports: AtomicU64,
    bytes: AtomicU64,
}

impl Collector {
    /// Listens on a free port.
    pub(crate) fn start(manner: Manner) -> anyhow::Result<Self> {
        let address = free_address()?;
        let listener = TcpListener::bind(address).context("listening as a collector")?;
        let shared = Arc::new(Shared::default());
        let theirs = shared.clone();
        let accepting = thread::spawn(move || accept(&listener, manner, &theirs));
        Ok(Self { address, shared, accepting: Some(accepting) })
    }

    /// Where exporters are to send their spans.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Exports that were answered, or for a mute one, connections.
    pub(crate) fn exports(&self) -> u64 {
        self.shared.exports.load(Ordering::Relaxed)
    }

    /// Bytes of spans, as they were sent.
    pub(crate) fn bytes(&self) -> u64 {
        self.shared.bytes.load(Ordering::Relaxed)
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.shared.has_ended.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts; if nobody listens any more, it has ended.
        let _ = TcpStream::connect_timeout(&self.address, LOOK);
        if let Some(accepting) = self.accepting.take() {
            // A panic there was told on standard error.
            let _ = accepting.join();
        }
    }
}

fn accept(listener: &TcpListener, manner: Manner, shared: &Arc<Shared>) {
    let mut serving: Vec<JoinHandle<()>> = Vec::new();
    for stream in listener.incoming() {
        if shared.has_ended.load(Ordering::Relaxed) {
            break;
        }
        serving.retain(|serving| !serving.is_finished());
        // What fails here the exporter sees as a collector that is away.
        let Ok(stream) = stream else { continue };
        if serving.len() < CONNECTIONS_MAX {
            let shared = shared.clone();
            serving.push(thread::spawn(move || drop(serve(stream, manner, &shared))));
        }
    }
    for serving in serving {
        let _ = serving.join();
    }
}

/// Takes exports until the exporter hangs up, or sends what is none.
fn serve(mut stream: TcpStream, manner: Manner, shared: &Shared) -> anyhow::Result<()> {
    stream.set_read_timeout(Some(LOOK))?;
    stream.set_nodelay(true)?;
    if manner == Manner::Mute {
        shared.exports.fetch_add(1, Ordering::Relaxed);
    }
    let (mut input, mut buffer) = (Vec::new(), vec![0; READ_LEN]);
    while !shared.has_ended.load(Ordering::Relaxed) {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(len) => {
                if manner == Manner::Answering {
                    input.extend_from_slice(&buffer[..len]);
                    answer(&mut stream, &mut input, shared)?;
                }
            }
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                ) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Answers all exports that have arrived completely.
fn answer(stream: &mut TcpStream, input: &mut Vec<u8>, shared: &Shared) -> anyhow::Result<()> {
    while let Some((len, body_len)) = export(input)? {
        input.drain(..len);
        shared.exports.fetch_add(1, Ordering::Relaxed);
        shared.bytes.fetch_add(body_len as u64, Ordering::Relaxed);
        stream.write_all(ANSWER)?;
    }
    Ok(())
}

/// The length of the export at the beginning of `input`, and that of its body; `None` while its end is missing.
fn export(input: &[u8]) -> anyhow::Result<Option<(usize, usize)>> {
    let head = match Head::parse(input) {
        Ok(Some(head)) => head,
        Ok(None) => return Ok(None),
        Err(error) => bail!("no HTTP head: {error:?}"),
    };
    if !head.first_line.starts_with("POST /v1/traces ") {
        bail!("a request that is no export");
    }
    let body_len = head.content_length.context("an export without Content-Length")?;
    if body_len > BODY_LEN_MAX {
        bail!("an export of {body_len} bytes");
    }
    let len = head.len + body_len;
    Ok((input.len() >= len).then_some((len, body_len)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPORT: &[u8] = b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc";

    #[test]
    fn exports_are_answered_one_after_the_other() {
        let collector = Collector::start(Manner::Answering).unwrap();
        let mut exporter = TcpStream::connect(collector.address).unwrap();
        let mut answer = [0; ANSWER.len()];
        for nth in 1..=3 {
            exporter.write_all(EXPORT).unwrap();
            exporter.read_exact(&mut answer).unwrap();
            assert_eq!((&answer[..], collector.exports(), collector.bytes()), (ANSWER, nth, 3 * nth));
        }
        exporter.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        assert_eq!(exporter.read(&mut answer).unwrap(), 0, "that is no export");
    }

    #[test]
    fn a_mute_one_takes_everything_and_says_nothing() {
        let collector = Collector::start(Manner::Mute).unwrap();
        let mut exporter = TcpStream::connect(collector.address).unwrap();
        exporter.write_all(EXPORT).unwrap();
        exporter.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let error = exporter.read(&mut [0; 1]).expect_err("nothing comes");
        assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
        assert_eq!(collector.exports(), 1, "its connections are counted");
        drop(collector);
        exporter.set_read_timeout(None).unwrap();
        assert_eq!(exporter.read(&mut [0; 1]).unwrap_or(0), 0, "it has ended");
    }

    #[test]
    fn an_export_is_complete_with_its_last_byte() {
        for len in 0..EXPORT.len() {
            assert!(export(&EXPORT[..len]).unwrap().is_none(), "{len} bytes");
        }
        assert_eq!(export(&[EXPORT, b"POST"].concat()).unwrap(), Some((EXPORT.len(), 3)));
        export(b"POST /v1/metrics HTTP/1.1\r\nContent-Length: 1\r\n\r\n").unwrap_err();
        export(b"POST /v1/traces HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n").unwrap_err();
    }
}
