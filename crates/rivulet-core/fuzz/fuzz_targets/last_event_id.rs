//! The last id that a client sends: each has one spelling.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rivulet_core::{LastEventId, Partitions, Position};

fuzz_target!(|text: &str| {
    for count in [1, 64] {
        let partitions = Partitions::new(count).expect("is a count");
        match LastEventId::parse(text, partitions) {
            LastEventId::Earliest => assert_eq!(text, "earliest"),
            LastEventId::Cursor(cursor) => {
                assert!(partitions.iter().all(|partition| cursor.position(partition) <= Position::MAX));
                assert_eq!(cursor.id(partitions), text);
            }
            LastEventId::Publisher(id) => assert_eq!(id.as_str(), text),
            LastEventId::Unknown => {}
        }
    }
});
