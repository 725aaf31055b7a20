//! Traces as they come, and the pictures that become of them.

use super::{tree::Placed, *};

const PUBLISH: &[u8] = include_bytes!("tests/publish.json");
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn placed(bytes: &[u8]) -> Vec<Placed> {
    tree::order(spans(bytes, None).unwrap())
}

#[test]
fn a_trace_is_drawn_as_a_tree_with_bars() {
    let drawn = drawing::draw(&placed(PUBLISH), Colours::None);
    let expected = "\
trace 4bf92f3577b34da6a3ce929d0e0e4736: 5 spans on 2 nodes, 4.00 ms

… POST /.well-known/mercure  server    a1a1a1a1       0 µs    4.00 ms  ━━━━━━━━━━━━━━━━━━━━━━━━  status=200
└─ send                      producer  a1a1a1a1     500 µs    3.00 ms     ━━━━━━━━━━━━━━━━━━     topic=https://example.com/books/1
   ├─ EVALSHA append         client    a1a1a1a1    1.00 ms    2.00 ms        ━━━━━━━━━━━━        script=append
   ├─ process                consumer  a1a1a1a1    3.10 ms     200 µs                    ━       reached=1 queue_time=50µs
   └─ process                consumer  b2b2b2b2    3.20 ms     500 µs                     ━━━    ERROR overflow no room  lagging=2
";
    assert_eq!(drawn, expected, "\n{drawn}");
}

#[test]
fn colours_mark_errors_and_change_nothing_else() {
    let (plain, colourful) =
        (drawing::draw(&placed(PUBLISH), Colours::None), drawing::draw(&placed(PUBLISH), Colours::Ansi));
    let red = colourful.lines().filter(|line| line.contains("\x1b[31m")).count();
    assert_eq!(red, 1);
    let mut stripped = String::new();
    for (index, part) in colourful.split('\x1b').enumerate() {
        stripped += if index == 0 { part } else { part.split_once('m').unwrap().1 };
    }
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words(&stripped), words(&plain));
}

/// A document of spans that have only an id, a parent and a start.
fn document(spans: &[(&str, &str, u64)]) -> Vec<u8> {
    let spans: Vec<_> = spans
        .iter()
        .map(|(id, parent, start)| {
            serde_json::json!({"traceId": TRACE, "spanId": id, "parentSpanId": parent, "name": id,
                               "startTimeUnixNano": start, "endTimeUnixNano": start + 1})
        })
        .collect();
    serde_json::to_vec(&serde_json::json!({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]})).unwrap()
}

#[test]
fn lost_parents_repeated_spans_and_circles_are_drawn_too() {
    let [a, b, c, d, e] = ["a", "b", "c", "d", "e"].map(|letter| letter.repeat(16));
    let spans = [
        (&*a, "", 1),
        (&*a, &*b, 9),
        (&*c, "0123456789abcdef", 2),
        // Each is the other's parent.
        (&*d, &*e, 3),
        (&*e, &*d, 4),
    ];
    let placed = placed(&document(&spans));
    let ids: Vec<_> = placed.iter().map(|placed| placed.span.span_id.as_str()).collect();
    assert_eq!(ids, [&a, &c, &d, &e]);
    assert_eq!(placed.iter().map(|placed| placed.is_orphan).collect::<Vec<_>>(), [false, true, true, false]);
    let drawn = drawing::draw(&placed, Colours::None);
    assert_eq!(drawn.lines().count(), 2 + ids.len(), "{drawn}");
}

#[test]
fn a_parent_of_zeros_is_none_and_spaces_in_values_stay() {
    let text = serde_json::json!({"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": TRACE,
        "spanId": "aaaaaaaaaaaaaaaa", "parentSpanId": "0000000000000000", "name": "kick", "attributes": [
            {"key": "messaging.destination.name", "value": {"stringValue": "news of today"}},
            {"key": "rivulet.ended", "value": {"intValue": "3"}}]}]}]}]});
    let drawn = drawing::draw(&placed(&serde_json::to_vec(&text).unwrap()), Colours::None);
    let line = drawn.lines().nth(2).unwrap();
    assert!(line.starts_with("kick "), "it is no orphan: {line}");
    assert!(line.ends_with("topic=\"news of today\" ended=3"), "{line}");
}

