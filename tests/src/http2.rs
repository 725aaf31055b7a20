//! HTTP/2 as browsers speak it: over TLS, many requests on one connection, each of which can be given up by itself.

use std::{collections::VecDeque, path::Path};

use bytes::Bytes;
use h2::{RecvStream, client::SendRequest};
use tokio::{net::TcpStream, task::JoinHandle};

use crate::{
    sse::{Block, Event, Parser},
    tls,
    wire::{Request, Response},
    within,
};

/// A connection.
#[derive(Debug)]
pub struct Connection {
    sender: SendRequest<Bytes>,
    driving: JoinHandle<()>,
}

impl Connection {
    /// Begins to speak HTTP/2 on a connection to a server that chooses it, and trusts the authority in this file only.
    ///
    /// # Errors
    /// What the handshake says, or that the server speaks something else.
    pub async fn open(socket: TcpStream, authority: &Path) -> Result<Self, String> {
        let stream = tls::connect_over(socket, authority, &["h2", "http/1.1"]).await;
        let stream = stream.map_err(|error| error.to_string())?;
        let chosen = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
        if chosen.as_deref() != Some(b"h2") {
            return Err(format!("it speaks {:?}", chosen.as_deref().map(String::from_utf8_lossy)));
        }
        let opened = within("an HTTP/2 preface", h2::client::handshake(stream)).await;
        let (sender, connection) = opened.map_err(|error| error.to_string())?;
        // Why a connection ends is said by its streams as well.
        let driving = tokio::spawn(async { drop(connection.await) });
        Ok(Self { sender, driving })
    }

    /// Sends one request and reads the whole answer.
    ///
    /// # Panics
    /// If there is none.
    pub async fn send(&self, request: &Request) -> Response {
        self.try_send(request).await.unwrap_or_else(|error| panic!("{request:?}: {error}"))
    }

    /// The same where the stream may be reset.
    ///
    /// # Errors
    /// With what code it was.
    pub async fn try_send(&self, request: &Request) -> Result<Response, String> {
        let (mut response, mut body) = self.ask(request).await?;
        while let Some(bytes) = within("an answer's body", chunk(&mut body)).await? {
            response.body.extend_from_slice(&bytes);
        }
        Ok(response)
    }

    /// The head of an answer whose body nobody reads.
    pub async fn head(&self, request: &Request) -> Response {
        self.ask(request).await.unwrap_or_else(|error| panic!("{request:?}: {error}")).0
    }

    /// Opens a stream of events, or answers the refusal.
    pub async fn subscribe(&self, request: &Request) -> Result<EventStream, Response> {
        let (mut head, mut body) =
            self.ask(request).await.unwrap_or_else(|error| panic!("{request:?}: {error}"));
        if head.status != 200 || head.header("content-type") != Some("text/event-stream") {
            while let Ok(Some(bytes)) = within("a refusal's body", chunk(&mut body)).await {
                head.body.extend_from_slice(&bytes);
            }
            return Err(head);
        }
        let mut stream = EventStream { head, body, parser: Parser::default(), blocks: VecDeque::new() };
        let first = stream.block().await;
        assert_eq!(first, Ok(Block::Comment(String::new())), "the first bytes make onopen fire");
        Ok(stream)
    }

    async fn ask(&self, request: &Request) -> Result<(Response, RecvStream), String> {
        let (method, target, headers, body) = request.parts();
        let mut head =
            http::Request::builder().method(method).uri(format!("https://localhost{target}")).body(());
        let head_mut = head.as_mut().expect("a method and a target").headers_mut();
        for (name, value) in headers {
            let name: http::HeaderName = name.parse().expect("a header's name");
            head_mut.append(name, value.parse().expect("a header's value"));
        }
        let mut sender =
            within("a free stream", self.sender.clone().ready()).await.expect("the connection lives");
        let (answer, mut sending) =
            sender.send_request(head.expect("a request"), body.is_empty()).expect("a request can be sent");
        if !body.is_empty() {
            // Fails where the other side has ended the stream already: what it said comes with the answer.
            let _ = sending.send_data(Bytes::copy_from_slice(body), true);
        }
        let answer = within("the head of an answer", answer).await.map_err(|error| error.to_string())?;
        let (parts, body) = answer.into_parts();
        let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers = parts.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
        Ok((Response::new(parts.status.as_u16(), headers), body))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driving.abort();
    }
}

/// An open stream of events. Dropping it resets the stream, as a browser does when a page closes its `EventSource`; the
/// connection lives on.
#[derive(Debug)]
pub struct EventStream {
    head: Response,
    body: RecvStream,
    parser: Parser,
    blocks: VecDeque<Block>,
}

impl EventStream {
    /// The head of the answer.
    pub fn head(&self) -> &Response {
        &self.head
    }

    /// The next block, whatever it is.
    ///
    /// # Errors
    /// How the stream ended.
    pub async fn block(&mut self) -> Result<Block, String> {
        within("the next block of a stream", async {
            loop {
                if let Some(block) = self.blocks.pop_front() {
                    return Ok(block);
                }
                let bytes = chunk(&mut self.body).await?.ok_or("the stream ended")?;
                let blocks = self.parser.push(&bytes);
                self.blocks.extend(blocks.map_err(|error| format!("not a strict event stream: {error}"))?);
            }
        })
        .await
    }

    /// The next event that a client would fire.
    ///
    /// # Panics
    /// At the end of the stream.
    pub async fn event(&mut self) -> Event {
        loop {
            match self.block().await {
                Ok(Block::Event(event)) if event.data.is_some() => return event,
                Ok(_) => {}
                Err(end) => panic!("{end} where an event was expected"),
            }
        }
    }
}

/// The next bytes of a body; `None` at its end. What was taken may be sent again.
async fn chunk(body: &mut RecvStream) -> Result<Option<Bytes>, String> {
    let Some(bytes) = body.data().await else { return Ok(None) };
    let bytes = bytes.map_err(|error| format!("the stream was broken off: {error}"))?;
    let released = body.flow_control().release_capacity(bytes.len());
    released.map_err(|error| error.to_string())?;
    Ok(Some(bytes))
}
