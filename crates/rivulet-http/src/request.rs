//! The head of a request, out of actix's hands.
//!
//! actix keeps up to 256 requests of each worker for later ones, as they were: with each its table of headers and the buffer
//! that it came in, up to 128 KiB. So a head is taken out before anything looks at it, and goes with its handler; what actix
//! keeps of it is empty. Only requests that never get here stay as they came, at most 128 and until others take their
//! places: those that were sent ahead on a connection that ended first.

use std::{
    cell::Cell,
    future::{Ready, ready},
    mem,
    net::{IpAddr, SocketAddr},
};

use actix_web::{
    FromRequest, HttpMessage as _, HttpRequest,
    dev::{Payload, ServiceRequest},
    http::{Method, Uri, Version, header::HeaderMap},
};

use crate::handover::Taker;

/// Where nothing is.
const NOWHERE: &str = "/nowhere";
/// Nothing is routed by longer methods, which are memory of their own.
const METHOD_LEN_MAX: usize = 15;

/// What a client asked for.
pub(crate) struct Request {
    method: Method,
    version: Version,
    uri: Uri,
    headers: HeaderMap,
    peer: Option<SocketAddr>,
    taker: Option<Taker>,
    /// The client's address, as soon as it was asked for.
    pub(crate) client: Cell<Option<IpAddr>>,
}

impl Request {
    /// Takes the head out of a request and leaves what it is routed by: the method, and the path if it is one of `paths`.
    pub(crate) fn take(request: &mut ServiceRequest, paths: &[&'static str]) -> Self {
        let asked = request.match_info().as_str();
        let path = paths.iter().find(|path| **path == asked).unwrap_or(&NOWHERE);
        request.match_info_mut().get_mut().update(&Uri::from_static(path));
        let (peer, taker) = (request.peer_addr(), request.conn_data().cloned());
        let head = request.head_mut();
        let method = match head.method.as_str().len() {
            0..=METHOD_LEN_MAX => head.method.clone(),
            _ => mem::replace(&mut head.method, Method::TRACE),
        };
        Self {
            method,
            version: head.version,
            uri: mem::take(&mut head.uri),
            headers: mem::take(&mut head.headers),
            peer,
            taker,
            client: Cell::default(),
        }
    }

    pub(crate) fn method(&self) -> &Method {
        &self.method
    }

    pub(crate) fn version(&self) -> Version {
        self.version
    }

    /// The query string, without its question mark; empty if there is none.
    pub(crate) fn query(&self) -> &str {
        self.uri.query().unwrap_or_default()
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// Whoever made the connection. There is none where it came through a socket's file.
    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// What takes the connection's socket.
    pub(crate) fn taker(&self) -> &Taker {
        self.taker.as_ref().expect("the server puts a taker into every connection")
    }
}

impl FromRequest for Request {
    type Error = actix_web::Error;
    type Future = Ready<Result<Self, Self::Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(request
            .extensions_mut()
            .remove()
            .expect("the app puts one into every request, for one handler")))
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn what_actix_keeps_of_a_request_is_empty_and_routed_as_before() {
        let paths = ["/", "/.well-known/mercure"];
        for (asked, routed) in [
            ("/", "/"),
            ("/?topic=a", "/"),
            ("/.well-known/mercure?topic=a&topic=b", "/.well-known/mercure"),
            ("/%2Ewell-known/mercure", "/.well-known/mercure"),
            ("/.well-known/mercure/", NOWHERE),
            ("/elsewhere/../", NOWHERE),
            ("http://hub.example.com/.well-known/mercure?topic=a", "/.well-known/mercure"),
            ("*", NOWHERE),
            ("hub.example.com:443", NOWHERE),
        ] {
            let sent = TestRequest::with_uri(asked).method(Method::HEAD).insert_header(("Cookie", "a=b"));
            let mut kept = sent.to_srv_request();
            let taken = Request::take(&mut kept, &paths);
            assert_eq!((taken.uri.to_string().as_str(), taken.method()), (asked, &Method::HEAD));
            assert_eq!(taken.headers().get("cookie").unwrap(), "a=b");
            assert_eq!((kept.match_info().as_str(), kept.method()), (routed, &Method::HEAD));
            assert_eq!((kept.uri(), kept.headers().capacity()), (&Uri::default(), 0));
        }
    }

    #[test]
    fn a_long_method_does_not_stay() {
        let long = Method::from_bytes("X".repeat(10_000).as_bytes()).unwrap();
        let mut kept = TestRequest::default().method(long.clone()).to_srv_request();
        assert_eq!(Request::take(&mut kept, &[]).method(), long);
        assert_eq!(kept.method(), Method::TRACE);
    }
}
