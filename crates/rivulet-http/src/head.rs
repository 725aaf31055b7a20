//! The head of a stream's answer, which is written by us: actix has forgotten the connection by then.

use std::time::SystemTime;

use actix_web::http::{
    Version,
    header::{self, HeaderValue},
};
use bytes::Bytes;
use rivulet_core::{cursor::EARLIEST, text::is_control_or_format};
use rivulet_node::Resumed;

use crate::{auth::Dialect, hub::Hub, request::Request};

/// Names and values of an answer's headers.
pub(crate) type Headers = Vec<(&'static str, HeaderValue)>;

/// What every answer says to browsers: take it for what it is, show it nowhere, run nothing in it.
pub(crate) const SECURITY_HEADERS: [(&str, &str); 3] = [
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    (
        "Content-Security-Policy",
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
];

/// The headers of a stream, without those that depend on the connection.
pub(crate) fn stream_headers(
    hub: &Hub,
    request: &Request,
    dialect: Dialect,
    resumed: Option<(Resumed, &str)>,
) -> Headers {
    let mut headers = vec![
        ("Content-Type", HeaderValue::from_static("text/event-stream")),
        // Streams must not be stored; the long form is for old proxies.
        (
            "Cache-Control",
            HeaderValue::from_static("private, no-cache, no-store, must-revalidate, max-age=0"),
        ),
        // nginx buffers answers of its upstreams unless told not to.
        ("X-Accel-Buffering", HeaderValue::from_static("no")),
    ];
    headers.extend(SECURITY_HEADERS.map(|(name, value)| (name, HeaderValue::from_static(value))));
    headers.extend(hub.config.cors.headers(request.headers().get(header::ORIGIN)));
    if let Some((resumed, requested)) = resumed {
        headers.push((resumed_name(dialect), resumed_value(resumed, requested)));
    }
    headers
}

fn resumed_name(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::V0 => "Last-Event-ID",
        Dialect::V1 => "Mercure-Last-Event-ID",
    }
}

/// The requested id if it is known, else `earliest`. Ids are UTF-8 and are sent as such, as other hubs do: clients
/// compare them. A line break in one would start a header of the client's choice, so nothing with a control character
/// gets through, whatever the node says about it.
fn resumed_value(resumed: Resumed, requested: &str) -> HeaderValue {
    let known = matches!(resumed, Resumed::Known) && !requested.chars().any(is_control_or_format);
    let value = if known { requested } else { EARLIEST };
    HeaderValue::from_bytes(value.as_bytes()).unwrap_or_else(|_| HeaderValue::from_static(EARLIEST))
}

/// The bytes of the head, and of the comment that makes `onopen` fire at once.
///
/// There is neither a length nor a transfer coding: the body ends with the connection (RFC 9112 §6.3), so that frames
/// are written as they are, the same bytes for everybody.
pub(crate) fn stream_head(version: Version, headers: &Headers) -> Bytes {
    let mut head = Vec::with_capacity(640);
    head.extend_from_slice(b"HTTP/1.1 200 OK\r\nDate: ");
    head.extend_from_slice(httpdate::fmt_http_date(SystemTime::now()).as_bytes());
    // A client of HTTP/1.0 (nginx' default towards upstreams) would take keep-alive for a promise of a length.
    let connection: &[u8] = if version < Version::HTTP_11 { b"close" } else { b"keep-alive" };
    head.extend_from_slice(b"\r\nConnection: ");
    head.extend_from_slice(connection);
    for (name, value) in headers {
        head.extend_from_slice(b"\r\n");
        head.extend_from_slice(name.as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
    }
    head.extend_from_slice(b"\r\n\r\n:\n");
    head.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_ids_without_control_characters_are_repeated() {
        let check = |resumed, requested: &str, expected: &str| {
            assert_eq!(resumed_value(resumed, requested).as_bytes(), expected.as_bytes(), "{requested:?}");
        };
        check(Resumed::Known, "urn:uuid:1", "urn:uuid:1");
        check(Resumed::Known, "#17", "#17");
        check(Resumed::Known, "été", "été");
        check(Resumed::Earliest, "urn:uuid:1", "earliest");
        check(Resumed::Known, "a\r\nSet-Cookie: b", "earliest");
        check(Resumed::Known, "a\u{7F}", "earliest");
    }

    #[test]
    fn a_head_ends_with_the_comment_that_opens_the_stream() {
        let headers = vec![("Content-Type", HeaderValue::from_static("text/event-stream"))];
        let head = |version| String::from_utf8(stream_head(version, &headers).to_vec()).unwrap();
        assert!(head(Version::HTTP_11).starts_with("HTTP/1.1 200 OK\r\nDate: "));
        assert!(head(Version::HTTP_11).contains("\r\nConnection: keep-alive\r\n"));
        assert!(head(Version::HTTP_10).contains("\r\nConnection: close\r\n"));
        assert!(head(Version::HTTP_11).ends_with("\r\nContent-Type: text/event-stream\r\n\r\n:\n"));
    }
}
