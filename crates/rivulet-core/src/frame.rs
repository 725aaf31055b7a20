//! A frame: an update encoded once per node as SSE bytes, shared by all its subscribers.

use bytes::{BufMut, Bytes, BytesMut};

use crate::{Partitions, Position, Update, cursor::position_id};

/// The SSE event type that says that updates are lost.
pub const GAP_EVENT: &str = "rivulet-gap";
/// The comment of [`Frame::encode_with_trace`], line end included.
const TRACE_LINE_LEN: usize = 70;

/// An update as it goes on the wire. Cloning shares the bytes.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Where the update stands.
    pub position: Position,
    /// The SSE event, blank line included.
    pub bytes: Bytes,
    /// Where in `bytes` the hub's id stands; empty if the publisher chose the id.
    hub_id: (u32, u32),
}

impl Frame {
    /// Encodes an update as an SSE event (WHATWG HTML, 9.2.5): `event`, `retry`, `id`, then one `data` line per line of
    /// the content. Lines end at CRLF, CR or LF. Exactly one space follows each colon, so that leading spaces survive.
    pub fn encode(partitions: Partitions, position: Position, update: &Update) -> Self {
        Self::encode_into(BytesMut::with_capacity(room(update)), partitions, position, update)
    }

    /// The same with the trace that the update belongs to, if that is recorded, as a comment before all fields:
    /// `: traceparent 00-<trace id>-<span id>-<flags>`. Event sources pass it by; who reads the bytes can go on with it.
    pub fn encode_with_trace(partitions: Partitions, position: Position, update: &Update) -> Self {
        let Some(trace) = &update.trace else { return Self::encode(partitions, position, update) };
        let mut out = BytesMut::with_capacity(room(update) + TRACE_LINE_LEN);
        out.put_slice(format!(": traceparent {trace}\n").as_bytes());
        Self::encode_into(out, partitions, position, update)
    }

    fn encode_into(mut out: BytesMut, partitions: Partitions, position: Position, update: &Update) -> Self {
        if let Some(event_type) = &update.event_type {
            put_field(&mut out, b"event", event_type.as_str().as_bytes());
        }
        if let Some(retry_ms) = update.retry_ms {
            put_field(&mut out, b"retry", retry_ms.to_string().as_bytes());
        }
        let mut hub_id = (0, 0);
        match &update.id {
            Some(id) => put_field(&mut out, b"id", id.as_str().as_bytes()),
            None => {
                let id = position_id(partitions, position);
                put_field(&mut out, b"id", id.as_bytes());
                hub_id = (narrow(out.len() - 1 - id.len()), narrow(out.len() - 1));
            }
        }
        for line in Lines(Some(&update.data)) {
            put_field(&mut out, b"data", line);
        }
        out.put_u8(b'\n');
        Self { position, bytes: out.freeze(), hub_id }
    }

    /// The same event for a connection that has an id of its own, since it reads several partitions. An id that the
    /// publisher chose is sent as it is; the connection's own follows in a block without data, which moves the client's
    /// last id on.
    pub fn with_id(&self, id: &str) -> Bytes {
        let mut out = BytesMut::with_capacity(self.bytes.len() + id.len() + 6);
        let (start, end) = (self.hub_id.0 as usize, self.hub_id.1 as usize);
        out.put_slice(&self.bytes[..start]);
        if start < end {
            out.put_slice(id.as_bytes());
        }
        out.put_slice(&self.bytes[end..]);
        if start == end {
            put_field(&mut out, b"id", id.as_bytes());
            out.put_u8(b'\n');
        }
        out.freeze()
    }

    /// The heartbeat of an idle connection: a block with only an id. It moves the client's last event id without firing
    /// an event (WHATWG HTML, 9.2.6: with an empty data buffer nothing is dispatched).
    pub fn cursor_heartbeat(id: &str) -> Bytes {
        Bytes::from(format!("id: {id}\n\n"))
    }

    /// Says that updates of `topics` (topics or other matchers, by their texts) after the client's last id are lost, and
    /// that all after `oldest` are kept: `{"topics":["a"],"oldest":"#17"}`. From `id` on the client misses nothing more.
    pub fn gap<'a>(id: &str, topics: impl IntoIterator<Item = &'a str>, oldest: &str) -> Bytes {
        let mut data = String::from("{\"topics\":[");
        for (nth, topic) in topics.into_iter().enumerate() {
            if nth > 0 {
                data.push(',');
            }
            put_json_string(&mut data, topic);
        }
        data.push_str("],\"oldest\":");
        put_json_string(&mut data, oldest);
        data.push('}');
        let mut out = BytesMut::with_capacity(data.len() + 64);
        put_field(&mut out, b"event", GAP_EVENT.as_bytes());
        put_field(&mut out, b"id", id.as_bytes());
        put_field(&mut out, b"data", data.as_bytes());
        out.put_u8(b'\n');
        out.freeze()
    }
}

