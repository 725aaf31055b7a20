//! Content, id and type from publishers: an SSE parser reads from the frame what was put in, and nothing else.
#![no_main]

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use rivulet_core::{EventId, EventType, Frame, Partitions, Position, Topic, Update};
use russe::{Decoder, Event};
use tokio_util::codec::Decoder as _;

fuzz_target!(|text: &str| {
    // The first two lines are tried as id and type, the rest is the content.
    let mut lines = text.splitn(3, '\n');
    let [id, event_type, data] = [(); 3].map(|()| lines.next().unwrap_or_default());
    let update = Update {
        topics: [Topic::parse("topic").expect("is a topic")].into_iter().collect(),
        data: Bytes::copy_from_slice(data.as_bytes()),
        private: false,
        id: EventId::parse(id).ok(),
        event_type: EventType::parse(event_type).ok(),
        retry_ms: (!id.is_empty()).then_some(id.len() as u64),
        trace: None,
    };
    let frame = Frame::encode(Partitions::ONE, Position::from_micros(7), &update);

    let (mut decoder, mut bytes) = (Decoder::default(), BytesMut::from(&frame.bytes[..]));
    let Some(Event::Message(message)) = decoder.decode(&mut bytes).expect("is SSE") else {
        panic!("no message")
    };
    assert_eq!(message.data, data.replace("\r\n", "\n").replace('\r', "\n"));
    assert_eq!(message.id.as_deref(), Some(update.id.as_ref().map_or("#7", EventId::as_str)));
    assert_eq!(message.event.as_deref(), update.event_type.as_ref().map(EventType::as_str));
    assert_eq!(message.retry.map(|retry| retry.as_millis()), update.retry_ms.map(u128::from));
    assert!(bytes.is_empty() && decoder.decode(&mut bytes).expect("is SSE").is_none());
});
