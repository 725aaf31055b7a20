//! The floor: what any server must do, and nothing else. One thread, one epoll loop, one `write` per update and socket.
//!
//! It speaks just enough HTTP for the client of this crate and writes the bytes that Rivulet's own encoder makes. It
//! neither verifies nor decodes anything, keeps no log and coalesces nothing: while a socket is full, its updates wait
//! in order and are then written one by one.

use std::{
    io::{ErrorKind, Read},
    net::SocketAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, bail};
use bytes::Bytes;
use hashbrown::HashMap;
use mio::{Events, Interest, Poll, Token, net::TcpListener};
use rivulet_core::{Frame, Partitions, Position, Topic, Update};
use slab::Slab;
use smallvec::smallvec;

use crate::{floor_connection::FloorConnection, head::Head};

const LISTENER: Token = Token(usize::MAX);
/// Events taken per turn.
const EVENTS_PER_TURN: usize = 1024;
/// Bytes per read: requests are small.
const READ_LEN: usize = 16 * 1024;
/// The longest body of a publish request.
const BODY_LEN_MAX: usize = 1024 * 1024;
/// Longest wait of one turn.
const TURN_MAX: Duration = Duration::from_secs(1);

/// The head of a stream with its first comment: what Rivulet sends, less the headers that concern only browsers.
const STREAM_HEAD: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n\
                             Connection: keep-alive\r\n\r\n:\n";

struct Floor {
    poll: Poll,
    listener: TcpListener,
    connections: Slab<FloorConnection>,
    /// The subscribers of each topic, as keys of the slab.
    topics: HashMap<Box<str>, Vec<usize>>,
    position: Position,
    buffer: Vec<u8>,
}

/// What a request asks for.
enum Request {
    Subscribe { topic: Box<str> },
    Publish { topic: String, data: Bytes },
    Other,
}

/// Serves until the process is ended.
pub(crate) fn run(listen: SocketAddr) -> anyhow::Result<()> {
    let mut floor = Floor::new(listen)?;
    let mut events = Events::with_capacity(EVENTS_PER_TURN);
    loop {
        match floor.poll.poll(&mut events, Some(TURN_MAX)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            other => other.context("waiting for events")?,
        }
        for event in &events {
            let Token(key) = event.token();
            if event.token() == LISTENER {
                floor.accept()?;
            } else if (event.is_writable() && floor.flush(key).is_err())
                || (event.is_readable() && floor.read(key).is_err())
            {
                floor.close(key);
            }
        }
    }
}

impl Floor {
    fn new(listen: SocketAddr) -> anyhow::Result<Self> {
        let poll = Poll::new().context("creating an epoll instance")?;
        let mut listener = TcpListener::bind(listen).with_context(|| format!("listening on {listen}"))?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        Ok(Self {
            poll,
            listener,
            connections: Slab::new(),
            topics: HashMap::new(),
            position: Position::ZERO,
            buffer: vec![0; READ_LEN],
        })
    }

