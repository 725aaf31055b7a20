//! Reads `text/event-stream` piece by piece, as WHATWG HTML says (server-sent events, "interpreting an event stream").

use std::{collections::VecDeque, time::Duration};

/// A line or an event longer than this ends the stream: it is none that a hub would send.
const EVENT_LEN_MAX: usize = 64 << 20;

/// An event, as it would fire in a browser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// The last event id when it fired.
    pub(crate) id: String,
    /// `message` unless the stream says otherwise.
    pub(crate) event_type: String,
    pub(crate) data: String,
}

/// A stream that is being read.
#[derive(Debug, Default)]
pub(crate) struct EventStream {
    line: Vec<u8>,
    after_cr: bool,
    is_begun: bool,
    data: String,
    event_type: String,
    id: Option<String>,
    /// What a client that reconnects sends. Moves also with blocks that hold an id only.
    pub(crate) last_event_id: Option<String>,
    /// What the stream says about waiting before a reconnect.
    pub(crate) retry: Option<Duration>,
    events: VecDeque<Event>,
}

/// The stream holds something longer than `EVENT_LEN_MAX`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

impl EventStream {
    /// A stream that goes on where another one broke off.
    pub(crate) fn resume(last_event_id: Option<String>) -> Self {
        Self { id: last_event_id.clone(), last_event_id, ..Self::default() }
    }

    /// Takes a piece of the stream.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        for &byte in bytes {
            let follows_cr = std::mem::replace(&mut self.after_cr, byte == b'\r');
            match byte {
                b'\n' if follows_cr => {}
                b'\n' | b'\r' => self.end_line(),
                _ => self.line.push(byte),
            }
            if self.line.len() + self.data.len() > EVENT_LEN_MAX {
                return Err(TooLong);
            }
        }
        Ok(())
    }

    /// The next complete event.
    pub(crate) fn next(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn end_line(&mut self) {
        let bytes = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&bytes);
        let mut line = &*line;
        if !std::mem::replace(&mut self.is_begun, true) {
            line = line.strip_prefix('\u{feff}').unwrap_or(line);
        }
        if line.is_empty() {
            return self.dispatch();
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => {
                self.data.push_str(value);
                self.data.push('\n');
            }
            "event" => value.clone_into(&mut self.event_type),
            "id" if !value.contains('\0') => self.id = Some(value.to_owned()),
            "retry" if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) => {
                self.retry = value.parse().ok().map(Duration::from_millis).or(self.retry);
            }
            // Comments and unknown fields.
            _ => {}
        }
    }

    fn dispatch(&mut self) {
        self.last_event_id.clone_from(&self.id);
        let mut data = std::mem::take(&mut self.data);
        let event_type = std::mem::take(&mut self.event_type);
        if data.pop().is_none() {
            return;
        }
        self.events.push_back(Event {
            id: self.id.clone().unwrap_or_default(),
            event_type: if event_type.is_empty() { "message".to_owned() } else { event_type },
            data,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: &str, event_type: &str, data: &str) -> Event {
        Event { id: id.to_owned(), event_type: event_type.to_owned(), data: data.to_owned() }
    }

    #[test]
    fn events_are_read_whatever_the_pieces_and_line_ends() {
        let text =
            "\u{feff}:\n\nevent: T\nid: 1\ndata:  two\ndata: lines\n\ndata\n\nretry: 250\nid: 9\n\ndata: x";
        let expected = [event("1", "T", " two\nlines"), event("1", "message", "")];
        for end in ["\n", "\r", "\r\n"] {
            let text = text.replace('\n', end);
            for len in [1, 2, 3, 7, text.len()] {
                let mut stream = EventStream::default();
                text.as_bytes().chunks(len).for_each(|piece| stream.push(piece).unwrap());
                let events: Vec<_> = std::iter::from_fn(|| stream.next()).collect();
                assert_eq!(events, expected, "{end:?} {len}");
                assert_eq!(stream.last_event_id.as_deref(), Some("9"));
                assert_eq!(stream.retry, Some(Duration::from_millis(250)));
            }
        }
    }

    #[test]
    fn an_id_counts_when_its_block_is_complete() {
        let mut stream = EventStream::resume(Some("7".to_owned()));
        stream.push(b"id: 8\ndata: x\n").unwrap();
        assert_eq!(stream.last_event_id.as_deref(), Some("7"));
        stream.push(b"\nid: a\0b\nretry: 1s\n\n").unwrap();
        assert_eq!(stream.last_event_id.as_deref(), Some("8"));
        assert_eq!(stream.retry, None);
    }

    #[test]
    fn a_line_without_end_is_not_kept_for_ever() {
        let mut stream = EventStream::default();
        let piece = vec![b'x'; 1 << 20];
        let result = (0..100).try_for_each(|_| stream.push(&piece));
        assert_eq!(result, Err(TooLong));
    }
}
