//! A trace context: by which span an update came into being (W3C Trace Context, level 2, §3.2 and §3.3).
//!
//! Only sampled contexts travel with updates: for the others no node records anything.

use std::fmt;

/// The longest trace state that travels with an update, in bytes: what W3C says has to be propagated (§3.3.1.5).
pub const TRACE_STATE_LEN_MAX: usize = 512;
/// The flag that says that the trace is recorded.
const SAMPLED: u8 = 1;

/// The span that created an update. Both ids are never all zeros.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: [u8; 16],
    span_id: [u8; 8],
    flags: u8,
    state: Box<str>,
}

impl TraceContext {
    /// A context of these parts; none if an id is all zeros, or the state is longer than [`TRACE_STATE_LEN_MAX`] or not
    /// made of printable ASCII. `state` is the value of a `tracestate` header and may be empty.
    pub fn new(trace_id: [u8; 16], span_id: [u8; 8], flags: u8, state: &str) -> Option<Self> {
        let is_printable = state.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        let is_valid = trace_id != [0; 16] && span_id != [0; 8];
        (is_valid && is_printable && state.len() <= TRACE_STATE_LEN_MAX).then(|| Self {
            trace_id,
            span_id,
            flags,
            state: state.into(),
        })
    }

    /// The id of the trace.
    pub fn trace_id(&self) -> [u8; 16] {
        self.trace_id
    }

    /// The id of the span.
    pub fn span_id(&self) -> [u8; 8] {
        self.span_id
    }

    /// The trace flags.
    pub fn flags(&self) -> u8 {
        self.flags
    }

    /// Whether the trace is recorded.
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// What vendors have to say about the trace: the value of `tracestate`.
    pub fn state(&self) -> &str {
        &self.state
    }
}

/// The value of a `traceparent` header: `00-<trace id>-<span id>-<flags>`, 55 bytes.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (trace_id, span_id) = (u128::from_be_bytes(self.trace_id), u64::from_be_bytes(self.span_id));
        write!(f, "00-{trace_id:032x}-{span_id:016x}-{:02x}", self.flags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_is_written_as_a_traceparent() {
        let context = TraceContext::new([0x0a; 16], [0, 0, 0, 0, 0, 0, 0, 0xb7], 1, "a=b").unwrap();
        assert_eq!(context.to_string(), "00-0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a-00000000000000b7-01");
        assert!(context.is_sampled());
        assert_eq!(context.state(), "a=b");
    }

    #[test]
    fn what_is_no_context_is_refused() {
        assert_eq!(TraceContext::new([0; 16], [1; 8], 1, ""), None);
        assert_eq!(TraceContext::new([1; 16], [0; 8], 1, ""), None);
        assert_eq!(TraceContext::new([1; 16], [1; 8], 1, "a=\n"), None);
        assert_eq!(TraceContext::new([1; 16], [1; 8], 1, &"a".repeat(TRACE_STATE_LEN_MAX + 1)), None);
    }
}
