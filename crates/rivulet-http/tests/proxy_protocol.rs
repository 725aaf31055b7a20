//! Connections that come through a proxy which speaks the PROXY protocol.
#![allow(clippy::unwrap_used, reason = "a test fails where it unwraps")]

mod hub;

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use hub::{HUB, Hub, client::Raw, eventually, tls};
use rivulet_http::{HttpConfig, ProxyProtocol};
use tokio::{io::AsyncWriteExt, net::TcpStream};

/// TCP over IPv4 from 192.0.2.7, with a TLV that is of no interest here.
const HEADER: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x10\xc0\0\x02\x07\x0a\0\0\x01\x12\x34\0\x50\x04\0\x01\0";
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

async fn start(trusted: &str, change: impl FnOnce(&mut HttpConfig)) -> Hub {
    Hub::start_with(hub::both(), |config| {
        (config.anonymous, config.proxy_protocol) = (true, ProxyProtocol::Required);
        config.trusted_proxies = vec![trusted.parse().unwrap()];
        config.handshake_timeout = Duration::from_millis(500);
        change(config);
    })
    .await
}

fn subscription() -> String {
    format!("GET {HUB}?match=a HTTP/1.1\r\nHost: h\r\n\r\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_proxy_brings_its_clients_and_looks_for_life() {
    let hub = start("127.0.0.0/8", |_| {}).await;
    for header in [HEADER, LOCAL] {
        let mut at_once = Raw::connect(hub.server.address()).await;
        at_once.send(&[header, subscription().as_bytes()].concat()).await;
        at_once.until("\r\n\r\n:\n").await;
        let mut byte_by_byte = Raw::connect(hub.server.address()).await;
        byte_by_byte.socket.set_nodelay(true).unwrap();
        for byte in header {
            byte_by_byte.send(&[*byte]).await;
        }
        byte_by_byte.send(subscription().as_bytes()).await;
        byte_by_byte.until("\r\n\r\n:\n").await;
    }
    hub.left_nothing().await;
    assert_eq!(hub.stats().proxy_headers_refused.load(Relaxed), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_header_comes_before_tls() {
    let identity = tls::Identity::new();
    let hub = start("127.0.0.1/32", |config| config.tls = Some(identity.load())).await;
    let mut tcp = TcpStream::connect(hub.server.address()).await.unwrap();
    tcp.write_all(HEADER).await.unwrap();
    let mut raw = tls::secure(&identity.client(), tcp).await.unwrap();
    raw.send(subscription().as_bytes()).await;
    raw.until("\r\n\r\n:\n").await;
    assert!(tls::connect(&identity.client(), hub.server.address()).await.is_err());
    eventually("TLS without a header is refused", || hub.stats().proxy_headers_refused.load(Relaxed) == 1)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_header_is_refused_and_silence_ends() {
    let hub = start("127.0.0.0/8", |_| {}).await;
    let datagram = [&HEADER[..13], b"\x12", &HEADER[14..]].concat();
    for (n, bytes) in
        [subscription().as_bytes(), &datagram, &HEADER[..20], &HEADER[..3]].into_iter().enumerate()
    {
        let mut raw = Raw::connect(hub.server.address()).await;
        raw.send(bytes).await;
        assert_eq!(raw.read_all().await, "", "{n}");
        assert_eq!(hub.stats().proxy_headers_refused.load(Relaxed), n as u64 + 1);
    }
    let mut silent = Raw::connect(hub.server.address()).await;
    assert_eq!(silent.read_all().await, "");
    assert_eq!(hub.stats().proxy_headers_refused.load(Relaxed), 5);
    assert_eq!(hub.stats().open.load(Relaxed), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_comes_past_the_proxy_is_not_served() {
    let hub = start("192.0.2.0/24", |_| {}).await;
    for begin in [HEADER, b""] {
        let mut raw = Raw::connect(hub.server.address()).await;
        let _ = raw.socket.write_all(&[begin, subscription().as_bytes()].concat()).await;
        assert_eq!(raw.read_all().await, "");
    }
    assert_eq!(hub.stats().proxies_untrusted.load(Relaxed), 2);
    assert_eq!(hub.node.stats().opened, 0);
}
