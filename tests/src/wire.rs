//! HTTP/1.1 by hand: requests that no client library would send, and answers read to the last byte.

use std::{fmt::Debug, net::SocketAddr};

use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::within;

/// The path of the hub.
pub const HUB_PATH: &str = "/.well-known/mercure";

/// A connection, whatever carries it: TCP, or TLS over it.
pub trait Wire: AsyncRead + AsyncWrite + Unpin + Send + Debug {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send + Debug> Wire for T {}

/// A request as it will stand on the wire.
#[derive(Clone, Debug)]
pub struct Request {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    /// A request without headers but `Host` and, for a body, `Content-Length`.
    pub fn new(method: &str, target: &str) -> Self {
        Self { method: method.to_owned(), target: target.to_owned(), headers: Vec::new(), body: Vec::new() }
    }

    /// `GET` on the hub with this query string, taken as it is.
    pub fn subscribe(query: &str) -> Self {
        Self::new("GET", &format!("{HUB_PATH}?{query}")).header("Accept", "text/event-stream")
    }

    /// `POST` on the hub with these form fields, which are encoded.
    pub fn publish(fields: &[(&str, &str)]) -> Self {
        Self::publish_raw(form(fields).as_bytes())
    }

    /// `POST` on the hub with this form, taken as it is.
    pub fn publish_raw(form: &[u8]) -> Self {
        Self::new("POST", HUB_PATH).header("Content-Type", "application/x-www-form-urlencoded").body(form)
    }

    /// One more header line.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// `Authorization: Bearer …`.
    #[must_use]
    pub fn bearer(self, token: &str) -> Self {
        self.header("Authorization", &format!("Bearer {token}"))
    }

    /// The body.
    #[must_use]
    pub fn body(mut self, body: &[u8]) -> Self {
        self.body = body.to_vec();
        self
    }

    /// Method, target, headers and body, for those who write them in another way.
    pub(crate) fn parts(&self) -> (&str, &str, &[(String, String)], &[u8]) {
        (&self.method, &self.target, &self.headers, &self.body)
    }

    /// The bytes of the whole request.
    pub fn encode(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        let with_body = !self.body.is_empty() || self.method == "POST" || self.method == "QUERY";
        if !self.has("Host") {
            head.push_str("Host: localhost\r\n");
        }
        if with_body && !self.has("Content-Length") {
            head.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        [head.as_bytes(), &self.body].concat()
    }

    /// Sends the request on a connection of its own and reads the whole answer.
    pub async fn send(&self, address: SocketAddr) -> Response {
        let raw = if self.has("Connection") { self.encode() } else { self.clone().closing().encode() };
        exchange(address, &raw, &self.method).await
    }

    /// The same over a connection that is there already.
    pub async fn send_over(&self, wire: impl Wire + 'static) -> Response {
        exchange_over(wire, &self.clone().closing().encode(), &self.method).await
    }

    fn closing(self) -> Self {
        self.header("Connection", "close")
    }

    fn has(&self, name: &str) -> bool {
        self.headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name))
    }
}

/// How much is read at once.
const READ_LEN: usize = 16 * 1024;

/// Sends bytes and reads one answer.
pub async fn exchange(address: SocketAddr, raw: &[u8], method: &str) -> Response {
    let socket = TcpStream::connect(address).await.expect("the hub listens");
    exchange_over(socket, raw, method).await
}

async fn exchange_over(mut wire: impl Wire + 'static, raw: &[u8], method: &str) -> Response {
    // A server may answer, and close, before it has read everything.
    let _ = wire.write_all(raw).await;
    let mut reader = Reader::new(wire);
    let head = within("the head of an answer", reader.head()).await;
    within("the body of an answer", reader.body(head, method)).await
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    headers: Vec<(String, String)>,
    /// The whole body, if it was read.
    pub body: Vec<u8>,
}

impl Response {
    pub(crate) fn new(status: u16, headers: Vec<(String, String)>) -> Self {
        Self { status, headers, body: Vec::new() }
    }

