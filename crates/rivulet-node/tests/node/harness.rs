//! A node over the memory transport with sockets in memory, for tests of ring two.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use rivulet_core::{Dialect, Grants, LastEventId, Matcher, Partitions, Topic, Update, frame::GAP_EVENT};
use rivulet_node::{
    Feed, Holding, MemoryTransport, Node, NodeConfig, Reservation, Retention, Socket, SubscribeError,
    SubscribeRequest, Transport, Wanted, Worker,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};

/// One node with one worker on this thread.
pub(crate) struct Hub {
    pub(crate) node: Arc<Node>,
    pub(crate) worker: Worker,
}

/// Runs a test on one thread where local tasks may be spawned.
pub(crate) async fn local<T>(test: impl Future<Output = T>) -> T {
    tokio::task::LocalSet::new().run_until(test).await
}

impl Hub {
    pub(crate) fn start(config: NodeConfig) -> Self {
        Self::on_memory(1, config)
    }

    /// A hub that keeps so many updates per topic.
    pub(crate) fn keeping(count: usize) -> Self {
        let (transport, feed) = memory(1, count);
        Self::on(transport, feed, NodeConfig::default())
    }

    /// A hub with so many partitions.
    pub(crate) fn partitioned(partitions: u16) -> Self {
        Self::on_memory(partitions, NodeConfig::default())
    }

    pub(crate) fn on_memory(partitions: u16, config: NodeConfig) -> Self {
        let (transport, feed) = memory(partitions, 100_000);
        Self::on(transport, feed, config)
    }

    pub(crate) fn on(transport: Arc<dyn Transport>, feed: Feed, config: NodeConfig) -> Self {
        let node = Node::start(transport, feed, config);
        let worker = node.enter();
        Self { node, worker }
    }

    pub(crate) async fn publish(&self, topics: &[&str], data: &str) -> String {
        self.node.publish(update(topics, data), None, Vec::new()).await.expect("the memory transport appends")
    }

    pub(crate) async fn reserve(&self, request: SubscribeRequest) -> Result<Reservation, SubscribeError> {
        self.worker.reserve(request, None).await
    }

    /// Subscribes with a socket that buffers `buffer` bytes.
    pub(crate) async fn subscribe(&self, request: SubscribeRequest, buffer: usize) -> Client {
        self.open(self.reserve(request).await.expect("a place is free"), buffer)
    }

    /// Reserves a seat on a worker for somebody.
    pub(crate) async fn reserve_as(
        &self,
        worker: &Worker,
        request: SubscribeRequest,
        subject: &str,
        ip: &str,
    ) -> Result<Reservation, SubscribeError> {
        let permit = self.node.admit(Wanted::default()).await.expect("nothing is limited");
        let client = rivulet_node::Client { subject: subject.into(), ip: ip.parse().expect("an address") };
        worker.reserve(request, Some(Holding { client, permit })).await
    }

    /// Opens a reservation with a socket that buffers `buffer` bytes.
    pub(crate) fn open(&self, reservation: Reservation, buffer: usize) -> Client {
        let (ours, theirs) = tokio::io::duplex(buffer);
        reservation.open(Box::new(Pipe(theirs)), Bytes::from_static(b":\n"));
        Client { socket: ours, received: Vec::new(), scanned: 0, events: VecDeque::new() }
    }

    /// A request that continues after an id.
    pub(crate) fn resuming(&self, mut request: SubscribeRequest, last: &str) -> SubscribeRequest {
        request.last_event_id = Some(LastEventId::parse(last, self.node.partitions()));
        request
    }

