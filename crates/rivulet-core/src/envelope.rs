//! An update as transports keep and announce it: a compact, versioned byte string.
//!
//! ```text
//! version  1 byte   1
//! flags    1 byte   1 private, 2 has an id, 4 has a type, 8 has a retry, 16 has a trace context
//! topics   count, then each as length and bytes; the canonical one first
//! id       length and bytes     if flagged
//! type     length and bytes     if flagged
//! retry    milliseconds         if flagged
//! data     length and bytes
//! trace    16 bytes of trace id, 8 of span id, 1 of flags, then length and bytes of the state    if flagged
//! ```
//!
//! Nothing follows.
//!
//! Counts, lengths and milliseconds are LEB128 in its shortest form, so that an update has one encoding. What is
//! decoded was written by some node, but maybe by another version, and Redis may have been written to by others:
//! so every field passes the same `parse` that it passed when it was published.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use smallvec::SmallVec;

use crate::{
    EventId, EventIdError, EventType, EventTypeError, Topic, TopicError, TraceContext, Update,
    update::UPDATE_TOPICS_MAX,
};

/// The version that is written, and the only one that is read.
const VERSION: u8 = 1;

const FLAG_PRIVATE: u8 = 1;
const FLAG_ID: u8 = 2;
const FLAG_TYPE: u8 = 4;
const FLAG_RETRY: u8 = 8;
const FLAG_TRACE: u8 = 16;
const FLAGS: u8 = FLAG_PRIVATE | FLAG_ID | FLAG_TYPE | FLAG_RETRY | FLAG_TRACE;

