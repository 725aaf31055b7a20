//! A wire tap between a client and a hub: it passes everything on and keeps what it saw.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::JoinHandle,
};

/// One connection: what the client sent, and what it was answered.
#[derive(Clone, Debug, Default)]
pub struct Conversation {
    /// The bytes from the client.
    pub sent: String,
    /// The bytes from the hub.
    pub received: String,
}

impl Conversation {
    /// The value of a header of the request.
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.sent.lines().take_while(|line| !line.is_empty());
        let mut headers = lines.filter_map(|line| line.split_once(": "));
        headers.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The ids of blocks with data: what fires an event.
    pub fn event_ids(&self) -> Vec<&str> {
        self.blocks().filter(|block| block.contains("\ndata: ")).filter_map(id_of).collect()
    }

    /// The ids of blocks that have nothing but an id: cursor heartbeats.
    pub fn cursors(&self) -> Vec<&str> {
        self.blocks().filter(|block| !block.contains("\ndata: ")).filter_map(id_of).collect()
    }

    /// The blocks that came completely.
    fn blocks(&self) -> impl Iterator<Item = &str> {
        let (_, body) = self.received.split_once("\r\n\r\n").unwrap_or_default();
        let complete = body.rsplit_once("\n\n").map_or("", |(complete, _)| complete);
        complete.split("\n\n")
    }
}

fn id_of(block: &str) -> Option<&str> {
    block.lines().find_map(|line| line.strip_prefix("id: "))
}

type Conversations = Arc<Mutex<Vec<Conversation>>>;

/// A running tap; it hangs up when dropped.
#[derive(Debug)]
pub struct Tap {
    address: SocketAddr,
    conversations: Conversations,
    accepting: JoinHandle<()>,
}

impl Tap {
    /// Listens on a free port and passes every connection on to `target`.
    pub async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let conversations = Conversations::default();
        let accepting = tokio::spawn(accept(listener, target, Arc::clone(&conversations)));
        Self { address, conversations, accepting }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Everything that was said so far, oldest connection first.
    pub fn conversations(&self) -> Vec<Conversation> {
        self.conversations.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, conversations: Conversations) {
    // Dropped with this task, and with them all connections.
    let mut pairs = tokio::task::JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        // A hub that is away looks as it would without us: the connection ends without an answer.
        let Ok(hub) = TcpStream::connect(target).await else { continue };
        let number = {
            let mut all = conversations.lock().unwrap_or_else(PoisonError::into_inner);
            all.push(Conversation::default());
            all.len() - 1
        };
        let (client_reads, client_writes) = client.into_split();
        let (hub_reads, hub_writes) = hub.into_split();
        let all = Arc::clone(&conversations);
        let keep_sent = move |text: &str| keep(&all, number, |conversation| conversation.sent.push_str(text));
        pairs.spawn(pass(client_reads, hub_writes, keep_sent));
        let all = Arc::clone(&conversations);
        let keep_received =
            move |text: &str| keep(&all, number, |conversation| conversation.received.push_str(text));
        pairs.spawn(pass(hub_reads, client_writes, keep_received));
    }
}

fn keep(conversations: &Conversations, number: usize, change: impl FnOnce(&mut Conversation)) {
    let mut all = conversations.lock().unwrap_or_else(PoisonError::into_inner);
    change(&mut all[number]);
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, keep: impl Fn(&str)) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        keep(&String::from_utf8_lossy(&buffer[..read]));
        if to.write_all(&buffer[..read]).await.is_err() {
            break;
        }
    }
    // Fails if the other side is gone already, which is as good.
    let _ = to.shutdown().await;
}