    fn accept(&mut self) -> anyhow::Result<()> {
        loop {
            let mut stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error)
                    if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionAborted) =>
                {
                    continue;
                }
                Err(error) => return Err(error).context("accepting a connection"),
            };
            stream.set_nodelay(true)?;
            let entry = self.connections.vacant_entry();
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.poll.registry().register(&mut stream, Token(entry.key()), interest)?;
            entry.insert(FloorConnection::new(stream));
        }
    }

    /// Writes what waits for a socket.
    fn flush(&mut self, key: usize) -> anyhow::Result<()> {
        // Events of one turn may concern a connection that an earlier one has ended.
        self.connections.get_mut(key).map_or(Ok(()), FloorConnection::flush)
    }

    /// Reads what has arrived and answers it. A read that does not fill the buffer is the last: what comes later has an
    /// event of its own, so that no publisher that keeps its pipeline full holds up the others.
    fn read(&mut self, key: usize) -> anyhow::Result<()> {
        while let Some(connection) = self.connections.get_mut(key) {
            let len = match connection.stream.read(&mut self.buffer) {
                Ok(0) => bail!("the peer is gone"),
                Ok(len) => len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            // What a subscriber sends after its request is thrown away.
            if connection.topic.is_none() {
                connection.input.extend_from_slice(&self.buffer[..len]);
                self.answer(key)?;
            }
            if len < self.buffer.len() {
                break;
            }
        }
        Ok(())
    }

    /// Answers all requests that have arrived completely.
    fn answer(&mut self, key: usize) -> anyhow::Result<()> {
        let mut input = std::mem::take(&mut self.connections[key].input);
        let mut at = 0;
        while let Some((len, request)) = parse_request(&input[at..])? {
            at += len;
            match request {
                Request::Subscribe { topic } => {
                    self.topics.entry(topic.clone()).or_default().push(key);
                    let connection = &mut self.connections[key];
                    connection.topic = Some(topic);
                    connection.send(&Bytes::from_static(STREAM_HEAD))?;
                    return Ok(());
                }
                Request::Publish { topic, data } => {
                    let id = self.publish(&topic, data)?;
                    self.connections[key].send(&answer_with(&id))?;
                }
                Request::Other => bail!("a request that is neither subscribe nor publish"),
            }
        }
        input.drain(..at);
        self.connections[key].input = input;
        Ok(())
    }

    /// Writes an update to each subscriber of its topic; answers its id.
    fn publish(&mut self, topic: &str, data: Bytes) -> anyhow::Result<String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).context("a clock before 1970")?;
        let micros = u64::try_from(now.as_micros()).context("a clock beyond the year 500,000")?;
        self.position = Position::from_micros(micros).max(self.position.next());
        let update = Update {
            topics: smallvec![Topic::parse(topic)?],
            data,
            private: false,
            id: None,
            event_type: None,
            retry_ms: None,
            trace: None,
        };
        let frame = Frame::encode(Partitions::ONE, self.position, &update);
        let mut gone = Vec::new();
        for key in self.topics.get(topic).into_iter().flatten() {
            if self.connections[*key].send(&frame.bytes).is_err() {
                gone.push(*key);
            }
        }
        for key in gone {
            self.close(key);
        }
        Ok(format!("#{}", self.position))
    }

    fn close(&mut self, key: usize) {
        let Some(connection) = self.connections.try_remove(key) else { return };
        let Some(topic) = connection.topic else { return };
        if let Some(subscribers) = self.topics.get_mut(&topic) {
            if let Some(index) = subscribers.iter().position(|subscriber| *subscriber == key) {
                subscribers.swap_remove(index);
            }
            if subscribers.is_empty() {
                self.topics.remove(&topic);
            }
        }
    }
}

fn answer_with(id: &str) -> Bytes {
    let len = id.len();
    format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {len}\r\n\r\n{id}")
        .into()
}

/// The request at the beginning of `input` and its length; `None` while its end is missing.
fn parse_request(input: &[u8]) -> anyhow::Result<Option<(usize, Request)>> {
    let head = match Head::parse(input) {
        Ok(Some(head)) => head,
        Ok(None) => return Ok(None),
        Err(error) => bail!("no HTTP head: {error:?}"),
    };
    let body_len = head.content_length.unwrap_or_default();
    if body_len > BODY_LEN_MAX {
        bail!("a body of {body_len} bytes, at most {BODY_LEN_MAX} are taken");
    }
    let len = head.len + body_len;
    if input.len() < len {
        return Ok(None);
    }
    let request = if head.first_line.starts_with("POST ") {
        let body = std::str::from_utf8(&input[head.len..len]).context("a body that is not UTF-8")?;
        let topic = field(body, "topic=").context("no topic")?.to_owned();
        Request::Publish {
            topic,
            data: Bytes::copy_from_slice(field(body, "data=").unwrap_or_default().as_bytes()),
        }
    } else {
        let query = head.second_word().split_once('?').map(|(_, query)| query);
        query
            .and_then(|query| field(query, "topic="))
            .map_or(Request::Other, |topic| Request::Subscribe { topic: topic.into() })
    };
    Ok(Some((len, request)))
}

/// The value of a field in a form or query, as it stands there: the client sends nothing that needs decoding.
fn field<'a>(form: &'a str, name: &str) -> Option<&'a str> {
    form.split('&').find_map(|pair| pair.strip_prefix(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_apart_when_they_are_complete() {
        let get = b"GET /.well-known/mercure?topic=https://example.com/1 HTTP/1.1\r\nHost: x\r\n\r\n";
        assert!(parse_request(&get[..20]).unwrap().is_none());
        let Some((len, Request::Subscribe { topic })) = parse_request(get).unwrap() else {
            panic!("a subscribe")
        };
        assert_eq!((len, &*topic), (get.len(), "https://example.com/1"));

        let post = b"POST /.well-known/mercure HTTP/1.1\r\nContent-Length: 14\r\n\r\ntopic=t&data=dPOST";
        assert!(parse_request(&post[..post.len() - 5]).unwrap().is_none());
        let Some((len, Request::Publish { topic, data })) = parse_request(post).unwrap() else {
            panic!("a publish")
        };
        assert_eq!((len, topic.as_str(), &data[..]), (post.len() - 4, "t", &b"d"[..]));
    }
}
