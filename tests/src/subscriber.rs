//! A client of the event stream on a raw socket. It records everything and forgives nothing.

use std::{collections::VecDeque, net::SocketAddr};

use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use crate::{
    sse::{Block, Event, Parser},
    wire::{Reader, Request, Response, Wire},
    within,
};

/// An open event stream.
#[derive(Debug)]
pub struct Subscriber {
    reader: Reader,
    head: Response,
    chunked: bool,
    parser: Parser,
    blocks: VecDeque<Block>,
    ended: bool,
}

impl Subscriber {
    /// Opens a stream.
    ///
    /// # Panics
    /// If it is refused.
    pub async fn open(address: SocketAddr, request: &Request) -> Self {
        match Self::try_open(address, request).await {
            Ok(subscriber) => subscriber,
            Err(refusal) => panic!("refused: {refusal:?}\n{}", String::from_utf8_lossy(&refusal.body)),
        }
    }

    /// Opens a stream, or answers the refusal.
    pub async fn try_open(address: SocketAddr, request: &Request) -> Result<Self, Response> {
        Self::try_open_raw(address, &request.encode()).await
    }

    /// Sends these bytes and takes the answer for a stream, unless it is a refusal.
    pub async fn try_open_raw(address: SocketAddr, raw: &[u8]) -> Result<Self, Response> {
        let socket = within("connecting", TcpStream::connect(address)).await.expect("the hub listens");
        socket.set_nodelay(true).expect("a socket option");
        Self::try_open_over(socket, raw).await
    }

    /// The same over a connection that is there already.
    pub async fn try_open_over(mut wire: impl Wire + 'static, raw: &[u8]) -> Result<Self, Response> {
        within("sending a request", wire.write_all(raw)).await.expect("the hub reads");
        let mut reader = Reader::new(wire);
        let head = within("the head of a stream", reader.head()).await;
        if head.status != 200 || head.header("content-type") != Some("text/event-stream") {
            return Err(within("the body of a refusal", reader.body(head, "GET")).await);
        }
        let chunked = head.header("transfer-encoding") == Some("chunked");
        let (parser, blocks) = (Parser::default(), VecDeque::new());
        let mut subscriber = Self { reader, head, chunked, parser, blocks, ended: false };
        let first = subscriber.block().await;
        assert_eq!(first, Some(Block::Comment(String::new())), "the first bytes make onopen fire");
        Ok(subscriber)
    }

    /// The head of the answer.
    pub fn head(&self) -> &Response {
        &self.head
    }

    /// The next block, whatever it is; `None` at the end of the stream.
    pub async fn block(&mut self) -> Option<Block> {
        within("the next block of a stream", self.block_whenever()).await
    }

    /// The same, however long it takes.
    pub async fn block_whenever(&mut self) -> Option<Block> {
        while self.blocks.is_empty() && !self.ended {
            self.read().await;
        }
        self.blocks.pop_front()
    }

    /// The next event that a client would fire: comments and id-only blocks are passed over.
    ///
    /// # Panics
    /// At the end of the stream.
    pub async fn event(&mut self) -> Event {
        match self.event_or_end().await {
            Some(event) => event,
            None => panic!("the stream ended where an event was expected"),
        }
    }

    /// The next event that a client would fire, or `None` at the end of the stream.
    pub async fn event_or_end(&mut self) -> Option<Event> {
        loop {
            match self.block().await? {
                Block::Event(event) if event.data.is_some() => return Some(event),
                _ => {}
            }
        }
    }

    /// The data of the next `count` events.
    pub async fn data(&mut self, count: usize) -> Vec<String> {
        let mut data = Vec::with_capacity(count);
        for _ in 0..count {
            data.push(self.event().await.data().to_owned());
        }
        data
    }

    /// The position of the next id-only block: a cursor heartbeat.
    pub async fn cursor(&mut self) -> String {
        loop {
            match self.block().await {
                Some(Block::Event(Event { kind: None, retry: None, id: Some(id), data: None })) => return id,
                Some(_) => {}
                None => panic!("the stream ended where a cursor heartbeat was expected"),
            }
        }
    }

    /// Reads to the end of the stream and answers the events that still came.
    pub async fn rest(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(event) = self.event_or_end().await {
            events.push(event);
        }
        events
    }

    /// Sends more bytes on the connection, as no honest client would. Answers whether they could be sent.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        self.reader.socket.write_all(bytes).await.is_ok()
    }

    /// Closes the sending half only.
    pub async fn half_close(&mut self) {
        self.reader.socket.shutdown().await.expect("an open socket");
    }

    async fn read(&mut self) {
        let bytes = if self.chunked {
            self.reader.chunk().await
        } else {
            if self.reader.pending.is_empty() {
                self.reader.more().await;
            }
            let bytes = std::mem::take(&mut self.reader.pending);
            (!bytes.is_empty()).then_some(bytes)
        };
        match bytes {
            Some(bytes) => {
                let blocks = self.parser.push(&bytes);
                self.blocks
                    .extend(blocks.unwrap_or_else(|error| panic!("not a strict event stream: {error}")));
            }
            None => {
                assert!(self.parser.is_between_blocks(), "the stream ended within a block");
                self.ended = true;
            }
        }
    }
}
