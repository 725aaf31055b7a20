//! A TCP proxy that breaks the network between two programs on command: it cuts, delays, or lets nothing through.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpSocket, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::{JoinHandle, JoinSet},
};

use crate::port;

/// Small, so that a slow network is felt by the server's own buffers and not hidden by the kernel's.
const RECEIVE_BUFFER_LEN: u32 = 32 * 1024;

/// What the network does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// Everything arrives.
    Whole,
    /// All connections are reset, and so is every new one.
    Cut,
    /// Everything arrives this much later, in each direction.
    Slow(Duration),
    /// Connections stay up and new ones are taken, but no byte passes. What was sent arrives once the network is whole
    /// again, as it would with TCP's retransmissions.
    HalfOpen,
    /// What the target says arrives as something else: as if a stranger had taken its address.
    Garbled,
}

/// Which way bytes pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    ToTarget,
    FromTarget,
}

/// A running proxy; it hangs up when dropped.
#[derive(Debug)]
pub struct ChaosProxy {
    address: SocketAddr,
    network: watch::Sender<Network>,
    accepting: JoinHandle<()>,
}

impl ChaosProxy {
    /// Listens on a free port and passes every connection on to `target`.
    pub async fn start(target: SocketAddr) -> Self {
        Self::start_at(port::free(), target).await
    }

    /// Listens at an address and passes every connection on to `target`.
    pub async fn start_at(address: SocketAddr, target: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.expect("a free port");
        let (network, state) = watch::channel(Network::Whole);
        let accepting = tokio::spawn(accept(listener, target, state));
        Self { address, network, accepting }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes what the network does, for open connections too.
    pub fn set(&self, network: Network) {
        self.network.send_replace(network);
    }
}

impl Drop for ChaosProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, state: watch::Receiver<Network>) {
    // Dropped with this task, and with them all connections.
    let mut pairs = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { continue };
                pairs.spawn(connect(client, target, state.clone()));
            }
            Some(_) = pairs.join_next() => {}
        }
    }
}

async fn connect(client: TcpStream, target: SocketAddr, mut state: watch::Receiver<Network>) {
    if *state.borrow() == Network::Cut {
        reset(&client);
        return;
    }
    // A connection that begins while nothing passes gets no further than the handshake.
    if state.wait_for(|network| *network != Network::HalfOpen).await.is_err() {
        return;
    }
    let Ok(server) = reach(target).await else {
        reset(&client);
        return;
    };
    for socket in [&client, &server] {
        // A socket that is closed already says so at the next read.
        let _ = socket.set_nodelay(true);
    }
    let (client_reads, mut client_writes) = client.into_split();
    let (server_reads, mut server_writes) = server.into_split();
    let cut = async {
        // The sender lives as long as the proxy, and with it this task.
        let _ = state.clone().wait_for(|network| *network == Network::Cut).await;
    };
    let both = async {
        tokio::join!(
            pass(Way::ToTarget, client_reads, &mut server_writes, state.clone()),
            pass(Way::FromTarget, server_reads, &mut client_writes, state.clone())
        )
    };
    tokio::select! {
        () = cut => {
            reset(client_writes.as_ref());
            reset(server_writes.as_ref());
        }
        _ = both => {}
    }
}

async fn reach(target: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER_LEN)?;
    socket.connect(target).await
}

/// Makes the drop of a socket a reset.
fn reset(socket: &TcpStream) {
    // Fails where the other side was faster, which is as good.
    let _ = socket.set_zero_linger();
}

async fn pass(
    way: Way,
    mut from: OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    mut state: watch::Receiver<Network>,
) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let Ok(network) = state.wait_for(|network| *network != Network::HalfOpen).await.map(|now| *now)
        else {
            return;
        };
        if let Network::Slow(delay) = network {
            tokio::time::sleep(delay).await;
        }
        if network == Network::Garbled && way == Way::FromTarget {
            // No byte stays what it was, and none is one that begins an answer of Redis.
            buffer[..read].fill(b'x');
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            break;
        }
    }
    // An end also passes only through a network that is up.
    let _ = state.wait_for(|network| *network != Network::HalfOpen).await;
    // Fails if the other side is gone already, which is as good.
    let _ = to.shutdown().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut reads, mut writes) = socket.split();
                    tokio::io::copy(&mut reads, &mut writes).await
                });
            }
        });
        address
    }

    async fn answers(socket: &mut TcpStream, within: Duration) -> Result<bool, std::io::Error> {
        socket.write_all(b"x").await?;
        let mut byte = [0];
        match tokio::time::timeout(within, socket.read_exact(&mut byte)).await {
            Ok(read) => read.map(|_| true),
            Err(_) => Ok(false),
        }
    }

    #[tokio::test]
    async fn the_network_breaks_and_heals_as_it_is_told() {
        let proxy = ChaosProxy::start(echo().await).await;
        let patience = Duration::from_secs(5);
        let mut socket = TcpStream::connect(proxy.address()).await.expect("the proxy listens");
        assert!(answers(&mut socket, patience).await.expect("an echo"), "whole");
        proxy.set(Network::HalfOpen);
        assert!(!answers(&mut socket, Duration::from_millis(200)).await.expect("still up"), "half-open");
        let mut late = TcpStream::connect(proxy.address()).await.expect("new connections are taken");
        proxy.set(Network::Whole);
        assert!(answers(&mut socket, patience).await.expect("an echo"), "what was held back came");
        assert!(answers(&mut late, patience).await.expect("an echo"), "for new connections too");
        proxy.set(Network::Cut);
        answers(&mut late, patience).await.expect_err("a reset");
        let mut refused = TcpStream::connect(proxy.address()).await.expect("the handshake");
        answers(&mut refused, patience).await.expect_err("a reset");
        proxy.set(Network::Garbled);
        let mut garbled = TcpStream::connect(proxy.address()).await.expect("the proxy listens");
        garbled.write_all(b"abc").await.expect("it is up");
        let mut answer = [0; 3];
        garbled.read_exact(&mut answer).await.expect("an answer");
        assert_eq!(&answer, b"xxx");
        proxy.set(Network::Slow(Duration::from_millis(150)));
        let mut slow = TcpStream::connect(proxy.address()).await.expect("the proxy listens");
        let start = std::time::Instant::now();
        assert!(answers(&mut slow, patience).await.expect("an echo"));
        assert!(start.elapsed() >= Duration::from_millis(300), "once in each direction");
    }
}
