//! Streams over TLS, certificates that change, handshakes that stall.
#![allow(clippy::unwrap_used, reason = "a test fails where it unwraps")]

mod hub;

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use hub::{
    DEADLINE, HUB, Hub,
    client::Raw,
    eventually,
    tls::{Identity, connect, open, secure},
    token,
};
use reqwest::StatusCode;
use rivulet_http::{Certificates, HttpConfig, Reload};
use rivulet_node::{CloseReason, MemoryTransport, NodeConfig, Retention};
use rustls::version::{TLS12, TLS13};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

async fn start(certificates: &Arc<Certificates>, node: NodeConfig, change: fn(&mut HttpConfig)) -> Hub {
    let (transport, feed) = MemoryTransport::start(Retention::default());
    let change = |config: &mut HttpConfig| {
        (config.anonymous, config.tls) = (true, Some(certificates.clone()));
        change(config);
    };
    Hub::start_on(transport, feed, node, hub::both(), change).await
}

/// Publishes past HTTP: the hub's plain client cannot reach a TLS listener.
async fn publish(hub: &Hub, topic: &str, data: &str) -> String {
    let update = rivulet_core::Update {
        topics: [rivulet_core::Topic::parse(topic).unwrap()].into_iter().collect(),
        data: data.to_owned().into(),
        private: false,
        id: None,
        event_type: None,
        retry_ms: None,
        trace: None,
    };
    hub.node.publish(update, None, Vec::new()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_over_tls_gets_updates_and_heartbeats_and_a_clean_end() {
    let identity = Identity::new();
    let often = NodeConfig { heartbeat: Some(Duration::from_millis(500)), ..NodeConfig::default() };
    let hub = start(&identity.load(), often, |_| {}).await;
    for version in [&TLS12, &TLS13] {
        let client = identity.client_of(&[version]);
        let mut stream = open(&client, hub.server.address(), "match=a").await;
        publish(&hub, "a", "one").await;
        stream.until("data: one\n\n").await;
        stream.until("data: one\n\nid: #").await;
        drop(stream);
    }
    hub.left_nothing().await;
    let mut stream = open(&identity.client(), hub.server.address(), "match=a").await;
    hub.node.shutdown().await;
    let mut rest = Vec::new();
    // Without a close_notify this would be an error: the stream might have been cut by somebody else.
    timeout(DEADLINE, stream.socket.read_to_end(&mut rest)).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn publishing_over_tls_works_with_an_ordinary_client() {
    let identity = Identity::new();
    let hub = start(&identity.load(), NodeConfig::default(), |_| {}).await;
    let root = reqwest::Certificate::from_der(&identity.certificate).unwrap();
    let address = hub.server.address();
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(DEADLINE)
        .tls_certs_only([root])
        .resolve("localhost", address)
        .build()
        .unwrap();
    let mut stream = open(&identity.client(), address, "match=a").await;
    let request = client
        .post(format!("https://localhost:{}{HUB}", address.port()))
        .bearer_auth(token::v0(&["*"], &[]))
        .header("Content-Type", "application/x-www-form-urlencoded")
        .body("topic=a&data=one");
    assert_eq!(request.send().await.unwrap().status(), StatusCode::OK);
    stream.until("data: one\n\n").await;
}

/// A TLS client that takes little into its kernel's buffer.
async fn narrow(identity: &Identity, hub: &Hub) -> Raw<tokio_rustls::client::TlsStream<TcpStream>> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(8 * 1024).unwrap();
    let tcp = socket.connect(hub.server.address()).await.unwrap();
    let mut raw = secure(&identity.client(), tcp).await.unwrap();
    raw.send(format!("GET {HUB}?match=a HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).await;
    raw.until("\r\n\r\n:\n").await;
    raw
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tls_reader_that_stops_reading_is_ended_as_stalled_alone() {
    let identity = Identity::new();
    let impatient = NodeConfig { write_deadline: Duration::from_secs(1), ..NodeConfig::default() };
    let hub = start(&identity.load(), impatient, |_| {}).await;
    let stuck = narrow(&identity, &hub).await;
    let mut healthy = open(&identity.client(), hub.server.address(), "match=a").await;
    for n in 0..20 {
        publish(&hub, "a", &format!("{n} {}", "x".repeat(20_000))).await;
        healthy.until(&format!("data: {n} ")).await;
    }
    let stalled = || hub.node.stats().closed[CloseReason::Stalled as usize];
    eventually("the reader is ended as stalled", || stalled() == 1).await;
    publish(&hub, "a", "after that").await;
    healthy.until("data: after that\n\n").await;
    drop((stuck, healthy));
    hub.left_nothing().await;
    assert_eq!(stalled(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tls_reader_that_pauses_misses_nothing() {
    let identity = Identity::new();
    let hub = start(&identity.load(), NodeConfig::default(), |_| {}).await;
    let mut slow = narrow(&identity, &hub).await;
    for n in 0..300 {
        publish(&hub, "a", &format!("<{n}>{}", "x".repeat(n * 17 % 9001))).await;
    }
    eventually("the socket is full", || hub.node.stats().behind == 1).await;
    let text = slow.until("data: <299>").await;
    let mut numbers = text.split("data: <").skip(1).map(|rest| rest.split('>').next().unwrap().parse());
    assert!((0..300).all(|n| numbers.next() == Some(Ok(n))) && numbers.next().is_none());
    eventually("it is level again", || hub.node.stats().behind == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_shown_to_the_next_client_while_old_streams_live_on() {
    let mut identity = Identity::new();
    let certificates = identity.load();
    let hub = start(&certificates, NodeConfig::default(), |_| {}).await;
    let address = hub.server.address();
    let (old, old_client) = (identity.certificate.clone(), identity.client());
    let mut stream = open(&old_client, address, "match=a").await;
    identity.replace();
    assert_eq!(certificates.reload(), Ok(Reload::Replaced));
    let shown = |raw: &Raw<tokio_rustls::client::TlsStream<TcpStream>>| {
        raw.socket.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
    };
    let mut new_stream = open(&identity.client(), address, "match=a").await;
    assert_eq!((shown(&stream), shown(&new_stream)), (old, identity.certificate.clone()));
    // Half of a pair: refused, and what was shown is shown on.
    let served = identity.certificate.clone();
    let client = identity.client();
    std::fs::write(identity.files().key, "no key").unwrap();
    assert!(certificates.reload().is_err());
    assert_eq!(shown(&open(&client, address, "match=b").await), served);
    publish(&hub, "a", "one").await;
    stream.until("data: one\n\n").await;
    new_stream.until("data: one\n\n").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn handshakes_that_stall_end_in_time_and_others_are_served_meanwhile() {
    let identity = Identity::new();
    let hub = start(&identity.load(), NodeConfig::default(), |config| {
        config.workers = std::num::NonZeroUsize::MIN;
        config.handshake_timeout = Duration::from_secs(3);
        config.handshakes_max = 11;
    })
    .await;
    let mut stalled = Vec::new();
    for n in 0..20 {
        let mut tcp = TcpStream::connect(hub.server.address()).await.unwrap();
        // Some stop inside of their ClientHello. The others are silent and take no place.
        if n % 2 == 0 {
            tcp.write_all(&[0x16, 3, 1, 2, 0, 1]).await.unwrap();
        }
        stalled.push(tcp);
    }
    let mut served = open(&identity.client(), hub.server.address(), "match=a").await;
    publish(&hub, "a", "one").await;
    served.until("data: one\n\n").await;
    assert_eq!(hub.stats().handshakes_timed_out.load(Relaxed), 0);
    for tcp in &mut stalled {
        let ended = timeout(DEADLINE, tcp.read(&mut [0; 64])).await.expect("ended in time");
        assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
    }
    eventually("all are counted", || hub.stats().handshakes_timed_out.load(Relaxed) == 20).await;
    eventually("all are gone, and the stream does not count", || hub.stats().open.load(Relaxed) == 0).await;
    publish(&hub, "a", "two").await;
    served.until("data: two\n\n").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_does_not_speak_tls_is_ended_and_counted() {
    let identity = Identity::new();
    let hub = start(&identity.load(), NodeConfig::default(), |_| {}).await;
    let mut plain = Raw::open(hub.server.address(), &format!("GET {HUB}?match=a HTTP/1.1\r\n\r\n")).await;
    assert!(!plain.read_all().await.contains("HTTP/1.1"));
    // It does not know this certificate.
    let stranger = Identity::new();
    assert!(connect(&stranger.client(), hub.server.address()).await.is_err());
    // It only looks whether the port is open.
    drop(TcpStream::connect(hub.server.address()).await.unwrap());
    eventually("all are over", || {
        hub.stats().accepted.load(Relaxed) == 3 && hub.stats().open.load(Relaxed) == 0
    })
    .await;
    assert_eq!(hub.stats().handshakes_failed.load(Relaxed), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_tls_connection_too_many_is_closed_at_once() {
    let identity = Identity::new();
    let hub = start(&identity.load(), NodeConfig::default(), |config| {
        config.workers = std::num::NonZeroUsize::MIN;
        config.requests_max = 1;
    })
    .await;
    // Streams do not count.
    let stream = open(&identity.client(), hub.server.address(), "match=a").await;
    let idle = connect(&identity.client(), hub.server.address()).await.unwrap();
    assert!(connect(&identity.client(), hub.server.address()).await.is_err());
    assert_eq!(hub.stats().refused_busy.load(Relaxed), 1);
    drop(idle);
    eventually("there is room again", || hub.stats().open.load(Relaxed) == 0).await;
    open(&identity.client(), hub.server.address(), "match=a").await;
    drop(stream);
}
