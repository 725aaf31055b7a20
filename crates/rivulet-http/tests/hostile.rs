//! Clients that do not behave: silence, garbage, floods, hanging up at the wrong time.
#![allow(clippy::unwrap_used, reason = "a test fails where it unwraps")]

mod hub;

use std::{sync::atomic::Ordering::SeqCst, time::Duration};

use hub::{DEADLINE, HUB, Hub, client::Raw, eventually, token, transport::Gated};
use rivulet_node::NodeConfig;

fn subscription(query: &str) -> String {
    format!("GET {HUB}?{query} HTTP/1.1\r\nHost: h\r\n\r\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_head_and_silence_is_answered_with_408() {
    let hub = Hub::start_with(hub::both(), |config| config.head_timeout = Duration::from_millis(200)).await;
    let mut raw = Raw::open(hub.server.address(), &format!("GET {HUB}?match=a HTTP/1.1\r\nHost:")).await;
    assert!(raw.read_all().await.starts_with("HTTP/1.1 408 "), "{}", raw.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_body_and_silence_is_answered_with_408() {
    let hub = Hub::start_with(hub::both(), |config| config.body_timeout = Duration::from_millis(200)).await;
    let mut raw = Raw::open(
        hub.server.address(),
        &format!(
            "POST {HUB} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {}\r\nContent-Length: 100\r\n\
         Content-Type: application/x-www-form-urlencoded\r\n\r\ntopic=a",
            token::v0(&["*"], &[])
        ),
    )
    .await;
    raw.until("urn:rivulet:problem:body-timeout").await;
    assert!(raw.text.starts_with("HTTP/1.1 408 "), "{}", raw.text);
    raw.read_all().await;
    assert_eq!(hub.node.stats().published, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_and_oversized_heads_are_refused() {
    let hub = Hub::start().await;
    for (request, status) in [
        ("\0\u{1}\u{2}\r\n\r\n".to_owned(), "400"),
        ("GET /\0 HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), "400"),
        (format!("GET {HUB}?match=\u{1} HTTP/1.1\r\n\r\n"), "400"),
        (format!("GET {HUB}?match=a HTTP/1.1\r\nHost: h\r\nX: a\0b\r\n\r\n"), "400"),
        (format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "x".repeat(300_000)), "431"),
    ] {
        let mut raw = Raw::connect(hub.server.address()).await;
        // The server may answer and close before everything is sent.
        let _ = tokio::io::AsyncWriteExt::write_all(&mut raw.socket, request.as_bytes()).await;
        let answer = raw.read_all().await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request:.60?}: {answer:?}");
    }
    hub.left_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_subscriber_sends_on_neither_ends_its_stream_nor_burns_time() {
    let hub = Hub::start().await;
    let publication = format!(
        "POST {HUB} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {}\r\nContent-Length: 18\r\n\
         Content-Type: application/x-www-form-urlencoded\r\n\r\ntopic=a&data=forged",
        token::v0(&["*"], &[])
    );
    let pipelined = publication.repeat(3000);
    // Once in the same breath as the subscription, once after the stream has begun.
    let mut at_once = Raw::connect(hub.server.address()).await;
    let mut later = Raw::open(hub.server.address(), &subscription("match=a")).await;
    later.until("\r\n\r\n:\n").await;
    at_once.send(format!("{}{pipelined}", subscription("match=a")).as_bytes()).await;
    at_once.until("\r\n\r\n:\n").await;
    later.send(pipelined.as_bytes()).await;

    hub.published("topic=a&data=one").await;
    for raw in [&mut at_once, &mut later] {
        assert!(!raw.until("data: one").await.contains("forged"));
    }
    let before = cpu_time();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let spent = cpu_time() - before;
    assert!(spent < Duration::from_millis(300), "{spent:?} of CPU in an idle second");
    assert_eq!(hub.node.stats().published, 1);
    drop((at_once, later));
    hub.left_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_sent_ahead_of_an_answer_ends_its_connection_instead_of_burning_time() {
    let (transport, feed) = Gated::start();
    transport.gates_subscriptions.store(true, SeqCst);
    let limits = NodeConfig::default();
    let hub = Hub::start_on(transport.clone(), feed, limits, hub::both(), |c| c.anonymous = true).await;
    let mut raw = Raw::open(hub.server.address(), &subscription("match=a")).await;
    eventually("the subscription has begun", || transport.begun.load(SeqCst)).await;
    // More than actix' buffer takes: it would wake itself until the gate opens.
    raw.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n".repeat(20_000).as_bytes()).await;
    let before = cpu_time();
    assert_eq!(raw.read_all().await, "");
    let spent = cpu_time() - before;
    assert!(spent < Duration::from_secs(1), "{spent:?} of CPU");
    hub.left_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_sends_ahead_and_reads_nothing_burns_no_time() {
    let hub = Hub::start().await;
    let mut raw = Raw::connect(hub.server.address()).await;
    let requests = "GET /nothing HTTP/1.1\r\nHost: h\r\n\r\n".repeat(10_000);
    let before = cpu_time();
    let sending = async {
        while tokio::io::AsyncWriteExt::write_all(&mut raw.socket, requests.as_bytes()).await.is_ok() {}
    };
    // Without a guard it would go on until TCP's own deadline of 20 s, with a core for itself.
    let hung_up = tokio::time::timeout(Duration::from_secs(10), sending).await;
    assert!(hung_up.is_ok(), "the hub hangs up");
    let spent = cpu_time() - before;
    assert!(spent < Duration::from_secs(3), "{spent:?} of CPU");
    hub.left_nothing().await;
}

/// User and system time of this process (Linux: fields 14 and 15 of `stat`, in hundredths of a second).
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let hundredths: u64 = fields[11..=12].iter().map(|field| field.parse::<u64>().unwrap()).sum();
    Duration::from_millis(hundredths * 10)
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_to_requests_before_a_subscription_are_not_lost() {
    let hub = Hub::start().await;
    let before = "GET / HTTP/1.1\r\nHost: h\r\n\r\n".repeat(10);
    let mut raw = Raw::open(hub.server.address(), &format!("{before}{}", subscription("match=a"))).await;
    let text = raw.until("\r\n\r\n:\n").await;
    assert_eq!(text.matches("</html>").count(), 10);
    assert!(text.rfind("</html>") < text.find("text/event-stream"));
    drop(raw);
    hub.left_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_http_1_0_are_served() {
    let hub = Hub::start().await;
    let mut raw = Raw::open(hub.server.address(), &format!("GET {HUB}?topic=a HTTP/1.0\r\n\r\n")).await;
    let head = raw.until("\r\n\r\n:\n").await;
    assert!(head.contains("\r\nConnection: close\r\n") && !head.contains("keep-alive"), "{head}");
    hub.published("topic=a&data=one").await;
    raw.until("data: one\n\n").await;
    drop(raw);
    hub.left_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_that_hangs_up_while_it_is_seated_leaves_nothing() {
    let (transport, feed) = Gated::start();
    let hub =
        Hub::start_on(transport, feed, NodeConfig::default(), hub::both(), |c| c.anonymous = true).await;
    for _ in 0..50 {
        drop(Raw::open(hub.server.address(), &subscription("match=a&match=b&match_urlpattern=/:c")).await);
    }
    hub.left_nothing().await;
    // Closing only the sending half ends a stream as well: nothing tells it from a client that is gone.
    let mut raw = Raw::open(hub.server.address(), &subscription("match=a")).await;
    raw.until("\r\n\r\n:\n").await;
    tokio::io::AsyncWriteExt::shutdown(&mut raw.socket).await.unwrap();
    raw.read_all().await;
    hub.left_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_behind_a_subscription_is_thrown_away() {
    let hub = Hub::start().await;
    let request = format!("GET {HUB}?match=a HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n");
    let mut raw = Raw::open(hub.server.address(), &request).await;
    raw.until("\r\n\r\n:\n").await;
    raw.send(&vec![b'x'; 1_000_000]).await;
    hub.published("topic=a&data=one").await;
    raw.until("data: one").await;
    drop(raw);
    hub.left_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_server_lets_requests_end_and_takes_no_more() {
    let (transport, feed) = Gated::start();
    let hub =
        Hub::start_on(transport.clone(), feed, NodeConfig::default(), hub::both(), |c| c.anonymous = true)
            .await;
    let address = hub.server.address();
    let (client, url) = (hub.client.clone(), hub.url(HUB));
    let publication = tokio::spawn(async move {
        let request = client.post(url).bearer_auth(token::v0(&["*"], &[])).body("topic=a&id=last");
        request.header("Content-Type", "application/x-www-form-urlencoded").send().await.unwrap().text().await
    });
    eventually("the append has begun", || transport.begun.load(SeqCst)).await;
    let mut stream = Raw::open(address, &subscription("match=a")).await;
    stream.until("\r\n\r\n:\n").await;
    hub.node.shutdown().await;
    stream.read_all().await;
    let stopping = tokio::spawn(hub.server.stop());
    transport.permits.add_permits(1);
    assert_eq!(publication.await.unwrap().unwrap(), "last");
    tokio::time::timeout(DEADLINE, stopping).await.unwrap().unwrap().unwrap();
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}