/// RFC 8259 §7. Topics and ids hold no control characters, so quotes and backslashes are all that needs care.
fn put_json_string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
}

/// What the event of an update needs at most, but for a comment: a buffer that grew would keep more.
fn room(update: &Update) -> usize {
    let line_ends = update.data.iter().filter(|byte| matches!(byte, b'\r' | b'\n')).count();
    let id = update.id.as_ref().map_or(0, |id| id.as_str().len());
    let event_type = update.event_type.as_ref().map_or(0, |event_type| event_type.as_str().len());
    let retry = update.retry_ms.map_or(0, |_| "retry: \n".len() + 20);
    // An id of the hub's, names, colons and line ends; each further line of data has a name too.
    update.data.len() + line_ends * 7 + id + event_type + retry + 64
}

fn narrow(at: usize) -> u32 {
    u32::try_from(at).expect("event, retry and id are short")
}

fn put_field(out: &mut BytesMut, name: &[u8], value: &[u8]) {
    out.reserve(name.len() + value.len() + 3);
    out.put_slice(name);
    out.put_slice(b": ");
    out.put_slice(value);
    out.put_u8(b'\n');
}

/// The lines of a text, split at CRLF, CR and LF. `n` line ends make `n + 1` lines.
struct Lines<'a>(Option<&'a [u8]>);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.0?;
        let Some(end) = rest.iter().position(|b| matches!(b, b'\r' | b'\n')) else {
            self.0 = None;
            return Some(rest);
        };
        let terminator_len = if rest[end..].starts_with(b"\r\n") { 2 } else { 1 };
        self.0 = Some(&rest[end + terminator_len..]);
        Some(&rest[..end])
    }
}

#[cfg(test)]
mod tests {
    use proptest::{option, prelude::*};
    use russe::{Decoder, Event, Message};
    use tokio_util::codec::Decoder as _;

    use super::*;
    use crate::{EventId, EventType, Topic, TraceContext};

    fn update(data: &str) -> Update {
        Update {
            topics: [Topic::parse("topic").unwrap()].into_iter().collect(),
            data: Bytes::copy_from_slice(data.as_bytes()),
            private: false,
            id: None,
            event_type: None,
            retry_ms: None,
            trace: None,
        }
    }

    /// What an independent parser makes of a stream.
    fn decode(stream: &[u8]) -> Vec<Event> {
        let (mut decoder, mut bytes) = (Decoder::default(), BytesMut::from(stream));
        let events = std::iter::from_fn(|| decoder.decode(&mut bytes).unwrap()).collect();
        assert!(bytes.is_empty(), "left over: {bytes:?}");
        events
    }

    /// The one message of some bytes; comments are passed by.
    fn decode_message(bytes: &[u8]) -> Message {
        let mut events = decode(bytes);
        events.retain(|event| matches!(event, Event::Message(_)));
        match &events[..] {
            [Event::Message(message)] => message.clone(),
            events => panic!("not one message: {events:?}"),
        }
    }

    #[test]
    fn a_frame_has_the_documented_bytes() {
        let check = |update: &Update, expected: &str| {
            let frame = Frame::encode(Partitions::ONE, Position::from_micros(7), update);
            assert_eq!(std::str::from_utf8(&frame.bytes).unwrap(), expected);
        };
        check(&update("hello"), "id: #7\ndata: hello\n\n");
        check(&update("a\r\nb\rc\nd"), "id: #7\ndata: a\ndata: b\ndata: c\ndata: d\n\n");
        // A client shall see a line end at the end, a space at the beginning, and an update that is empty.
        check(&update("a\n"), "id: #7\ndata: a\ndata: \n\n");
        check(&update("\n\r"), "id: #7\ndata: \ndata: \ndata: \n\n");
        check(&update("  a"), "id: #7\ndata:   a\n\n");
        check(&update(""), "id: #7\ndata: \n\n");
        check(&update("data: x\n\nid: 9"), "id: #7\ndata: data: x\ndata: \ndata: id: 9\n\n");
        let full = Update {
            id: Some(EventId::parse("urn:uuid:1").unwrap()),
            event_type: Some(EventType::parse("added").unwrap()),
            retry_ms: Some(0),
            ..update("{}")
        };
        check(&full, "event: added\nretry: 0\nid: urn:uuid:1\ndata: {}\n\n");
    }

    #[test]
    fn a_heartbeat_moves_the_cursor_and_has_no_data() {
        assert_eq!(&Frame::cursor_heartbeat("#7")[..], b"id: #7\n\n");
    }

