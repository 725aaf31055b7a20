//! Whose connection it is, behind proxies and in front of forgers.

use std::net::{Ipv4Addr, SocketAddr};

use rivulet_tests::{Hub, Request, Response, Subscriber, eventually};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
};

/// A loopback address that no hub of these tests trusts.
const STRANGER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// Connects from an address of this machine.
async fn connect_from(ip: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::from((ip, 0))).expect("an address of this machine");
    socket.connect(to).await.expect("the hub listens")
}

async fn open_from(ip: Ipv4Addr, hub: &Hub, request: &Request) -> Result<Subscriber, Response> {
    Subscriber::try_open_over(connect_from(ip, hub.address()).await, &request.encode()).await
}

/// A PROXY header, version 2, that tells of a client over TCP and IPv4.
fn proxy_header(client: Ipv4Addr) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    header.extend(client.octets());
    header.extend([127, 0, 0, 1, 0x30, 0x39, 0x01, 0xbb]);
    header
}

fn count(hub: &Hub, name: &str) -> f64 {
    hub.metrics().sum(name, "").unwrap_or_else(|| panic!("there is no {name}"))
}

fn scope(refusal: &Response) -> String {
    let problem = refusal.expect_problem(429, "quota-exceeded");
    problem["scope"]["text"].as_str().expect("a text").to_owned()
}

#[tokio::test]
async fn the_address_behind_trusted_proxies_counts_and_forgers_count_as_themselves() {
    check_forwarding(
        "X-Forwarded-For",
        &[("192.0.2.1", "192.0.2.1"), ("6.6.6.6, 192.0.2.2, 10.1.2.3", "192.0.2.2")],
    )
    .await;
    let forwarded = [
        ("for=192.0.2.3;proto=https, for=10.9.9.9", "192.0.2.3"),
        ("for=\"[2001:db8:0:1::7]:4711\"", "2001:db8:0:1::/64"),
    ];
    check_forwarding("Forwarded", &forwarded).await;
}

/// A header's values from a trusted proxy, and the addresses that they stand for.
async fn check_forwarding(header: &str, cases: &[(&str, &str)]) {
    let flags = ["--limit-connections-per-ip", "1", "--forwarding-header", header];
    let trusted = ["--trusted-proxy", "127.0.0.1", "--trusted-proxy", "10.0.0.0/8"];
    let hub = Hub::start(None, &[&flags[..], &trusted].concat()).await;
    let via = |value: &str| Request::subscribe("topic=a").header(header, value);
    let mut streams = Vec::new();
    for (value, client) in cases {
        let request = via(value);
        streams
            .push(open_from(Ipv4Addr::LOCALHOST, &hub, &request).await.expect("the first of this address"));
        let refusal = open_from(Ipv4Addr::LOCALHOST, &hub, &request).await.expect_err("the second");
        assert_eq!(scope(&refusal), *client, "{header}: {value}");
    }
    assert!(count(&hub, "rivulet_forwarding_headers_ignored_total") == 0.0);
    // A stranger may claim what it likes.
    let forged = cases.first().expect("there are cases").0;
    streams.push(open_from(STRANGER, &hub, &via(forged)).await.expect("the first of this address"));
    let refusal = open_from(STRANGER, &hub, &via(forged)).await.expect_err("the second");
    assert_eq!(scope(&refusal), STRANGER.to_string());
    assert!(count(&hub, "rivulet_forwarding_headers_ignored_total") >= 2.0);
    // Once, not with every request; by whom, and what to do if that was not meant.
    let log = hub.log();
    let told: Vec<&str> = log.lines().filter(|line| line.contains("was forwarded for is ignored")).collect();
    assert_eq!(told.len(), 1, "{log}");
    for word in ["WARN", "--trusted-proxy", &STRANGER.to_string()] {
        assert!(told[0].contains(word), "{word} is not in {}", told[0]);
    }
}

#[tokio::test]
async fn a_proxy_header_tells_the_address_and_strangers_may_not_send_one() {
    let flags = ["--limit-connections-per-ip", "1", "--trusted-proxy", "127.0.0.1", "--proxy-protocol"];
    let hub = Hub::start(None, &flags).await;
    let through = async |client: Ipv4Addr| {
        let raw = [proxy_header(client), Request::subscribe("topic=a").encode()].concat();
        Subscriber::try_open_over(connect_from(Ipv4Addr::LOCALHOST, hub.address()).await, &raw).await
    };
    let [first, second] = [Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2)];
    let _streams = [through(first).await.expect("the first"), through(second).await.expect("the first")];
    assert_eq!(scope(&through(first).await.expect_err("the second of this address")), first.to_string());

    // Nothing is answered to strangers, nor to a trusted proxy that sends no header.
    let cases = [
        (STRANGER, [proxy_header(first), Request::subscribe("topic=a").encode()].concat()),
        (Ipv4Addr::LOCALHOST, Request::subscribe("topic=a").encode()),
    ];
    for (from, raw) in cases {
        let mut socket = connect_from(from, hub.address()).await;
        // It may be closed before it has been read.
        let _ = socket.write_all(&raw).await;
        let mut answer = Vec::new();
        let _ = socket.read_to_end(&mut answer).await;
        assert_eq!(String::from_utf8_lossy(&answer), "", "from {from}");
    }
    eventually("both are counted", rivulet_tests::PATIENCE, || async {
        let counts = ["rivulet_proxies_untrusted_total", "rivulet_proxy_headers_refused_total"];
        let counts = counts.map(|name| count(&hub, name));
        if counts == [1.0, 1.0] { Ok(()) } else { Err(format!("{counts:?}")) }
    })
    .await;
}
