//! An event stream on a raw socket for which errors are ordinary: nodes die, and the network with them.

use std::{fmt, io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
};

use crate::{
    sse::{Block, Parser},
    wire::Request,
};

/// How long a node may take for the head of an answer.
const HEAD_PATIENCE: Duration = Duration::from_secs(10);

/// How long a stream may say nothing: many times its heartbeat.
const SILENCE_MAX: Duration = Duration::from_secs(20);

/// How much is read at once.
const READ_LEN: usize = 16 * 1024;

/// The end of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The connection ended, or was given up.
    Closed(String),
    /// What came is not an event stream.
    Malformed(String),
}

/// Why there is no stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unopened {
    /// Nobody listens there.
    Refused,
    /// Another status than 200.
    Status(u16),
    /// The connection failed, or no answer came in time.
    Broken(String),
}

impl fmt::Display for Unopened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("nobody listens"),
            Self::Status(status) => write!(f, "status {status}"),
            Self::Broken(reason) => f.write_str(reason),
        }
    }
}

impl From<io::Error> for Unopened {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            _ => Self::Broken(error.to_string()),
        }
    }
}

/// An open event stream.
#[derive(Debug)]
pub struct Stream {
    socket: TcpStream,
    last_event_id: Option<String>,
    is_chunked: bool,
    raw: Vec<u8>,
    parser: Parser,
}

impl Stream {
    /// Opens a stream with a receive buffer of this size (Linux doubles it).
    ///
    /// # Errors
    /// Says why there is none: a refusal, or a connection that failed.
    pub async fn open(node: SocketAddr, request: &Request, buffer: u32) -> Result<Self, Unopened> {
        let opening = Self::open_at_leisure(node, request, buffer);
        tokio::time::timeout(HEAD_PATIENCE, opening)
            .await
            .unwrap_or_else(|_| Err(Unopened::Broken(format!("no answer within {HEAD_PATIENCE:?}"))))
    }

    async fn open_at_leisure(node: SocketAddr, request: &Request, buffer: u32) -> Result<Self, Unopened> {
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(buffer)?;
        let mut socket = socket.connect(node).await?;
        socket.write_all(&request.encode()).await?;
        let mut raw = Vec::new();
        let end = loop {
            if let Some(end) = raw.windows(4).position(|window| window == b"\r\n\r\n") {
                break end;
            }
            if socket.read_buf(&mut raw).await? == 0 {
                return Err(Unopened::Broken("the connection ended within the head".to_owned()));
            }
        };
        let head = String::from_utf8_lossy(&raw[..end]).into_owned();
        raw.drain(..end + 4);
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        match status.ok_or_else(|| Unopened::Broken(format!("a head without a status: {head:?}")))? {
            200 => {}
            status => return Err(Unopened::Status(status)),
        }
        let header = |name: &str| {
            let mut headers = head.lines().filter_map(|line| line.split_once(':'));
            headers
                .find(|(known, _)| known.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.trim().to_owned())
        };
        let is_chunked = header("transfer-encoding").as_deref() == Some("chunked");
        Ok(Self {
            socket,
            last_event_id: header("last-event-id"),
            is_chunked,
            raw,
            parser: Parser::default(),
        })
    }

    /// The `Last-Event-ID` of the answer.
    pub fn last_event_id(&self) -> Option<&str> {
        self.last_event_id.as_deref()
    }

    /// The next blocks; at least one.
    ///
    /// # Errors
    /// At the end of the stream. A block that was cut off is forgotten, as every client does.
    pub async fn blocks(&mut self) -> Result<Vec<Block>, Ending> {
        loop {
            let body = if self.is_chunked { self.chunks()? } else { std::mem::take(&mut self.raw) };
            let blocks = self.parser.push(&body).map_err(Ending::Malformed)?;
            if !blocks.is_empty() {
                return Ok(blocks);
            }
            self.raw.reserve(READ_LEN);
            match tokio::time::timeout(SILENCE_MAX, self.socket.read_buf(&mut self.raw)).await {
                Ok(Ok(0)) => return Err(Ending::Closed("closed by the hub".to_owned())),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(Ending::Closed(error.to_string())),
                Err(_) => return Err(Ending::Closed(format!("silent for {SILENCE_MAX:?}"))),
            }
        }
    }

    /// Takes the whole chunks out of what was read (RFC 9112, 7.1).
    fn chunks(&mut self) -> Result<Vec<u8>, Ending> {
        let mut body = Vec::new();
        while let Some(line) = self.raw.windows(2).position(|window| window == b"\r\n") {
            let text = String::from_utf8_lossy(&self.raw[..line]).into_owned();
            let malformed = |_| Ending::Malformed(format!("chunk length {text:?}"));
            let length = usize::from_str_radix(text.trim(), 16).map_err(malformed)?;
            if self.raw.len() < line + 2 + length + 2 {
                break;
            }
            body.extend_from_slice(&self.raw[line + 2..line + 2 + length]);
            self.raw.drain(..line + 2 + length + 2);
        }
        Ok(body)
    }
}