    #[test]
    fn a_connection_with_an_id_of_its_own_gets_it() {
        let partitions = Partitions::new(64).unwrap();
        let encode = |update: &Update| Frame::encode(partitions, Position::from_micros(7), update);
        assert_eq!(&encode(&update("#64:7")).bytes[..], b"id: #64:7\ndata: #64:7\n\n");
        assert_eq!(&encode(&update("a")).with_id("#64:5,3+2")[..], b"id: #64:5,3+2\ndata: a\n\n");
        let own = Update { id: Some(EventId::parse("x").unwrap()), ..update("a") };
        assert_eq!(&encode(&own).with_id("#64:5,3+2")[..], b"id: x\ndata: a\n\nid: #64:5,3+2\n\n");
    }

    #[test]
    fn a_trace_stands_before_everything_and_stays_there() {
        let partitions = Partitions::new(64).unwrap();
        let trace = TraceContext::new([0x0a; 16], [0x0b; 8], 1, "vendor=secret").map(Box::new);
        let traced = Update { trace, ..update("a") };
        let line = ": traceparent 00-0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a-0b0b0b0b0b0b0b0b-01\n";
        assert_eq!(line.len(), TRACE_LINE_LEN);
        let check = |update: &Update, own: &str, shared: &str| {
            let frame = Frame::encode_with_trace(partitions, Position::from_micros(7), update);
            assert_eq!(std::str::from_utf8(&frame.bytes).unwrap(), shared);
            assert_eq!(std::str::from_utf8(&frame.with_id("#64:5,3+2")).unwrap(), own);
            assert_eq!(&*decode_message(&frame.bytes).data, "a", "event sources pass the comment by");
        };
        check(
            &traced,
            &format!("{line}id: #64:5,3+2\ndata: a\n\n"),
            &format!("{line}id: #64:7\ndata: a\n\n"),
        );
        let own = Update { id: Some(EventId::parse("x").unwrap()), ..traced.clone() };
        let shared = format!("{line}id: x\ndata: a\n\n");
        check(&own, &format!("{shared}id: #64:5,3+2\n\n"), &shared);
        check(&update("a"), "id: #64:5,3+2\ndata: a\n\n", "id: #64:7\ndata: a\n\n");
        let hidden = Frame::encode(partitions, Position::from_micros(7), &traced);
        assert_eq!(&hidden.bytes[..], b"id: #64:7\ndata: a\n\n", "nobody is told unless that is wished");
    }

    #[test]
    fn a_gap_says_what_is_lost_and_moves_the_cursor() {
        let gap = Frame::gap("#5", ["a", "b\"\\c"], "#7");
        let expected =
            "event: rivulet-gap\nid: #5\ndata: {\"topics\":[\"a\",\"b\\\"\\\\c\"],\"oldest\":\"#7\"}\n\n";
        assert_eq!(std::str::from_utf8(&gap).unwrap(), expected);
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(
            data in "([\r\n\u{0}\u{FEFF}a: é]|\\PC){0,60}",
            id in option::of("[^#]\\PC{0,20}"),
            event_type in option::of("\\PC{1,20}"),
            retry_ms: Option<u64>,
            micros in 0..=Position::MAX.as_micros(),
        ) {
            let update = Update {
                id: id.and_then(|id| EventId::parse(&id).ok()),
                event_type: event_type.and_then(|event_type| EventType::parse(&event_type).ok()),
                retry_ms,
                ..update(&data)
            };
            let position = Position::from_micros(micros);
            let frame = Frame::encode(Partitions::ONE, position, &update);
            prop_assert!(frame.bytes.len() <= room(&update), "{} bytes", frame.bytes.len());
            let message = decode_message(&frame.bytes);
            prop_assert_eq!(&*message.data, data.replace("\r\n", "\n").replace('\r', "\n"));
            let expected_id = update.id.map_or(format!("#{micros}"), |id| id.as_str().to_owned());
            prop_assert_eq!(message.id.as_deref(), Some(&*expected_id));
            prop_assert_eq!(message.event.as_deref(), update.event_type.as_ref().map(EventType::as_str));
            prop_assert_eq!(message.retry.map(|retry| retry.as_millis()), retry_ms.map(u128::from));
        }

        #[test]
        fn frames_stand_alone_in_a_stream(datas in prop::collection::vec("[\r\na]{0,8}", 1..5)) {
            // The comment that opens every stream, then frames with heartbeats between them.
            let mut stream = b":\n".to_vec();
            for data in &datas {
                stream.extend_from_slice(&Frame::encode(Partitions::ONE, Position::ZERO, &update(data)).bytes);
                stream.extend_from_slice(b":\n\n");
            }
            let messages = decode(&stream).into_iter().filter_map(|event| match event {
                Event::Message(message) => Some(message.data.to_string()),
                _ => None,
            });
            let expected: Vec<_> =
                datas.iter().map(|data| data.replace("\r\n", "\n").replace('\r', "\n")).collect();
            prop_assert_eq!(messages.collect::<Vec<_>>(), expected);
        }
    }
}
