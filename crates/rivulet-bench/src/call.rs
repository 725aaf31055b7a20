//! One request for a stream: what the hub answers, what it sends, and when it ends it.

use std::{
    io::{self, ErrorKind},
    net::Ipv4Addr,
};

use mio::event::Event;

use crate::wire::Wire;

/// What a status line begins with, up to its number's end.
const STATUS_LEN: usize = "HTTP/1.1 200".len();
/// The longest refusal that is kept.
const REFUSAL_LEN_MAX: usize = 16 * 1024;

/// See the module. Dropping it closes the connection.
pub(crate) struct Call {
    pub(crate) wire: Wire,
    out: Vec<u8>,
    /// The beginning of the answer; nothing once it is a stream.
    answer: Vec<u8>,
    state: State,
    has_opened: bool,
}

/// ```text
/// Asking ──200──▶ Open ──────────┐
///    └──another status──▶ Refused ──end of input──▶ Ended
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Asking,
    Open,
    Refused,
    Ended,
}

/// What an event on the connection brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Nothing,
    /// The first bytes of an answer with 200.
    Opened,
    /// The whole answer with another status.
    Refused(u16),
    /// The hub has ended the stream, or the connection before it answered.
    Ended,
}

impl Call {
    /// A call that sends this as soon as it can.
    pub(crate) fn new(wire: Wire, request: Vec<u8>) -> Self {
        Self { wire, out: request, answer: Vec::new(), state: State::Asking, has_opened: false }
    }

    /// Whether a stream has been opened, and has not been seen to end.
    pub(crate) fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// Whether a stream has been opened, be it that its end came with its beginning.
    pub(crate) fn has_opened(&self) -> bool {
        self.has_opened
    }

    /// The text of the refusal.
    pub(crate) fn refusal(&self) -> String {
        String::from_utf8_lossy(&self.answer).into_owned()
    }

    /// Takes what the connection has to say, reading at most `reads_max` times.
    pub(crate) fn on_event(&mut self, event: &Event, buffer: &mut [u8], reads_max: u32) -> Heard {
        if event.is_writable() && self.send().is_err() {
            return self.end();
        }
        if event.is_readable() || event.is_error() || event.is_read_closed() {
            // What came last and the end may have come as one event.
            let may_stop_short = self.wire.short_read_is_last() && !event.is_read_closed();
            self.read(buffer, reads_max, may_stop_short)
        } else {
            Heard::Nothing
        }
    }

    fn send(&mut self) -> io::Result<()> {
        while !self.out.is_empty() {
            let written = self.wire.write(&self.out)?;
            if written == 0 {
                return Ok(());
            }
            self.out.drain(..written);
        }
        self.wire.flush()
    }

    /// Reads until there is nothing more, at most so many times. What a stream brings is thrown away.
    fn read(&mut self, buffer: &mut [u8], reads_max: u32, may_stop_short: bool) -> Heard {
        let mut heard = Heard::Nothing;
        for _ in 0..reads_max {
            let len = match self.wire.read(buffer) {
                // A refusal is whole; that the connection ends with it is no more news.
                Ok(0) if matches!(heard, Heard::Refused(_)) => break,
                Ok(0) => return self.end(),
                Ok(len) => len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return self.end(),
            };
            if self.state != State::Open {
                match self.take_answer(&buffer[..len]) {
                    Heard::Nothing => {}
                    other => heard = other,
                }
            }
            if len < buffer.len() && may_stop_short {
                break;
            }
        }
        heard
    }

    fn take_answer(&mut self, bytes: &[u8]) -> Heard {
        let room = REFUSAL_LEN_MAX.saturating_sub(self.answer.len());
        self.answer.extend_from_slice(&bytes[..bytes.len().min(room)]);
        if self.state == State::Refused || self.answer.len() < STATUS_LEN {
            return Heard::Nothing;
        }
        if self.answer.starts_with(b"HTTP/1.1 200") {
            self.state = State::Open;
            self.has_opened = true;
            self.answer = Vec::new();
            return Heard::Opened;
        }
        match whole_refusal(&self.answer) {
            Some(status) => {
                self.state = State::Refused;
                Heard::Refused(status)
            }
            None => Heard::Nothing,
        }
    }

    fn end(&mut self) -> Heard {
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Ended => Heard::Nothing,
            _ => Heard::Ended,
        }
    }
}

/// The status of an answer whose body has arrived.
fn whole_refusal(answer: &[u8]) -> Option<u16> {
    let head = crate::head::Head::parse(answer).ok()??;
    let is_whole = answer.len() >= head.len + head.content_length.unwrap_or(0);
    if is_whole { head.second_word().parse().ok() } else { None }
}

/// The source address of a call: so many that no port is missed while old ones linger in TIME_WAIT.
pub(crate) fn source_of_call(index: u64) -> Ipv4Addr {
    let third = u8::try_from(index / 200 % 8).expect("a remainder of 8 is below 8");
    let fourth = u8::try_from(index % 200).expect("a remainder of 200 is below 200");
    Ipv4Addr::new(127, 251, third, 1 + fourth)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_taken_when_it_is_whole() {
        let answer = b"HTTP/1.1 429 Too Many\r\nContent-Length: 4\r\n\r\nbody";
        for len in 0..answer.len() {
            assert_eq!(whole_refusal(&answer[..len]), None, "{len}");
        }
        assert_eq!(whole_refusal(answer), Some(429));
    }

    #[test]
    fn calls_come_from_many_addresses_of_loopback() {
        assert!((0..5_000).all(|index| source_of_call(index).is_loopback()));
        assert_eq!(source_of_call(0), source_of_call(1_600));
        assert_ne!(source_of_call(0), source_of_call(200));
    }
}
