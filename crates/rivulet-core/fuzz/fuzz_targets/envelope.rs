//! Bytes from Redis: what is decoded has exactly one encoding.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use rivulet_core::envelope;

fuzz_target!(|bytes: &[u8]| {
    let bytes = Bytes::copy_from_slice(bytes);
    if let Ok(update) = envelope::decode(bytes.clone()) {
        assert_eq!(envelope::encode(&update), bytes);
    }
});
