//! The last id that a client sends: each has one spelling.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rivulet_core::{LastEventId, Position, cursor};

fuzz_target!(|text: &str| match LastEventId::parse(text) {
    LastEventId::Earliest => assert_eq!(text, "earliest"),
    LastEventId::Position(position) => {
        assert!(position <= Position::MAX);
        assert_eq!(cursor::position_id(position), text);
    }
    LastEventId::Publisher(id) => assert_eq!(id.as_str(), text),
    LastEventId::Unknown => {}
});