/// Why bytes are not an update's envelope.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// A newer node wrote it: this one must be upgraded.
    #[error("the envelope has version {0}, this node reads version {VERSION}")]
    UnknownVersion(u8),
    /// It ends within the field.
    #[error("the envelope ends within its {0}")]
    Truncated(&'static str),
    /// The trace context is not valid, see [`TraceContext::new`].
    #[error("the envelope's trace context is not valid")]
    Trace,
    /// Bytes follow the last field.
    #[error("{0} bytes follow the envelope's end")]
    Trailing(usize),
    /// A flag is set that this version does not have.
    #[error("the envelope has the unknown flags {0:#04x}")]
    UnknownFlags(u8),
    /// A number is not in its shortest form or does not fit into 64 bits.
    #[error("the envelope's {0} is not a number in LEB128's shortest form")]
    Number(&'static str),
    /// It has no topic, or too many.
    #[error("an update has 1 to {UPDATE_TOPICS_MAX} topics, the envelope has {0}")]
    TopicCount(u64),
    /// A text is not UTF-8.
    #[error("the envelope's {0} is not UTF-8")]
    Utf8(&'static str),
    /// A topic is not valid.
    #[error(transparent)]
    Topic(#[from] TopicError),
    /// The id is not valid.
    #[error(transparent)]
    Id(#[from] EventIdError),
    /// The type is not valid.
    #[error(transparent)]
    Type(#[from] EventTypeError),
}

/// Encodes an update.
pub fn encode(update: &Update) -> Bytes {
    encode_with(update, update.trace.as_deref())
}

/// Encodes what was published: the same for a repeat, which comes from another span.
pub fn encode_content(update: &Update) -> Bytes {
    encode_with(update, None)
}

fn encode_with(update: &Update, trace: Option<&TraceContext>) -> Bytes {
    let texts_len: usize = update.topics.iter().map(|topic| topic.as_str().len() + 2).sum();
    let mut out = BytesMut::with_capacity(update.data.len() + texts_len + 64);
    out.put_u8(VERSION);
    out.put_u8(
        (if update.private { FLAG_PRIVATE } else { 0 })
            | update.id.as_ref().map_or(0, |_| FLAG_ID)
            | update.event_type.as_ref().map_or(0, |_| FLAG_TYPE)
            | update.retry_ms.map_or(0, |_| FLAG_RETRY)
            | trace.map_or(0, |_| FLAG_TRACE),
    );
    put_number(&mut out, update.topics.len() as u64);
    for topic in &update.topics {
        put_bytes(&mut out, topic.as_str().as_bytes());
    }
    if let Some(id) = &update.id {
        put_bytes(&mut out, id.as_str().as_bytes());
    }
    if let Some(event_type) = &update.event_type {
        put_bytes(&mut out, event_type.as_str().as_bytes());
    }
    if let Some(retry_ms) = update.retry_ms {
        put_number(&mut out, retry_ms);
    }
    put_bytes(&mut out, &update.data);
    if let Some(trace) = trace {
        out.put_slice(&trace.trace_id());
        out.put_slice(&trace.span_id());
        out.put_u8(trace.flags());
        put_bytes(&mut out, trace.state().as_bytes());
    }
    out.freeze()
}

/// Decodes an update. Its data shares the memory of `envelope`.
///
/// # Errors
///
/// See [`EnvelopeError`]. Whatever [`encode`] made of a valid update is decoded without one.
pub fn decode(mut envelope: Bytes) -> Result<Update, EnvelopeError> {
    let version = take_byte(&mut envelope, "version")?;
    if version != VERSION {
        return Err(EnvelopeError::UnknownVersion(version));
    }
    let flags = take_byte(&mut envelope, "flags")?;
    if flags & !FLAGS != 0 {
        return Err(EnvelopeError::UnknownFlags(flags & !FLAGS));
    }
    let count = take_number(&mut envelope, "number of topics")?;
    if count == 0 || count > UPDATE_TOPICS_MAX as u64 {
        return Err(EnvelopeError::TopicCount(count));
    }
    let topics = (0..count)
        .map(|_| Ok(Topic::parse(as_text(&take_bytes(&mut envelope, "topic")?, "topic")?)?))
        .collect::<Result<SmallVec<_>, EnvelopeError>>()?;
    let id = (flags & FLAG_ID != 0)
        .then(|| Ok::<_, EnvelopeError>(EventId::parse(as_text(&take_bytes(&mut envelope, "id")?, "id")?)?))
        .transpose()?;
    let event_type = (flags & FLAG_TYPE != 0)
        .then(|| {
            Ok::<_, EnvelopeError>(EventType::parse(as_text(&take_bytes(&mut envelope, "type")?, "type")?)?)
        })
        .transpose()?;
    let retry_ms = (flags & FLAG_RETRY != 0).then(|| take_number(&mut envelope, "retry")).transpose()?;
    let data = take_bytes(&mut envelope, "data")?;
    as_text(&data, "data")?;
    let trace = (flags & FLAG_TRACE != 0).then(|| take_trace(&mut envelope)).transpose()?;
    if !envelope.is_empty() {
        return Err(EnvelopeError::Trailing(envelope.len()));
    }
    Ok(Update { topics, data, private: flags & FLAG_PRIVATE != 0, id, event_type, retry_ms, trace })
}

fn take_trace(from: &mut Bytes) -> Result<Box<TraceContext>, EnvelopeError> {
    const IDS_LEN: usize = 16 + 8;
    if from.len() < IDS_LEN {
        return Err(EnvelopeError::Truncated("trace context"));
    }
    let ids = from.split_to(IDS_LEN);
    let trace_id = ids[..16].try_into().expect("16 bytes");
    let span_id = ids[16..].try_into().expect("8 bytes");
    let flags = take_byte(from, "trace context")?;
    let state = take_bytes(from, "trace state")?;
    let context = TraceContext::new(trace_id, span_id, flags, as_text(&state, "trace state")?);
    context.map(Box::new).ok_or(EnvelopeError::Trace)
}

fn put_bytes(out: &mut BytesMut, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.put_slice(bytes);
}

fn put_number(out: &mut BytesMut, mut number: u64) {
    while number >= 0x80 {
        out.put_u8((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.put_u8(u8::try_from(number).expect("less than 0x80 is left"));
}

fn take_byte(from: &mut Bytes, field: &'static str) -> Result<u8, EnvelopeError> {
    if from.is_empty() { Err(EnvelopeError::Truncated(field)) } else { Ok(from.get_u8()) }
}

fn take_number(from: &mut Bytes, field: &'static str) -> Result<u64, EnvelopeError> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = take_byte(from, field)?;
        let bits = u64::from(byte & 0x7f);
        // A last byte of zero could be left out; the tenth byte has room for one bit only.
        if (bits << shift) >> shift != bits || (byte == 0 && shift > 0) {
            return Err(EnvelopeError::Number(field));
        }
        number |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(EnvelopeError::Number(field))
}

fn take_bytes(from: &mut Bytes, field: &'static str) -> Result<Bytes, EnvelopeError> {
    let len = take_number(from, field)?;
    match usize::try_from(len) {
        Ok(len) if len <= from.len() => Ok(from.split_to(len)),
        _ => Err(EnvelopeError::Truncated(field)),
    }
}

fn as_text<'a>(bytes: &'a Bytes, field: &'static str) -> Result<&'a str, EnvelopeError> {
    std::str::from_utf8(bytes).map_err(|_| EnvelopeError::Utf8(field))
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, option, prelude::*};

    use super::*;

    fn update() -> impl Strategy<Value = Update> {
        let topic = "\\PC{1,40}".prop_filter_map("a topic", |text| Topic::parse(&text).ok());
        let id = "\\PC{1,40}".prop_filter_map("an id", |text| EventId::parse(&text).ok());
        let event_type = "\\PC{1,40}".prop_filter_map("a type", |text| EventType::parse(&text).ok());
        (
            vec(topic, 1..5),
            "(?s).{0,300}",
            any::<bool>(),
            option::of(id),
            option::of(event_type),
            option::of(any::<u64>()),
            option::of(trace()),
        )
            .prop_map(|(topics, data, private, id, event_type, retry_ms, trace)| Update {
                topics: topics.into(),
                data: data.into(),
                private,
                id,
                event_type,
                retry_ms,
                trace: trace.map(Box::new),
            })
    }

    fn trace() -> impl Strategy<Value = TraceContext> {
        (any::<[u8; 16]>(), any::<[u8; 8]>(), any::<u8>(), "[ -~]{0,40}")
            .prop_filter_map("a trace context", |(trace_id, span_id, flags, state)| {
                TraceContext::new(trace_id, span_id, flags, &state)
            })
    }

    #[test]
    fn an_envelope_has_the_documented_bytes() {
        let update = Update {
            topics: [Topic::parse("a").unwrap(), Topic::parse("bc").unwrap()].into_iter().collect(),
            data: Bytes::from_static(b"hi"),
            private: true,
            id: Some(EventId::parse("i").unwrap()),
            event_type: Some(EventType::parse("t").unwrap()),
            retry_ms: Some(300),
            trace: None,
        };
        let content = b"\x01\x0f\x02\x01a\x02bc\x01i\x01t\xac\x02\x02hi";
        assert_eq!(&encode(&update)[..], content);
        let trace = TraceContext::new(*b"0123456789abcdef", *b"01234567", 1, "a=b").map(Box::new);
        let traced = Update { trace, ..update };
        let expected = b"\x01\x1f\x02\x01a\x02bc\x01i\x01t\xac\x02\x02hi0123456789abcdef01234567\x01\x03a=b";
        assert_eq!(&encode(&traced)[..], expected);
        assert_eq!(&encode_content(&traced)[..], content);
    }

    #[test]
    fn garbage_is_refused_by_name() {
        let check = |envelope: &[u8], expected: EnvelopeError| {
            assert_eq!(decode(Bytes::copy_from_slice(envelope)), Err(expected), "{envelope:?}");
        };
        check(b"", EnvelopeError::Truncated("version"));
        check(b"\x02\x00\x01\x01a\x00", EnvelopeError::UnknownVersion(2));
        check(b"\x00", EnvelopeError::UnknownVersion(0));
        check(b"\x01\x20\x01\x01a\x00", EnvelopeError::UnknownFlags(0x20));
        check(b"\x01\x10\x01\x01a\x00", EnvelopeError::Truncated("trace context"));
        check(&[&b"\x01\x10\x01\x01a\x00"[..], &[0; 26]].concat(), EnvelopeError::Trace);
        check(b"\x01\x00\x00\x00", EnvelopeError::TopicCount(0));
        check(b"\x01\x00\x65", EnvelopeError::TopicCount(101));
        check(b"\x01\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", EnvelopeError::TopicCount(u64::MAX));
        check(b"\x01\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", EnvelopeError::Number("number of topics"));
        check(b"\x01\x00\x81\x00", EnvelopeError::Number("number of topics"));
        check(b"\x01\x00\x01\xff\xff\xff\xff\x0fa", EnvelopeError::Truncated("topic"));
        check(b"\x01\x00\x01\x01\xff\x00", EnvelopeError::Utf8("topic"));
        check(b"\x01\x00\x01\x01*\x00", EnvelopeError::Topic(TopicError::Wildcard));
        check(b"\x01\x02\x01\x01a\x01#\x00", EnvelopeError::Id(EventIdError::HubSpace));
        check(b"\x01\x04\x01\x01a\x01\n\x00", EnvelopeError::Type(EventTypeError::Forbidden('\n')));
        check(b"\x01\x00\x01\x01a\x01\xff", EnvelopeError::Utf8("data"));
        check(b"\x01\x00\x01\x01a\x00zz", EnvelopeError::Trailing(2));
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(update in update()) {
            prop_assert_eq!(decode(encode(&update)), Ok(update));
        }

        #[test]
        fn a_truncated_envelope_is_refused(update in update(), cut in any::<prop::sample::Index>()) {
            let envelope = encode(&update);
            prop_assert!(decode(envelope.slice(..cut.index(envelope.len()))).is_err());
        }

        #[test]
        fn what_is_decoded_has_one_encoding(update in update(), at in any::<prop::sample::Index>(), byte: u8) {
            let mut envelope = encode(&update).to_vec();
            let at = at.index(envelope.len());
            envelope[at] = byte;
            let envelope = Bytes::from(envelope);
            if let Ok(update) = decode(envelope.clone()) {
                prop_assert_eq!(encode(&update), envelope);
            }
        }

        #[test]
        fn any_bytes_are_judged_without_panic(bytes in vec(any::<u8>(), 0..200)) {
            let _ = decode(bytes.into());
        }
    }
}