#[test]
fn what_is_shown_is_what_spans_say() {
    // The names that are ours; the others are those of the semantic conventions.
    let sources = [
        include_str!("../../../rivulet-node/src/message_span.rs"),
        include_str!("../../../rivulet-node/src/seat_trace.rs"),
        include_str!("../../../rivulet-node/src/drain.rs"),
        include_str!("../../../rivulet-node/src/kicker.rs"),
        include_str!("../../../rivulet-node/src/limits.rs"),
        include_str!("../../../rivulet-node/src/subscribe.rs"),
        include_str!("../../../rivulet-http/src/request_span.rs"),
        include_str!("../../../rivulet-redis/src/backfill.rs"),
        include_str!("../../../rivulet-redis/src/outage.rs"),
    ];
    let ours = drawing::SHOWN.iter().map(|(key, _)| *key).filter(|key| key.starts_with("rivulet."));
    let dead: Vec<_> =
        ours.filter(|key| !sources.iter().any(|source| source.contains(&format!("\"{key}\"")))).collect();
    assert!(dead.is_empty(), "no span says {dead:?}");
}

#[test]
fn a_very_deep_trace_stays_on_the_screen() {
    let ids: Vec<String> = (1..=1_000).map(|number| format!("{number:016x}")).collect();
    let spans: Vec<_> = (0..ids.len())
        .map(|index| (&*ids[index], if index == 0 { "" } else { &*ids[index - 1] }, index as u64))
        .collect();
    let drawn = drawing::draw(&placed(&document(&spans)), Colours::None);
    assert_eq!(drawn.lines().count(), 1_002);
    assert!(drawn.lines().all(|line| line.chars().count() < 250), "{drawn}");
}

#[test]
fn nothing_in_a_trace_reaches_the_terminal_as_it_is() {
    let name = "\u{1b}[2J\u{202e}evil\nname\u{9b}31m";
    let text = serde_json::json!({"resourceSpans": [{"resource": {"attributes": [
        {"key": "service.instance.id", "value": {"stringValue": "\u{1b}c"}}]},
        "scopeSpans": [{"spans": [{"traceId": TRACE, "spanId": "aaaaaaaaaaaaaaaa", "name": name,
            "status": {"code": "STATUS_CODE_ERROR", "message": name},
            "attributes": [{"key": "messaging.destination.name", "value": {"stringValue": name}}]}]}]}]});
    let drawn = drawing::draw(&placed(&serde_json::to_vec(&text).unwrap()), Colours::None);
    assert_eq!(drawn.lines().count(), 3, "{drawn}");
    let bad = drawn.chars().find(|c| c.is_control() && *c != '\n' || *c == '\u{202e}');
    assert_eq!(bad, None, "{drawn:?}");
    assert!(drawn.contains("evil"), "{drawn}");
}

#[test]
fn a_collectors_file_has_an_object_per_line_and_the_id_says_which_trace() {
    let other = "0af7651916cd43dd8448eb211c80319c";
    let one = document(&[("aaaaaaaaaaaaaaaa", "", 1)]);
    let second = String::from_utf8(document(&[("bbbbbbbbbbbbbbbb", "", 1)])).unwrap().replace(TRACE, other);
    let file = [&one[..], b"\n", second.as_bytes(), b"\n"].concat();
    let found = spans(&file, Some(other)).unwrap();
    assert_eq!((found.len(), found[0].span_id.as_str()), (1, "bbbbbbbbbbbbbbbb"));
    let failure = spans(&file, None).unwrap_err();
    assert_eq!(failure.code, Code::Usage);
    assert!(failure.message.contains(TRACE) && failure.message.contains(other), "{failure}");
    let missing = spans(&file, Some("00000000000000000000000000000001")).unwrap_err();
    assert_eq!(missing.code, Code::Data);
}

#[test]
fn what_is_no_trace_is_refused_with_a_reason() {
    let check = |text: &str, word: &str| {
        let failure = spans(text.as_bytes(), None).unwrap_err();
        assert_eq!(failure.code, Code::Data, "{text}");
        assert!(failure.message.contains(word), "{text}: {failure}");
    };
    check("", "no spans");
    check("{}", "no spans");
    check("<html>", "no trace");
    check("{\"resourceSpans\":7}", "no trace");
    check("{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":[{\"traceId\":\"x\"}]}]}]}", "32 hexadecimal");
}

#[test]
fn a_trace_id_is_read_as_people_paste_it() {
    let check = |text: &str, expected: Option<&str>| {
        assert_eq!(trace_id(text).ok().as_deref(), expected, "{text}");
    };
    check(TRACE, Some(TRACE));
    check(&TRACE.to_uppercase(), Some(TRACE));
    check(&format!("00-{TRACE}-00f067aa0ba902b7-01"), Some(TRACE));
    check("a3ce929d0e0e4736", Some("0000000000000000a3ce929d0e0e4736"));
    for wrong in ["", "0", "x", "../../etc", &"a".repeat(33)] {
        check(wrong, None);
    }
}
