//! What goes in comes out, what was recorded stays as it is, and what is not an envelope is refused by name.

use proptest::{collection::vec, option, prelude::*};

use super::*;

/// What this version wrote for an update, as hexadecimal digits. A version that writes something else for the same update, or
/// cannot read one of these, does not work beside this one, nor with its log.
const RECORDED: [(&str, &str); 6] = [
    ("the least", "010001016100"),
    ("private", "0101010161026869"),
    ("with an id, a type and a retry", "010e0101610169017405026869"),
    ("with everything", "010f02016102626301690174ac02026869"),
    ("traced", "01100101610268693031323334353637383961626364656630313233343536370103613d62"),
    ("long", "01000101618002"),
];

fn recorded(what: &str) -> Update {
    let topics: &[&str] = if what == "with everything" { &["a", "bc"] } else { &["a"] };
    let is_full = what.starts_with("with");
    let data = match what {
        "the least" => Bytes::new(),
        "long" => Bytes::from(vec![b'x'; 256]),
        _ => Bytes::from_static(b"hi"),
    };
    Update {
        topics: topics.iter().map(|topic| Topic::parse(topic).unwrap()).collect(),
        data,
        private: what == "private" || what == "with everything",
        id: is_full.then(|| EventId::parse("i").unwrap()),
        event_type: is_full.then(|| EventType::parse("t").unwrap()),
        retry_ms: is_full.then_some(if what == "with everything" { 300 } else { 5 }),
        trace: (what == "traced")
            .then(|| TraceContext::new(*b"0123456789abcdef", *b"01234567", 1, "a=b").map(Box::new))
            .flatten(),
    }
}

fn bytes_of(hexadecimal: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&hexadecimal[at..at + 2], 16).unwrap();
    (0..hexadecimal.len()).step_by(2).map(digit).collect()
}

#[test]
fn what_was_recorded_is_written_and_read_for_ever() {
    for (what, hexadecimal) in RECORDED {
        let update = recorded(what);
        let mut envelope = bytes_of(hexadecimal);
        if what == "long" {
            envelope.extend_from_slice(&update.data);
        }
        assert_eq!(encode(&update), envelope, "{what}");
        assert_eq!(decode(envelope.into()), Ok(update), "{what}");
    }
}

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
    check(b"\x01\x40\x01\x01a\x00", EnvelopeError::UnknownFlags(0x40));
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

/// An envelope with extensions, tag by tag.
fn extended(update: &Update, extensions: &[(u64, Vec<u8>)]) -> Bytes {
    let mut out = BytesMut::from(&encode(update)[..]);
    out[1] |= FLAG_EXTENDED;
    for (tag, bytes) in extensions {
        put_number(&mut out, *tag);
        put_bytes(&mut out, bytes);
    }
    out.freeze()
}

#[test]
fn extensions_are_passed_over_unless_they_are_critical() {
    let update = recorded("traced");
    let check = |extensions: &[(u64, &[u8])], expected: Result<(), EnvelopeError>| {
        let owned: Vec<_> = extensions.iter().map(|(tag, bytes)| (*tag, bytes.to_vec())).collect();
        let expected = expected.map(|()| update.clone());
        assert_eq!(decode(extended(&update, &owned)), expected, "{extensions:?}");
    };
    check(&[(0, b"")], Ok(()));
    check(&[(2, b"x"), (64, b"next"), (u64::MAX - 1, b"")], Ok(()));
    check(&[(2, b"x"), (3, b"y"), (5, b"z")], Err(EnvelopeError::CriticalExtension(3)));
    check(&[(u64::MAX, b"")], Err(EnvelopeError::CriticalExtension(u64::MAX)));
    check(&[], Err(EnvelopeError::Truncated("extension")));
    check(&[(4, b""), (2, b"")], Err(EnvelopeError::Extensions("are not in ascending order")));
    check(&[(2, b""), (2, b"")], Err(EnvelopeError::Extensions("are not in ascending order")));
    check(&[(2, &[0; 16 << 10])], Err(EnvelopeError::Extensions("are longer than 16 KiB")));
    let many: Vec<(u64, &[u8])> = (0..33).map(|number| (2 * number, &b""[..])).collect();
    check(&many[..32], Ok(()));
    check(&many, Err(EnvelopeError::Extensions("are more than 32")));
    // What is damaged further on is damaged, not newer.
    check(&[(3, b""), (2, b"")], Err(EnvelopeError::Extensions("are not in ascending order")));
}

#[test]
fn what_is_newer_is_told_from_what_is_damaged() {
    let newer = |envelope: &[u8]| decode(Bytes::copy_from_slice(envelope)).unwrap_err().is_newer();
    assert!(newer(b"\x02whatever"));
    assert!(newer(b"\x01\x80\x01\x01a\x00"));
    assert!(newer(b"\x01\x20\x01\x01a\x00\x03\x00"));
    assert!(!newer(b"\x00\x00\x01\x01a\x00"));
    assert!(!newer(b"\x01\x20\x01\x01a\x00\x02\x01"));
    assert!(!newer(b""));
}

proptest! {
    #[test]
    fn an_extended_envelope_is_read_as_if_it_were_not(
        update in update(),
        extensions in proptest::collection::btree_map(any::<u64>(), vec(any::<u8>(), 0..40), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let critical = extensions.keys().find(|tag| *tag % 2 == 1).copied();
        let envelope = extended(&update, &extensions.into_iter().collect::<Vec<_>>());
        let read = decode(envelope.clone());
        match critical {
            None => prop_assert_eq!(read, Ok(update.clone())),
            Some(tag) => prop_assert_eq!(read, Err(EnvelopeError::CriticalExtension(tag))),
        }
        // Cut off, it is never taken for another update.
        if let Ok(read) = decode(envelope.slice(..cut.index(envelope.len()))) {
            prop_assert_eq!(read, update);
        }
    }

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
            // What later releases add is passed over, and not written again.
            prop_assert!(encode(&update) == envelope || envelope[1] & FLAG_EXTENDED != 0);
        }
    }

    #[test]
    fn any_bytes_are_judged_without_panic(bytes in vec(any::<u8>(), 0..200)) {
        let _ = decode(bytes.into());
    }
}
