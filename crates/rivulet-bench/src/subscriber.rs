//! One subscriber: a non-blocking connection from its request to its end.

use std::{
    io::ErrorKind,
    net::{Ipv4Addr, SocketAddr},
};

use anyhow::{Context, bail};
use mio::{Registry, Token, event::Event};

use crate::{approach::Approach, client::Receiver, head::Head, wire::Wire};

/// A subscriber's connection.
pub(crate) struct Subscriber {
    wire: Wire,
    state: State,
    /// The head before its end, then the beginning of an event.
    tail: Vec<u8>,
    /// Updates received since the last reset.
    pub(crate) received: u64,
}

/// ```text
/// Connecting ──writable──▶ Asking ──head with 200──▶ Open ──end of input──▶ Closed
/// ```
/// Whatever else happens before `Open` is an error of the measurement.
#[derive(Debug, PartialEq, Eq)]
enum State {
    Connecting { request: Vec<u8> },
    Asking,
    Open,
    Closed,
}

/// What an event on the socket changed: a short stream is opened and closed by one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) opened: bool,
    pub(crate) closed: bool,
}

impl Subscriber {
    /// Begins to connect.
    pub(crate) fn connect(
        hub: SocketAddr,
        source: Ipv4Addr,
        approach: &Approach,
        request: Vec<u8>,
        (registry, token): (&Registry, Token),
    ) -> anyhow::Result<Self> {
        let wire = Wire::connect(hub, Some(source), approach, registry, token)?;
        Ok(Self { wire, state: State::Connecting { request }, tail: Vec::new(), received: 0 })
    }

    /// Takes what the socket has to say.
    pub(crate) fn on_event(&mut self, event: &Event, receiver: &mut Receiver) -> anyhow::Result<Change> {
        if event.is_writable()
            && let State::Connecting { request } = &self.state
        {
            if let Some(error) = self.wire.take_error()? {
                return Err(error).context("a subscriber could not connect");
            }
            let written = self.wire.write(request).context("sending a subscriber's request")?;
            if written < request.len() {
                bail!("a new socket took only {written} bytes of a subscriber's request");
            }
            self.state = State::Asking;
        } else if event.is_writable() && self.state == State::Asking {
            self.wire.flush().context("sending a subscriber's request")?;
        }
        if !event.is_readable() {
            return Ok(Change::default());
        }
        // The last updates and the end of the stream may have come as one event.
        self.read(receiver, self.wire.short_read_is_last() && !event.is_read_closed())
    }

    fn read(&mut self, receiver: &mut Receiver, may_stop_short: bool) -> anyhow::Result<Change> {
        let mut change = Change::default();
        while self.state != State::Closed {
            let len = match self.wire.read(&mut receiver.buffer) {
                Ok(0) => return self.close(change),
                Ok(len) => len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return self.close(change),
            };
            if self.state == State::Open {
                receiver.take(len, &mut self.tail, &mut self.received);
            } else if self.take_head(&receiver.buffer[..len])? {
                // Who resumes has his first updates right behind the head.
                let behind = std::mem::take(&mut self.tail);
                receiver.take_bytes(&behind, &mut self.tail, &mut self.received);
                change.opened = true;
            }
            // A read that does not fill the buffer has emptied the socket: the next bytes come with an event of their own.
            if len < receiver.buffer.len() && may_stop_short {
                break;
            }
        }
        Ok(change)
    }

    /// Adds to the head; true when it is complete. What follows it stays in the tail.
    fn take_head(&mut self, bytes: &[u8]) -> anyhow::Result<bool> {
        self.tail.extend_from_slice(bytes);
        let head = match Head::parse(&self.tail) {
            Ok(Some(head)) => head,
            Ok(None) => return Ok(false),
            Err(error) => bail!("a subscriber received no HTTP head: {error:?}"),
        };
        if head.second_word() != "200" {
            bail!("a subscriber was refused:\n{}", String::from_utf8_lossy(&self.tail));
        }
        let len = head.len;
        self.tail.drain(..len);
        self.state = State::Open;
        Ok(true)
    }

    fn close(&mut self, change: Change) -> anyhow::Result<Change> {
        if self.state != State::Open {
            bail!("the server ended a subscriber's connection before it answered");
        }
        self.state = State::Closed;
        Ok(Change { closed: true, ..change })
    }
}

/// The source address of a connection: 127.A.B.C, where the run is A and each 4,000 connections share an address.
pub(crate) fn source_address(run: u8, index: usize) -> Ipv4Addr {
    let block = u8::try_from(index / 4_000).unwrap_or(u8::MAX);
    Ipv4Addr::new(127, 1 + run % 250, 1, 1 + block % 250)
}

/// The request of a subscriber.
pub(crate) fn request(hub: SocketAddr, topic: &str, token: &str) -> Vec<u8> {
    request_with(hub, &format!("topic={topic}"), token, "")
}

/// The request of a subscriber that comes back with its last id.
pub(crate) fn resumption(hub: SocketAddr, topic: &str, token: &str, last_id: &str) -> Vec<u8> {
    request_with(hub, &format!("topic={topic}"), token, &format!("Last-Event-ID: {last_id}\r\n"))
}

/// The request of a subscriber with any query and further header lines.
pub(crate) fn request_with(hub: SocketAddr, query: &str, token: &str, headers: &str) -> Vec<u8> {
    format!(
        "GET /.well-known/mercure?{query} HTTP/1.1\r\nHost: {hub}\r\nAccept: text/event-stream\r\n\
         Authorization: Bearer {token}\r\n{headers}\r\n"
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_spread_over_source_addresses_within_loopback() {
        assert_eq!(source_address(0, 3_999), Ipv4Addr::new(127, 1, 1, 1));
        assert_eq!(source_address(0, 4_000), Ipv4Addr::new(127, 1, 1, 2));
        assert_eq!(source_address(3, 14_999), Ipv4Addr::new(127, 4, 1, 4));
        assert!(source_address(u8::MAX, 100_000_000).is_loopback());
    }
}
