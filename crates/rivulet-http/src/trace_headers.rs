//! Which span a request comes from, as its headers say: `traceparent` and `tracestate` (W3C Trace Context), or else
//! `uber-trace-id`, which older clients of Jaeger send.
//!
//! Strangers write them: what is not exactly as it should be is passed by, and no request fails because of it.

use actix_web::http::header::HeaderMap;
use opentelemetry::{
    Context, SpanId, TraceFlags, TraceId,
    propagation::{Extractor, TextMapPropagator as _},
    trace::{SpanContext, TraceContextExt as _, TraceState},
};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use percent_encoding::percent_decode_str;
use rivulet_core::TRACE_STATE_LEN_MAX;

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";
const UBER_TRACE_ID: &str = "uber-trace-id";
/// The length of a `traceparent` of version 00.
const TRACEPARENT_LEN: usize = 55;
/// The longest `uber-trace-id`, percent-encoded or not: 32, 16, 16 and 2 digits, and what stands between them.
const UBER_TRACE_ID_LEN_MAX: usize = 32 + 16 + 16 + 2 + 3 * 3;

/// The flags of `uber-trace-id`: the trace is recorded; or more than that, it is somebody's to find a mistake with.
const UBER_SAMPLED: u8 = 1;
const UBER_DEBUG: u8 = 2;

/// Which headers are looked at. The default: all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceHeaders {
    /// `traceparent` and `tracestate`.
    pub w3c: bool,
    /// `uber-trace-id`, where there is no valid `traceparent`.
    pub jaeger: bool,
}

impl Default for TraceHeaders {
    fn default() -> Self {
        Self { w3c: true, jaeger: true }
    }
}

/// The context with the span that a request comes from; without one if it comes from none.
pub(crate) fn parent(headers: &HeaderMap, which: TraceHeaders) -> Context {
    let none = Context::new();
    let traceparent = only(headers, TRACEPARENT).filter(|text| which.w3c && is_traceparent(text));
    if let Some(traceparent) = traceparent {
        let fields = Fields { traceparent, tracestate: tracestate(headers) };
        let extracted = TraceContextPropagator::new().extract_with_context(&none, &fields);
        if extracted.span().span_context().is_valid() {
            return extracted;
        }
    }
    match only(headers, UBER_TRACE_ID).filter(|_| which.jaeger).and_then(uber) {
        Some(span) => none.with_remote_span_context(span),
        None => none,
    }
}

/// The value of a header that stands there once.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name);
    let value = values.next()?;
    if values.next().is_some() {
        return None;
    }
    value.to_str().ok()
}

/// Whether a text has the shape that W3C Trace Context §3.2.2 gives: the library is more lenient. Versions to come may
/// have more behind it.
fn is_traceparent(text: &str) -> bool {
    let bytes = text.as_bytes();
    let is_shaped = bytes.iter().take(TRACEPARENT_LEN).enumerate().all(|(at, byte)| match at {
        2 | 35 | 52 => *byte == b'-',
        _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
    });
    let is_long_enough = match bytes.get(TRACEPARENT_LEN) {
        None => bytes.len() == TRACEPARENT_LEN,
        Some(next) => !text.starts_with("00") && *next == b'-',
    };
    is_shaped && is_long_enough
}

/// `tracestate`, whose members may stand in several headers (§3.3.1.1). One that is too long to travel with an update is
/// passed by: a stream would keep it for as long as it lasts.
fn tracestate(headers: &HeaderMap) -> Option<String> {
    let values = headers.get_all(TRACESTATE).map(|value| value.to_str().ok());
    let values = values.collect::<Option<Vec<&str>>>()?;
    let state = values.join(",");
    (!state.is_empty() && state.len() <= TRACE_STATE_LEN_MAX).then_some(state)
}

/// What the library looks for.
struct Fields<'a> {
    traceparent: &'a str,
    tracestate: Option<String>,
}

impl Extractor for Fields<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        match key {
            TRACEPARENT => Some(self.traceparent),
            TRACESTATE => self.tracestate.as_deref(),
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACEPARENT, TRACESTATE]
    }
}

/// `{trace id}:{span id}:{parent span id}:{flags}`, hexadecimal, zeros at the left left out; the colons may be
/// percent-encoded.
fn uber(text: &str) -> Option<SpanContext> {
    if text.len() > UBER_TRACE_ID_LEN_MAX {
        return None;
    }
    let text = percent_decode_str(text).decode_utf8().ok()?;
    let mut parts = text.split(':');
    let (trace_id, span_id) = (hex(parts.next()?, 32)?, hex(parts.next()?, 16)?);
    // Of the parent nobody speaks any more, but it has its place.
    let (_, flags) = (hex(parts.next()?, 16)?, hex(parts.next()?, 2)?);
    if parts.next().is_some() {
        return None;
    }
    let is_recorded = u8::try_from(flags).ok()? & (UBER_SAMPLED | UBER_DEBUG) != 0;
    let span = SpanContext::new(
        TraceId::from(trace_id),
        SpanId::from(u64::try_from(span_id).ok()?),
        TraceFlags::default().with_sampled(is_recorded),
        true,
        TraceState::default(),
    );
    span.is_valid().then_some(span)
}

/// A number of one to so many hexadecimal digits.
fn hex(digits: &str, len_max: usize) -> Option<u128> {
    let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    (is_hex && digits.len() <= len_max).then(|| u128::from_str_radix(digits, 16).ok()).flatten()
}

#[cfg(test)]
mod tests;