    /// Waits until everything that connections held has been given back.
    pub(crate) async fn is_empty_again(&self) {
        let empty = async {
            loop {
                let stats = self.node.stats();
                if stats.connections
                    + stats.seats
                    + stats.sources
                    + stats.behind
                    + stats.ring_frames
                    + stats.ring_frames_max
                    + stats.ring_bytes
                    + stats.pinned_bytes
                    + stats.reserved
                    + stats.replaying
                    == 0
                {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let ended = tokio::time::timeout(Duration::from_secs(30), empty).await;
        ended.unwrap_or_else(|_| panic!("something was left behind: {:?}", self.node.stats()));
    }
}

/// A memory transport with so many partitions that keeps so many updates per topic.
pub(crate) fn memory(partitions: u16, count: usize) -> (Arc<MemoryTransport>, Feed) {
    let partitions = Partitions::new(partitions).expect("a small count");
    MemoryTransport::partitioned(Retention { count, ..Retention::default() }, partitions)
}

pub(crate) fn update(topics: &[&str], data: &str) -> Update {
    Update {
        topics: topics.iter().map(|topic| Topic::parse(topic).expect("a topic")).collect(),
        data: Bytes::copy_from_slice(data.as_bytes()),
        private: false,
        id: None,
        event_type: None,
        retry_ms: None,
        trace: None,
    }
}

pub(crate) fn exact(topics: &[&str]) -> SubscribeRequest {
    request(topics.iter().map(|topic| Matcher::exact(topic).expect("a topic")).collect())
}

pub(crate) fn request(matchers: Vec<Matcher>) -> SubscribeRequest {
    SubscribeRequest {
        matchers,
        grants: Grants::default(),
        last_event_id: None,
        expires_at: None,
        dialect: Dialect::V1,
    }
}

/// What a client received: a type, an id and data. An id alone is a cursor heartbeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) event_type: Option<String>,
    pub(crate) id: String,
    pub(crate) data: Option<String>,
    pub(crate) retry: Option<String>,
}

pub(crate) struct Client {
    socket: DuplexStream,
    received: Vec<u8>,
    /// So many of them do not hold the end of a block.
    scanned: usize,
    events: VecDeque<Event>,
}

impl Client {
    /// Sends something on the stream, which no subscriber should; it waits while the node does not take it.
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).await.expect("the stream is open");
    }

    /// The next block of the stream, or `None` at its end.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            self.received.reserve(1 << 12);
            if self.socket.read_buf(&mut self.received).await.unwrap_or(0) == 0 {
                return None;
            }
            self.parse();
        }
    }

    /// Reads to the end and answers what the client was told about coming back, if it was told.
    pub(crate) async fn retry_at_end(&mut self) -> Option<u32> {
        let mut retry = None;
        while let Some(event) = self.next().await {
            assert_eq!(retry, None, "what says when to come back is the last word: {event:?}");
            retry = event.retry.map(|retry| retry.parse().expect("milliseconds"));
        }
        retry
    }

    /// The next event, heartbeats passed over.
    pub(crate) async fn event(&mut self) -> Option<Event> {
        let next = async {
            loop {
                match self.next().await {
                    Some(event) if event.data.is_none() => {}
                    event => return event,
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(60), next).await.expect("an event in time")
    }

    /// The data of the next event, which is no gap.
    pub(crate) async fn data(&mut self) -> Option<String> {
        let event = self.event().await?;
        assert_ne!(event.event_type.as_deref(), Some(GAP_EVENT), "nothing is missing here: {event:?}");
        event.data
    }

    /// The next event, which must be a gap: its topics and oldest position, as JSON, and its id.
    pub(crate) async fn gap(&mut self) -> (String, String) {
        let event = self.event().await.expect("a gap must come");
        assert_eq!(event.event_type.as_deref(), Some(GAP_EVENT), "{event:?}");
        (event.data.expect("events have data"), event.id)
    }

    fn parse(&mut self) {
        while let Some(end) = self.received[self.scanned..].windows(2).position(|pair| pair == b"\n\n") {
            let block: Vec<u8> = self.received.drain(..self.scanned + end + 2).collect();
            self.scanned = 0;
            let text = String::from_utf8(block).expect("frames are UTF-8");
            let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
            self.events.push_back(Event {
                event_type: field("event: "),
                id: field("id: ").unwrap_or_default(),
                data: field("data: "),
                retry: field("retry: "),
            });
        }
        self.scanned = self.received.len().saturating_sub(1);
    }
}

/// An in-memory socket.
pub(crate) struct Pipe(DuplexStream);

impl Socket for Pipe {
    fn reset_on_close(&self) {}
}

impl AsyncRead for Pipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
