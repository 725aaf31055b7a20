//! What later releases add to envelopes: to the end, each extension as tag, length and bytes, at least one, the tags in
//! ascending order.
//!
//! An even tag may be passed over by who does not know it: the update is delivered all the same. An odd one is critical:
//! who does not know it cannot read the update. This version knows none, and what it passes over is still in the log for
//! who does. These rules, and the bounds, are for ever: nodes of this version keep to them.

use bytes::{Bytes, BytesMut};

use super::{EnvelopeError, put_bytes, put_number, take_bytes, take_number};
use crate::fault::{self, Fault};

/// How many extensions there are at most.
const COUNT_MAX: usize = 32;
/// How long they are together at most.
const LEN_MAX: usize = 16 << 10;

/// A tag and what it brings.
pub(super) type Extension = (u64, &'static [u8]);

/// What the next release would write, for the tests of nodes of two versions side by side.
const NEXT: Extension = (64, b"next");
const NEXT_CRITICAL: Extension = (65, b"next format");

/// The extensions that every envelope gets.
pub(super) fn written() -> &'static [Extension] {
    if fault::is(Fault::NextFormat) {
        &[NEXT, NEXT_CRITICAL]
    } else if fault::is(Fault::NextVersion) {
        &[NEXT]
    } else {
        &[]
    }
}

fn is_known(tag: u64) -> bool {
    fault::is(Fault::NextFormat) && tag == NEXT_CRITICAL.0
}

pub(super) fn put(out: &mut BytesMut, extensions: &[Extension]) {
    for (tag, bytes) in extensions {
        put_number(out, *tag);
        put_bytes(out, bytes);
    }
}

/// Takes all extensions, which are the rest of an envelope.
pub(super) fn take(from: &mut Bytes) -> Result<(), EnvelopeError> {
    if from.len() > LEN_MAX {
        return Err(EnvelopeError::Extensions("are longer than 16 KiB"));
    }
    let (mut last, mut critical) = (None, None);
    for _ in 0..COUNT_MAX {
        let tag = take_number(from, "extension")?;
        if last.is_some_and(|last| last >= tag) {
            return Err(EnvelopeError::Extensions("are not in ascending order"));
        }
        take_bytes(from, "extension")?;
        last = Some(tag);
        if tag % 2 == 1 && !is_known(tag) {
            critical = critical.or(last);
        }
        if from.is_empty() {
            return critical.map_or(Ok(()), |tag| Err(EnvelopeError::CriticalExtension(tag)));
        }
    }
    Err(EnvelopeError::Extensions("are more than 32"))
}
