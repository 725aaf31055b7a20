//! One connection too many, before any request of it is read.
#![allow(clippy::unwrap_used, reason = "a test fails where it unwraps")]

mod hub;

use std::{num::NonZeroUsize, sync::atomic::Ordering::Relaxed};

use hub::{HUB, Hub, client::Raw, eventually, problem};
use tokio::net::TcpStream;

async fn start(requests_max: usize) -> Hub {
    Hub::start_with(hub::both(), |config| {
        (config.anonymous, config.requests_max) = (true, requests_max);
        config.workers = NonZeroUsize::MIN;
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_too_many_reads_what_it_has_to_know() {
    let hub = start(2).await;
    // Streams do not count.
    let stream = hub.stream("match=a").await;
    eventually("the stream is handed over", || hub.stats().open.load(Relaxed) == 0).await;
    let _idle = [Raw::connect(hub.server.address()).await, Raw::connect(hub.server.address()).await];
    eventually("both are in", || hub.stats().open.load(Relaxed) == 2).await;

    let answer = hub.get("match=a").await;
    let header = |name: &str| hub::header(&answer, name).unwrap().to_owned();
    assert!((2..=5).contains(&header("retry-after").parse::<u32>().unwrap()), "{answer:?}");
    assert_eq!(header("connection"), "close");
    let document = problem(answer, 503, "node-busy").await;
    assert!(document["detail"].as_str().unwrap().contains("answers 2 connections at a time"), "{document}");

    drop(_idle);
    eventually("there is room again", || hub.stats().open.load(Relaxed) == 0).await;
    assert_eq!(hub.get("match=a").await.status(), 200);
    assert_eq!(hub.stats().refused_busy.load(Relaxed), 1);
    let counted = hub.stats.snapshot().refused;
    assert!(counted.contains(&("node-busy", 1)), "{counted:?}");
    drop(stream);
    hub.left_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_are_refused_together_are_not_told_to_come_back_together() {
    // So many that some may be refused at the same time: each is over only when its client has hung up.
    const IN: usize = 160;
    let hub = start(IN).await;
    let mut idle = Vec::new();
    for _ in 0..IN {
        idle.push(Raw::connect(hub.server.address()).await);
    }
    eventually("all are in", || hub.stats().open.load(Relaxed) == IN as u64).await;
    let mut waits = std::collections::BTreeSet::new();
    for _ in 0..20 {
        waits.insert(hub::header(&hub.get("match=a").await, "retry-after").unwrap().to_owned());
    }
    assert!(waits.len() > 1, "{waits:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_client_that_sends_a_lot_can_still_read_the_answer() {
    let hub = start(1).await;
    let _idle = Raw::connect(hub.server.address()).await;
    eventually("it is in", || hub.stats().open.load(Relaxed) == 1).await;
    let mut raw = Raw::connect(hub.server.address()).await;
    let body = "x".repeat(50_000);
    let head = format!("POST {HUB} HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n", body.len());
    raw.send(head.as_bytes()).await;
    raw.until("urn:rivulet:problem:node-busy").await;
    raw.send(body.as_bytes()).await;
    assert!(raw.read_all().await.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{}", raw.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_of_refused_clients_is_answered_or_closed_and_leaves_nothing() {
    let hub = start(1).await;
    let idle = Raw::connect(hub.server.address()).await;
    eventually("it is in", || hub.stats().open.load(Relaxed) == 1).await;
    let mut crowd = Vec::new();
    for _ in 0..400 {
        crowd.push(TcpStream::connect(hub.server.address()).await.unwrap());
    }
    // All are accepted: none is left hanging in the backlog.
    eventually("all are refused", || hub.stats().refused_busy.load(Relaxed) == 400).await;
    drop(idle);
    eventually("there is room again", || hub.stats().open.load(Relaxed) == 0).await;
    assert_eq!(hub.get("match=a").await.status(), 200, "while others are still being refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_that_would_serve_nobody_are_mistakes() {
    type Change = fn(&mut rivulet_http::HttpConfig);
    let mistakes: [(Change, &str); 3] = [
        (|config| config.requests_max = 0, "requests_max is 0"),
        (|config| config.handshakes_max = 0, "handshakes_max is 0"),
        (
            |config| config.proxy_protocol = rivulet_http::ProxyProtocol::Required,
            "trusted_proxies names nobody",
        ),
    ];
    let hub = Hub::start().await;
    for (change, rule) in mistakes {
        let authorizer = rivulet_http::auth::Authorizer::new(hub::both()).unwrap();
        let mut config = rivulet_http::HttpConfig::new(std::sync::Arc::new(authorizer));
        change(&mut config);
        let error = rivulet_http::serve(hub.node.clone(), config).unwrap_err();
        assert!(error.to_string().contains(rule), "{error}");
    }
}
