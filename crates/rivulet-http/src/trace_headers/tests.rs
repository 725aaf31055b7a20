//! What clients and proxies really send, and what nobody should.

use actix_web::http::header::{HeaderName, HeaderValue};
use proptest::prelude::*;

use super::*;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

fn headers(lines: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        headers.append(name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

/// Trace, span, whether it is recorded, and the state; nothing if there is no span.
fn found(lines: &[(&str, &str)]) -> Option<(String, String, bool, String)> {
    let context = parent(&headers(lines), TraceHeaders::default());
    let span = context.span().span_context().clone();
    span.is_valid().then(|| {
        let state = span.trace_state().header();
        (span.trace_id().to_string(), span.span_id().to_string(), span.is_sampled(), state)
    })
}

fn expected(is_recorded: bool, state: &str) -> Option<(String, String, bool, String)> {
    Some((TRACE.to_owned(), SPAN.to_owned(), is_recorded, state.to_owned()))
}

#[test]
fn a_traceparent_leads_to_its_span() {
    let check = |flags: &str, state: &[&str], expected: Option<_>| {
        let traceparent = format!("00-{TRACE}-{SPAN}-{flags}");
        let mut lines = vec![("traceparent", traceparent.as_str())];
        lines.extend(state.iter().map(|state| ("tracestate", *state)));
        assert_eq!(found(&lines), expected, "{flags} {state:?}");
    };
    check("01", &[], expected(true, ""));
    check("00", &[], expected(false, ""));
    check("03", &["a=1,b=2"], expected(true, "a=1,b=2"));
    check("01", &["a=1", "b=2"], expected(true, "a=1,b=2"));
    check("01", &["this is no state"], expected(true, ""));
    // A version to come may say more.
    assert_eq!(found(&[("traceparent", &format!("cc-{TRACE}-{SPAN}-01-more"))]), expected(true, ""));
    assert_eq!(found(&[("traceparent", &format!("cc-{TRACE}-{SPAN}-01"))]), expected(true, ""));
}

#[test]
fn what_is_no_traceparent_is_passed_by() {
    let upper = TRACE.to_uppercase();
    let zeros = "0".repeat(32);
    for wrong in [
        String::new(),
        "garbage".to_owned(),
        format!("00-{TRACE}-{SPAN}"),
        format!("00-{TRACE}-{SPAN}-1"),
        format!("00-{TRACE}-{SPAN}-01-more"),
        format!("00-{TRACE}-{SPAN}-01-"),
        format!("ff-{TRACE}-{SPAN}-01"),
        format!("0-{TRACE}-{SPAN}-01"),
        format!("00-{upper}-{SPAN}-01"),
        format!("00-{zeros}-{SPAN}-01"),
        format!("00-{TRACE}-0000000000000000-01"),
        format!("00-+{}-{SPAN}-01", &TRACE[1..]),
        format!("00-{TRACE}-{SPAN}-0x"),
        format!("00_{TRACE}_{SPAN}_01"),
        format!("cc-{TRACE}-{SPAN}-01more"),
    ] {
        assert_eq!(found(&[("traceparent", &wrong)]), None, "{wrong:?}");
    }
    let right = format!("00-{TRACE}-{SPAN}-01");
    assert_eq!(found(&[("traceparent", &right), ("traceparent", &right)]), None, "it stands there once");
    let other = format!("{TRACE}:{SPAN}:0:1");
    assert_eq!(found(&[("traceparent", "garbage"), ("uber-trace-id", &other)]), expected(true, ""));
}

#[test]
fn an_uber_trace_id_leads_to_its_span() {
    let check =
        |text: &str, expected: Option<_>| assert_eq!(found(&[("uber-trace-id", text)]), expected, "{text}");
    for (flags, is_recorded) in
        [("1", true), ("01", true), ("0", false), ("3", true), ("2", true), ("8", false)]
    {
        check(&format!("{TRACE}:{SPAN}:0:{flags}"), expected(is_recorded, ""));
    }
    check(&format!("{TRACE}%3A{SPAN}%3A0%3a1"), expected(true, ""));
    check(&format!("{}:{}:{SPAN}:1", TRACE.to_uppercase(), SPAN.to_uppercase()), expected(true, ""));
    // A client of 64 bits, and zeros that are left out.
    let padded = |trace: &str, span: &str| Some((trace.to_owned(), span.to_owned(), true, String::new()));
    check("a3ce929d0e0e4736:f067aa0ba902b7:0:1", padded("0000000000000000a3ce929d0e0e4736", SPAN));
    check("1:2:0:1", padded("00000000000000000000000000000001", "0000000000000002"));
    for wrong in [
        "",
        "1:2:0",
        "1:2:0:1:1",
        "0:2:0:1",
        "1:0:0:1",
        "1::0:1",
        "1:2::1",
        "g:2:0:1",
        "+1:2:0:1",
        "1:2:0:100",
        "%FF:2:0:1",
    ] {
        check(wrong, None);
    }
    check(&format!("0{TRACE}:{SPAN}:0:1"), None);
    check(&format!("{TRACE}:0{SPAN}:0:1"), None);
}

#[test]
fn a_traceparent_is_believed_before_an_uber_trace_id() {
    let traceparent = format!("00-{TRACE}-{SPAN}-00");
    assert_eq!(found(&[("uber-trace-id", "1:2:0:1"), ("traceparent", &traceparent)]), expected(false, ""));
    assert_eq!(found(&[]), None);
}

proptest! {
    #[test]
    fn no_header_is_too_strange(
        traceparent in "[ -~]{0,60}",
        almost in "00-[0-9a-f]{31,33}-[0-9a-f]{15,17}-[0-9a-f]{1,3}",
        state in "[ -~]{0,600}",
        uber in "[0-9a-fA-F:%+-]{0,90}",
    ) {
        for traceparent in [&traceparent, &almost] {
            let lines =
                [("traceparent", traceparent.trim()), ("tracestate", state.trim()), ("uber-trace-id", uber.as_str())];
            if let Some((trace, span, ..)) = found(&lines) {
                prop_assert_eq!((trace.len(), span.len()), (32, 16));
            }
        }
    }
}

#[test]
fn only_the_headers_that_are_asked_for_are_read() {
    let traceparent = format!("00-{TRACE}-{SPAN}-01");
    let uber = format!("{TRACE}:{SPAN}:0:1");
    let read = |line: (&str, &str), w3c, jaeger| {
        let context = parent(&headers(&[line]), TraceHeaders { w3c, jaeger });
        context.span().span_context().is_valid()
    };
    assert!(read(("traceparent", &traceparent), true, false));
    assert!(!read(("traceparent", &traceparent), false, true));
    assert!(read(("uber-trace-id", &uber), false, true));
    assert!(!read(("uber-trace-id", &uber), true, false));
}

#[test]
fn a_tracestate_that_is_too_long_to_travel_is_passed_by() {
    let traceparent = format!("00-{TRACE}-{SPAN}-01");
    let long = format!("a={}", "x".repeat(250));
    let lines = |times| {
        let states = (0..times).map(|_| ("tracestate", long.as_str()));
        [("traceparent", traceparent.as_str())].into_iter().chain(states).collect::<Vec<_>>()
    };
    assert_eq!(found(&lines(1)), expected(true, &long));
    assert_eq!(found(&lines(3)), expected(true, ""));
}