    /// All values of a header.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let matching = self.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        matching.map(|(_, value)| value.as_str()).collect()
    }

    /// The one value of a header.
    ///
    /// # Panics
    /// If the header stands there twice.
    pub fn header(&self, name: &str) -> Option<&str> {
        let values = self.all(name);
        assert!(values.len() <= 1, "{name} stands there {} times in {self:?}", values.len());
        values.first().copied()
    }

    /// The body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a body in UTF-8")
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    /// Checks that this is a refusal that explains itself (RFC 9457), and answers it.
    ///
    /// # Panics
    /// If status, type or the required members are wrong.
    pub fn expect_problem(&self, status: u16, problem_type: &str) -> Value {
        assert_eq!(self.status, status, "status of {self:?}\n{}", String::from_utf8_lossy(&self.body));
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!(problem["type"], format!("urn:rivulet:problem:{problem_type}"), "{problem}");
        assert_eq!(problem["status"], status, "{problem}");
        for member in ["title", "detail"] {
            let text = problem[member].as_str().unwrap_or_default();
            assert!(!text.is_empty(), "{member} is missing: {problem}");
        }
        problem
    }
}

/// Reads an answer piece by piece.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) socket: Box<dyn Wire>,
    pub(crate) pending: Vec<u8>,
}

impl Reader {
    pub(crate) fn new(socket: impl Wire + 'static) -> Self {
        Self { socket: Box::new(socket), pending: Vec::new() }
    }

    /// Reads more; answers false at the end of input. A reset counts as an end: it follows a close with unread input.
    pub(crate) async fn more(&mut self) -> bool {
        // Otherwise a read into an empty buffer would take 64 bytes at a time.
        self.pending.reserve(READ_LEN);
        matches!(self.socket.read_buf(&mut self.pending).await, Ok(read) if read > 0)
    }

    /// Reads the head, skipping interim answers.
    pub(crate) async fn head(&mut self) -> Response {
        loop {
            let end = loop {
                if let Some(end) = find(&self.pending, b"\r\n\r\n") {
                    break end;
                }
                if !self.more().await {
                    panic!(
                        "the connection ended within a head: {:?}",
                        String::from_utf8_lossy(&self.pending)
                    );
                }
            };
            let head: Vec<u8> = self.pending.drain(..end + 4).collect();
            let response = parse_head(std::str::from_utf8(&head).expect("a head in UTF-8"));
            if response.status >= 200 {
                return response;
            }
        }
    }

    /// Reads the body that belongs to a head.
    pub(crate) async fn body(&mut self, mut head: Response, method: &str) -> Response {
        if method == "HEAD" || matches!(head.status, 204 | 304) {
            return head;
        }
        if head.header("transfer-encoding") == Some("chunked") {
            while let Some(chunk) = self.chunk().await {
                head.body.extend(chunk);
            }
            return head;
        }
        let length: Option<usize> =
            head.header("content-length").map(|length| length.parse().expect("a number"));
        while length.is_none_or(|length| self.pending.len() < length) {
            if !self.more().await {
                assert!(length.is_none(), "the body of {head:?} is shorter than {length:?}");
                break;
            }
        }
        let end = length.unwrap_or(self.pending.len());
        head.body = self.pending.drain(..end).collect();
        head
    }

    /// Reads one chunk (RFC 9112, 7.1); `None` at the last one or at the end of input.
    pub(crate) async fn chunk(&mut self) -> Option<Vec<u8>> {
        let line = loop {
            if let Some(end) = find(&self.pending, b"\r\n") {
                break end;
            }
            if !self.more().await {
                return None;
            }
        };
        let text = String::from_utf8_lossy(&self.pending[..line]).into_owned();
        let length =
            usize::from_str_radix(text.trim(), 16).unwrap_or_else(|_| panic!("chunk length {text:?}"));
        while self.pending.len() < line + 2 + length + 2 {
            if !self.more().await {
                return None;
            }
        }
        let chunk = self.pending[line + 2..line + 2 + length].to_vec();
        self.pending.drain(..line + 2 + length + 2);
        (length > 0).then_some(chunk)
    }
}

fn parse_head(head: &str) -> Response {
    let mut lines = head.trim_end().split("\r\n");
    let status_line = lines.next().unwrap_or_default();
    let status = status_line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
    let headers = lines.map(|line| {
        let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("no colon in {line:?}"));
        (name.to_owned(), value.trim().to_owned())
    });
    Response::new(status.unwrap_or_else(|| panic!("{status_line:?}")), headers.collect())
}

/// Where `needle` begins in `hay`.
fn find(hay: &[u8], needle: &[u8]) -> Option<usize> {
    hay.windows(needle.len()).position(|window| window == needle)
}

/// Encodes form fields.
pub fn form(fields: &[(&str, &str)]) -> String {
    let pairs = fields.iter().map(|(name, value)| format!("{}={}", percent(name), percent(value)));
    pairs.collect::<Vec<_>>().join("&")
}

/// Percent-encodes everything but unreserved characters (RFC 3986, 2.3).
pub fn percent(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
