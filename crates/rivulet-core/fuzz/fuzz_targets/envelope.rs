//! Bytes from Redis: what is decoded has exactly one encoding, but for what later releases add.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use rivulet_core::envelope;

fuzz_target!(|bytes: &[u8]| {
    let bytes = Bytes::copy_from_slice(bytes);
    if let Ok(update) = envelope::decode(bytes.clone()) {
        let again = envelope::encode(&update);
        // The flag of extensions: they are passed over, and not written again.
        if bytes[1] & 32 == 0 {
            assert_eq!(again, bytes);
        } else {
            assert!(again.len() < bytes.len());
            assert_eq!(envelope::decode(again), Ok(update));
        }
    }
});
