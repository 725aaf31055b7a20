//! An update as transports keep and announce it: a compact, versioned byte string.
//!
//! ```text
//! version  1 byte   1
//! flags    1 byte   1 private, 2 has an id, 4 has a type, 8 has a retry, 16 has a trace context, 32 is extended
//! topics   count, then each as length and bytes; the canonical one first
//! id       length and bytes     if flagged
//! type     length and bytes     if flagged
//! retry    milliseconds         if flagged
//! data     length and bytes
//! trace    16 bytes of trace id, 8 of span id, 1 of flags, then length and bytes of the state    if flagged
//! more     what later releases add    if flagged, see `envelope/extensions.rs`
//! ```
//!
//! Nothing follows.
//!
//! Counts, lengths and milliseconds are LEB128 in its shortest form, so that an update has one encoding. What is
//! decoded was written by some node, but maybe by another version, and Redis may have been written to by others:
//! so every field passes the same `parse` that it passed when it was published.
//!
//! Nodes of two releases work side by side, and the log outlives an upgrade. So what is written here never changes for
//! an update that needs nothing new, and what this version cannot read is told from what is damaged:
//! [`EnvelopeError::is_newer`].

mod extensions;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use smallvec::SmallVec;

use self::extensions::Extension;
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
const FLAG_EXTENDED: u8 = 32;
const FLAGS: u8 = FLAG_PRIVATE | FLAG_ID | FLAG_TYPE | FLAG_RETRY | FLAG_TRACE | FLAG_EXTENDED;

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
    /// It has an extension that must not be passed over, and that this version does not have.
    #[error("the envelope has the extension {0}, which this node does not know and may not pass over")]
    CriticalExtension(u64),
    /// Its extensions are not what any version writes.
    #[error("the envelope's extensions {0}")]
    Extensions(&'static str),
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

impl EnvelopeError {
    /// Whether a newer version may have written it. Otherwise it is damaged, or not ours.
    pub fn is_newer(&self) -> bool {
        match self {
            Self::UnknownVersion(version) => *version > VERSION,
            Self::UnknownFlags(_) | Self::CriticalExtension(_) => true,
            _ => false,
        }
    }
}

/// Encodes an update.
pub fn encode(update: &Update) -> Bytes {
    encode_with(update, update.trace.as_deref(), extensions::written())
}

/// Encodes what was published: the same for a repeat, which comes from another span, or to a node of another version.
pub fn encode_content(update: &Update) -> Bytes {
    encode_with(update, None, &[])
}

fn encode_with(update: &Update, trace: Option<&TraceContext>, extensions: &[Extension]) -> Bytes {
    let texts_len: usize = update.topics.iter().map(|topic| topic.as_str().len() + 2).sum();
    let mut out = BytesMut::with_capacity(update.data.len() + texts_len + 64);
    out.put_u8(VERSION);
    out.put_u8(
        (if update.private { FLAG_PRIVATE } else { 0 })
            | update.id.as_ref().map_or(0, |_| FLAG_ID)
            | update.event_type.as_ref().map_or(0, |_| FLAG_TYPE)
            | update.retry_ms.map_or(0, |_| FLAG_RETRY)
            | trace.map_or(0, |_| FLAG_TRACE)
            | if extensions.is_empty() { 0 } else { FLAG_EXTENDED },
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
    extensions::put(&mut out, extensions);
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
    if flags & FLAG_EXTENDED != 0 {
        extensions::take(&mut envelope)?;
    }
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
mod tests;
