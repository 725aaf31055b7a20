//! What no honest client does. The hub answers or hangs up, and nothing stays behind.

use std::time::Duration;

use rivulet_tests::{
    Backend, Hub, Request, eventually,
    tokens::publisher,
    wire::{HUB_PATH, exchange},
    within,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// Clock ticks of processor time that a process has used (proc(5): utime and stime, a hundredth of a second each).
fn cpu_ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    let after_name = stat.rsplit_once(')').expect("a name in parentheses").1;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    [11, 12].iter().map(|index| fields[*index].parse::<u64>().expect("a number")).sum()
}

/// Sends bytes and reads until the hub hangs up.
async fn until_hang_up(hub: &Hub, bytes: &[u8]) -> String {
    let mut socket = TcpStream::connect(hub.address()).await.expect("the hub listens");
    let _ = socket.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = within("the hub hangs up", socket.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

async fn half_a_request_and_silence_ends(backend: Backend) {
    let hub = backend.hub().await;
    let (nothing, half_a_head) = tokio::join!(
        until_hang_up(&hub, b""),
        until_hang_up(&hub, b"GET /.well-known/mercure?topic=a HTTP/1.1\r\nHo")
    );
    for answer in [nothing, half_a_head] {
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer:?}");
    }
    hub.expect_connections(0).await;
}

async fn a_head_that_is_too_long_or_no_http_ends(backend: Backend) {
    let hub = backend.hub().await;
    let long_header =
        format!("GET {HUB_PATH}?topic=a HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(300_000));
    let many = "X: y\r\n".repeat(20_000);
    let many_headers = format!("GET {HUB_PATH}?topic=a HTTP/1.1\r\nHost: a\r\n{many}\r\n");
    let long_target = format!("GET {HUB_PATH}?topic={} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(300_000));
    for raw in [
        long_header.as_bytes(),
        many_headers.as_bytes(),
        long_target.as_bytes(),
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\r\n\r\n",
    ] {
        let answer = until_hang_up(&hub, raw).await;
        // A reset may overtake the answer, since much of the request was never read.
        let refused = answer.is_empty() || answer.starts_with("HTTP/1.1 4");
        assert!(refused, "{:?}", answer.get(..200));
    }
    hub.expect_connections(0).await;
    drop(hub.subscribe("topic=a").await);
}

async fn bytes_that_no_url_may_hold_are_refused(backend: Backend) {
    let hub = backend.hub().await;
    for target in [
        b"/.well-known/mercure?topic=\xff".as_slice(),
        b"/.well-known/mercure?topic=a\0b",
        b"/.well-known/\xc3\x28",
    ] {
        let raw = [b"GET ", target, b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"].concat();
        let response = exchange(hub.address(), &raw, "GET").await;
        assert!((400..500).contains(&response.status), "{response:?}");
    }
    hub.expect_connections(0).await;
}

async fn garbage_after_a_subscribe_is_read_and_thrown_away(backend: Backend) {
    let hub = backend.hub_with(&["--heartbeat", "0"]).await;
    let mut stream = hub.subscribe("topic=a").await;
    let garbage = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n\0\xff garbage ".repeat(1_000);
    for _ in 0..100 {
        assert!(stream.send(&garbage).await, "the hub reads on");
    }
    hub.publish(&[("topic", "a"), ("data", "still here")]).await;
    assert_eq!(stream.data(1).await, ["still here"]);
    hub.expect_connections(1).await;
}

async fn garbage_with_the_request_costs_no_time_afterwards(backend: Backend) {
    let hub = backend.hub_with(&["--heartbeat", "0"]).await;
    let garbage = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(2_000);
    let raw = [Request::subscribe("topic=a").encode(), garbage].concat();
    let mut streams = Vec::new();
    for _ in 0..8 {
        let stream = rivulet_tests::Subscriber::try_open_raw(hub.address(), &raw).await;
        streams.push(stream.expect("a stream"));
    }
    hub.publish(&[("topic", "a"), ("data", "x")]).await;
    for stream in &mut streams {
        assert_eq!(stream.data(1).await, ["x"]);
    }
    // A busy loop on unread input would take a whole processor; an idle hub takes next to nothing.
    let before = cpu_ticks(hub.pid());
    tokio::time::sleep(Duration::from_secs(1)).await;
    let used = cpu_ticks(hub.pid()) - before;
    assert!(used < 30, "{used} hundredths of a second of processor time in one idle second");
}

async fn a_publisher_that_hangs_up_midway_publishes_nothing(backend: Backend) {
    let hub = backend.hub().await;
    let mut stream = hub.subscribe("topic=a").await;
    let whole = Request::publish(&[("topic", "a"), ("data", "half")]).bearer(&publisher(&["*"])).encode();
    for cut in [10, whole.len() / 2, whole.len() - 1] {
        let mut socket = TcpStream::connect(hub.address()).await.expect("the hub listens");
        socket.write_all(&whole[..cut]).await.expect("the hub reads");
    }
    hub.publish(&[("topic", "a"), ("data", "whole")]).await;
    assert_eq!(stream.data(1).await, ["whole"]);
}

async fn a_publisher_that_does_not_wait_for_the_answer_has_published(backend: Backend) {
    let hub = backend.hub().await;
    let mut stream = hub.subscribe("topic=a").await;
    for number in 0..10 {
        let data = number.to_string();
        let request = Request::publish(&[("topic", "a"), ("data", &data)]).bearer(&publisher(&["*"]));
        let mut socket = TcpStream::connect(hub.address()).await.expect("the hub listens");
        socket.write_all(&request.encode()).await.expect("the hub reads");
        // An orderly end, so that no reset overtakes the request: the answer will find nobody.
        socket.shutdown().await.expect("an open socket");
        drop(socket);
        assert_eq!(stream.data(1).await, [data]);
    }
}

async fn a_body_that_never_comes_is_not_waited_for_for_ever(backend: Backend) {
    let hub = backend.hub().await;
    let mut stream = hub.subscribe("topic=a").await;
    let head = format!(
        "POST {HUB_PATH} HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Authorization: Bearer {}\r\nContent-Length: 100\r\n\r\ntopic=a",
        publisher(&["*"])
    );
    let mut socket = TcpStream::connect(hub.address()).await.expect("the hub listens");
    socket.write_all(head.as_bytes()).await.expect("the hub reads");
    // Others are served meanwhile.
    hub.publish(&[("topic", "a"), ("data", "x")]).await;
    assert_eq!(stream.data(1).await, ["x"]);
    let mut answer = Vec::new();
    let end = tokio::time::timeout(Duration::from_secs(60), socket.read_to_end(&mut answer)).await;
    end.expect("a body has a deadline").expect("an orderly end");
    assert!(answer.starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&answer));
}

async fn a_storm_of_connections_leaves_nothing_behind(backend: Backend) {
    let hub = backend.hub().await;
    for round in 0..5 {
        let mut sockets = Vec::new();
        for number in 0..40 {
            let mut socket = TcpStream::connect(hub.address()).await.expect("the hub listens");
            let bytes = Request::subscribe(&format!("topic=t{number}")).encode();
            let cut = if number % 2 == 0 { bytes.len() } else { number };
            socket.write_all(&bytes[..cut]).await.expect("the hub reads");
            sockets.push(socket);
        }
        drop(sockets);
        let mut stream = hub.subscribe("topic=t0").await;
        let data = round.to_string();
        hub.publish(&[("topic", "t0"), ("data", &data)]).await;
        assert_eq!(stream.data(1).await, [data]);
    }
    hub.expect_connections(0).await;
    let open_files =
        || std::fs::read_dir(format!("/proc/{}/fd", hub.pid())).expect("the process runs").count();
    let what = "the sockets are closed";
    eventually(what, Duration::from_secs(20), || async {
        let count = open_files();
        if count < 100 { Ok(()) } else { Err(format!("{count} open files")) }
    })
    .await;
}

/// The HTTP library keeps requests of each worker for later ones: with what came in these they would hold 29 MB.
#[tokio::test]
async fn of_requests_with_long_heads_nothing_is_kept_when_they_are_done() {
    let hub = Hub::start(None, &["--workers", "1"]).await;
    let heap = || hub.metrics().sum("rivulet_heap_bytes", "").expect("the allocator tells");
    hub.publish(&[("topic", "a"), ("data", "before")]).await;
    let before = heap();
    let mut publication = Request::publish(&[("topic", "a"), ("data", "x")]).bearer(&publisher(&["*"]));
    for number in 0..40 {
        publication = publication.header(&format!("X-Long-{number}"), &"x".repeat(2_000));
    }
    let raw = publication.encode();
    let mut sockets = Vec::new();
    // All of them at once: so many the library makes, and keeps.
    for _ in 0..200 {
        let mut socket = TcpStream::connect(hub.address()).await.expect("the hub listens");
        socket.write_all(&raw[..raw.len() - 1]).await.expect("the hub reads");
        sockets.push(socket);
    }
    let received = "topic=a&data=".len() * sockets.len();
    eventually("all bodies but their last byte are there", Duration::from_secs(20), || async {
        let held = hub.metrics().sum("rivulet_body_bytes", "").unwrap_or_default();
        if held >= received as f64 { Ok(()) } else { Err(format!("{held} bytes")) }
    })
    .await;
    for mut socket in sockets {
        socket.write_all(&raw[raw.len() - 1..]).await.expect("the hub reads");
        let mut answer = [0; 12];
        within("the answer", socket.read_exact(&mut answer)).await.expect("an answer");
        assert_eq!(&answer, b"HTTP/1.1 200");
    }
    eventually("the heap is where it was", Duration::from_secs(20), || async {
        let more = heap() - before;
        if more < 1_000_000.0 { Ok(()) } else { Err(format!("{more} bytes more")) }
    })
    .await;
}

on_both_transports!(
    half_a_request_and_silence_ends,
    a_head_that_is_too_long_or_no_http_ends,
    bytes_that_no_url_may_hold_are_refused,
    garbage_after_a_subscribe_is_read_and_thrown_away,
    garbage_with_the_request_costs_no_time_afterwards,
    a_publisher_that_hangs_up_midway_publishes_nothing,
    a_publisher_that_does_not_wait_for_the_answer_has_published,
    a_body_that_never_comes_is_not_waited_for_for_ever,
    a_storm_of_connections_leaves_nothing_behind,
);
