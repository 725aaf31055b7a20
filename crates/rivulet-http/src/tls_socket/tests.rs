//! What a TLS socket makes of bytes that come in pieces, or are none of TLS, and what it holds afterwards.

use std::time::Duration;

use proptest::{collection::vec, prelude::*, test_runner::TestRunner};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, duplex},
    net::TcpListener,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::*;
use crate::tls::tests::Authority;

const DEADLINE: Duration = Duration::from_secs(20);

fn server() -> (Authority, Arc<ServerConfig>) {
    let authority = Authority::new();
    let config = Arc::new(authority.certificates().server_config().unwrap());
    (authority, config)
}

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    client.set_nodelay(true).unwrap();
    (client, listener.accept().await.unwrap().0)
}

async fn shake<C: AsyncRead + AsyncWrite + Unpin>(
    authority: &Authority,
    config: Arc<ServerConfig>,
    client: C,
    tcp: TcpStream,
) -> (TlsStream<C>, TlsSocket) {
    let connector = TlsConnector::from(Arc::new(authority.client(None, b"http/1.1")));
    let name = ServerName::try_from("localhost").unwrap();
    let both = async { tokio::join!(connector.connect(name, client), TlsSocket::accept(config, tcp)) };
    let (client, socket) = timeout(DEADLINE, both).await.unwrap();
    (client.unwrap(), socket.unwrap())
}

/// Hands on what a client sends in pieces of this length.
async fn forward(theirs: tokio::io::DuplexStream, tcp: TcpStream, len: usize) {
    let (mut from, mut to) = tokio::io::split(theirs);
    let (mut answers, mut tcp) = tcp.into_split();
    let back = tokio::spawn(async move { tokio::io::copy(&mut answers, &mut to).await });
    let mut piece = vec![0; len];
    while let Ok(n @ 1..) = from.read(&mut piece).await {
        tcp.write_all(&piece[..n]).await.unwrap();
        // Each piece is a segment of its own that the server sees alone.
        tokio::task::yield_now().await;
    }
    drop(tcp);
    back.await.unwrap().unwrap();
}

#[tokio::test]
async fn what_comes_in_pieces_is_put_together_and_nothing_is_held_afterwards() {
    let (authority, config) = server();
    for len in [1, 7, 1000, 100_000] {
        let (tcp, accepted) = pair().await;
        let (ours, theirs) = duplex(1 << 16);
        let forwarding = tokio::spawn(forward(theirs, tcp, len));
        let (mut client, mut socket) = shake(&authority, config.clone(), ours, accepted).await;
        let sent: Vec<u8> = (0..=u8::MAX).cycle().take(30_000).collect();
        let exchange = async {
            client.write_all(&sent).await.unwrap();
            client.flush().await.unwrap();
            let mut received = vec![0; sent.len()];
            socket.read_exact(&mut received).await.unwrap();
            assert_eq!(received, sent, "in pieces of {len}");
            let back = async {
                socket.write_all(&received).await.unwrap();
                socket.flush().await.unwrap();
            };
            let mut echoed = vec![0; sent.len()];
            let (echo, ()) = tokio::join!(client.read_exact(&mut echoed), back);
            echo.unwrap();
            assert_eq!(echoed, sent, "in pieces of {len}");
        };
        timeout(DEADLINE, exchange).await.unwrap();
        let held = (socket.incoming.capacity(), socket.plain.len(), socket.outgoing.capacity());
        assert_eq!(held, (0, 0, 0), "an idle stream holds no buffers");
        // The end is told both ways.
        socket.shutdown().await.unwrap();
        assert_eq!(client.read(&mut [0; 8]).await.unwrap(), 0);
        client.shutdown().await.unwrap();
        assert_eq!(socket.read(&mut [0; 8]).await.unwrap(), 0);
        drop((client, socket));
        timeout(DEADLINE, forwarding).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn garbage_on_an_open_stream_ends_it_for_good() {
    let (authority, config) = server();
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0x17, 3, 3, 0, 30], &[0x16, 3, 3, 0, 1, 0]] {
        let (tcp, accepted) = pair().await;
        let (client, mut socket) = shake(&authority, config.clone(), tcp, accepted).await;
        let (mut tcp, _) = client.into_inner();
        tcp.write_all(garbage).await.unwrap();
        tcp.shutdown().await.unwrap();
        for _ in 0..3 {
            let read = timeout(DEADLINE, socket.read(&mut [0; 8])).await.unwrap();
            assert!(read.is_err(), "{garbage:?}: {read:?}");
        }
    }
}

/// A ClientHello, as a client sends it.
fn client_hello(authority: &Authority) -> Vec<u8> {
    let name = ServerName::try_from("localhost").unwrap();
    let config = Arc::new(authority.client(None, b"http/1.1"));
    let mut hello = Vec::new();
    rustls::ClientConnection::new(config, name).unwrap().write_tls(&mut hello).unwrap();
    hello
}

#[test]
fn no_bytes_make_a_handshake_do_more_than_fail() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (authority, config) = server();
    let hello = client_hello(&authority);
    let changes = vec((0..hello.len(), any::<u8>()), 0..4);
    let bytes = (any::<bool>(), changes, 0..=hello.len(), vec(any::<u8>(), 0..300));
    let check = |(is_hello, changes, cut, tail): (bool, Vec<(usize, u8)>, usize, Vec<u8>)| {
        let mut sent = if is_hello { hello.clone() } else { Vec::new() };
        if is_hello {
            changes.iter().for_each(|(at, byte)| sent[*at] ^= byte);
            sent.truncate(cut);
        }
        sent.extend(tail);
        let shaken = runtime.block_on(async {
            let (mut client, accepted) = pair().await;
            client.write_all(&sent).await.unwrap();
            client.shutdown().await.unwrap();
            timeout(DEADLINE, TlsSocket::accept(config.clone(), accepted)).await.unwrap()
        });
        prop_assert!(shaken.is_err());
        Ok(())
    };
    TestRunner::new(ProptestConfig::with_cases(300)).run(&bytes, check).unwrap();
}
