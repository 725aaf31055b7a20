//! Who a connection is said to be from, and what stops it on the way.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use actix_server::Server;
use tokio::{io::AsyncWriteExt, net::TcpListener};

use super::*;
use crate::{
    auth::{Algorithm, AuthConfig, Authorizer, COOKIE_NAME_V0, KeySource, V0Config},
    config::HttpConfig,
};

fn config() -> HttpConfig {
    let secret = vec![7; 64];
    let v0 = V0Config {
        publisher: Some(KeySource::Secret { algorithm: Algorithm::HS256, secret }),
        subscriber: None,
        cookie_name: COOKIE_NAME_V0.into(),
    };
    let auth = AuthConfig { v0: Some(v0), ..AuthConfig::default() };
    HttpConfig::new(Arc::new(Authorizer::new(auth).unwrap()))
}

fn arrivals(config: HttpConfig) -> Rc<Arrivals> {
    let stopping = Server::build().graceful_shutdown_signal();
    Rc::new(Arrivals::new(crate::live::LiveConfig::new(config), Arc::default(), stopping))
}

/// Who a connection is from that begins with these bytes.
async fn peer_of(arrivals: &Rc<Arrivals>, bytes: &[u8]) -> Option<IpAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    client.write_all(bytes).await.unwrap();
    let (tcp, _) = listener.accept().await.unwrap();
    let arrived = arrivals.clone().plain(tcp).await;
    arrived.ok().map(|arrived| arrived.peer.unwrap().ip())
}

const HEADER: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\x0a\0\0\x01\x12\x34\0\x50";
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

#[tokio::test]
async fn the_client_is_whom_a_trusted_proxy_names() {
    let required = |trusted: &str| {
        let trusted_proxies = vec![trusted.parse().unwrap()];
        arrivals(HttpConfig { proxy_protocol: ProxyProtocol::Required, trusted_proxies, ..config() })
    };
    let [client, proxy] = ["192.0.2.7", "127.0.0.1"].map(|ip| Some(ip.parse().unwrap()));
    let trusting = required("127.0.0.0/8");
    assert_eq!(peer_of(&trusting, HEADER).await, client);
    assert_eq!(peer_of(&trusting, LOCAL).await, proxy);
    assert_eq!(peer_of(&trusting, b"GET / HTTP/1.1\r\n\r\n").await, None);
    assert_eq!(peer_of(&required("10.0.0.0/8"), HEADER).await, None);
    // Where no header is expected, none is believed: HTTP refuses what it finds.
    assert_eq!(peer_of(&arrivals(config()), HEADER).await, proxy);
}

#[tokio::test]
async fn a_header_that_does_not_come_in_time_is_counted_as_refused() {
    let trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    let arrivals = arrivals(HttpConfig {
        proxy_protocol: ProxyProtocol::Required,
        trusted_proxies,
        handshake_timeout: Duration::from_millis(50),
        ..config()
    });
    assert_eq!(peer_of(&arrivals, &HEADER[..20]).await, None);
    assert_eq!(arrivals.stats.proxy_headers_refused.load(Relaxed), 1);
    assert_eq!(arrivals.stats.open.load(Relaxed), 0);
}

#[test]
fn peers_are_known_by_their_networks() {
    let networks = ["10.0.0.0/8", "2001:db8::/32", "127.0.0.1/32"].map(|net| net.parse().unwrap());
    for (peer, expected) in [
        ("10.1.2.3", true),
        ("11.1.2.3", false),
        ("127.0.0.1", true),
        ("127.0.0.2", false),
        ("::ffff:10.1.2.3", true),
        ("2001:db8::1", true),
        ("2001:db9::1", false),
    ] {
        assert_eq!(is_within(&networks, peer.parse().unwrap()), expected, "{peer}");
    }
    assert!(!is_within(&[], "10.1.2.3".parse().unwrap()));
}
