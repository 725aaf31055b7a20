//! What every proxy must do with streams and publishing.

use std::net::Ipv4Addr;

use rivulet_tests::{
    PATIENCE, Request, Subscriber, eventually,
    http2::{Connection, EventStream},
    proxy::{Proxy, Software},
    tokens::publisher,
};

use super::nodes::Nodes;

/// More than the six connections per host that a browser opens over HTTP/1.1.
pub(crate) const STREAMS: u32 = 12;

/// Where the clients are, as nodes must see them.
const CLIENT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// No heartbeats: nodes hear of clients that go from the proxy, or never.
pub(crate) const SILENT: [&str; 2] = ["--heartbeat", "0"];

pub(crate) async fn pass(software: Software) {
    let nodes = Nodes::of_one_hub(&SILENT).await;
    let proxy = Proxy::start(software, &nodes.upstreams, &[]).await;
    let connection = proxy.http2_from(CLIENT).await;
    let streams = eventually("all nodes have some of the streams", PATIENCE, || async {
        // A node may not have been found ready yet.
        let streams = open_many(&connection).await;
        let spread = nodes.streams();
        if spread.iter().all(|count| *count > 0.0) { Ok(streams) } else { Err(format!("{spread:?}")) }
    })
    .await;
    nodes.expect_streams(STREAMS).await;
    assert_eq!(nodes.addresses().await, vec![CLIENT.to_string(); STREAMS as usize]);

    let streams = receive(&connection, streams).await;
    pass_what_is_not_a_stream(&connection).await;

    // The connection lives on: a page that closes an EventSource resets its stream only.
    drop(streams);
    nodes.expect_streams(0).await;
    let streams = open_many(&connection).await;
    drop((connection, streams));
    nodes.expect_streams(0).await;
    over_http1(&proxy, &nodes).await;
}

/// As browsers and forgers ask.
fn wish(query: &str) -> Request {
    Request::subscribe(query)
        .header("Accept-Encoding", "gzip, br, zstd")
        .header("X-Forwarded-For", "6.6.6.6")
        .header("X-Real-IP", "6.6.6.6")
        .header("Forwarded", "for=6.6.6.6")
}

/// Many streams on one connection.
pub(crate) async fn open_many(connection: &Connection) -> Vec<EventStream> {
    let mut streams = Vec::new();
    for number in 0..STREAMS {
        let opened = connection.subscribe(&wish(&format!("topic=all&topic={number}"))).await;
        let stream = opened.unwrap_or_else(|refusal| panic!("{number}: {refusal:?}"));
        assert_eq!(stream.head().header("content-encoding"), None, "a compressed stream is a buffered one");
        streams.push(stream);
    }
    streams
}

pub(crate) fn publication(topic: &str, data: &str) -> Request {
    Request::publish(&[("topic", topic), ("data", data)]).bearer(&publisher(&["*"]))
}

/// Publishes through the proxy; each update is awaited before the next one is sent: a buffer would keep it.
async fn receive(connection: &Connection, mut streams: Vec<EventStream>) -> Vec<EventStream> {
    let mut ids = Vec::new();
    for number in 0..5 {
        let data = number.to_string();
        let answer = connection.send(&publication("all", &data)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        for stream in &mut streams {
            let event = stream.event().await;
            assert_eq!((event.id(), event.data()), (answer.text(), &*data));
        }
        ids.push(answer.text().to_owned());
    }
    let request = wish("topic=all").header("Last-Event-ID", &ids[2]);
    let mut resumed = connection.subscribe(&request).await.expect("a stream");
    assert_eq!(resumed.head().header("last-event-id"), Some(&*ids[2]));
    for (number, id) in ids.iter().enumerate().skip(3) {
        let event = resumed.event().await;
        assert_eq!((event.id(), event.data()), (&**id, &*number.to_string()));
    }
    streams.push(resumed);
    streams
}

/// A batch of more than a megabyte; a refusal with its body; what nodes have beside the hub.
async fn pass_what_is_not_a_stream(connection: &Connection) {
    let answer = connection.send(&batch()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.text().lines().filter(|line| line.contains("\"id\"")).count(), BATCH_LEN, "{answer:?}");
    connection.send(&Request::subscribe("")).await.expect_problem(400, "matcher-missing");
    for path in ["/", "/metrics", "/ready"] {
        let answer = connection.send(&Request::new("GET", path)).await;
        assert_eq!(answer.status, 404, "{path} is not for the public: {answer:?}");
    }
}

const BATCH_LEN: usize = 24;

/// Longer than what proxies take by default.
pub(crate) fn batch() -> Request {
    let line = format!("{{\"topic\":\"long\",\"data\":\"{}\"}}\n", "x".repeat(64 * 1024));
    let request = Request::new("POST", "/.well-known/mercure").header("Content-Type", "application/x-ndjson");
    request.bearer(&publisher(&["*"])).body(line.repeat(BATCH_LEN).as_bytes())
}

/// Who does not speak HTTP/2 is served as well.
async fn over_http1(proxy: &Proxy, nodes: &Nodes) {
    let open = async || {
        let opened = Subscriber::try_open_over(proxy.http1().await, &wish("topic=all").encode()).await;
        opened.expect("a stream")
    };
    let mut streams = [open().await, open().await];
    let answer = proxy.send(&publication("all", "over HTTP/1.1")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    for stream in &mut streams {
        assert_eq!(stream.event().await.data(), "over HTTP/1.1");
    }
    drop(streams);
    nodes.expect_streams(0).await;
}
