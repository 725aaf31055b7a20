//! What an idle stream gets, and the ways in which a stream ends.

use std::time::{Duration, Instant};

use jsonwebtoken::{Algorithm, Header};
use rivulet_tests::{
    Backend, PATIENCE, Request, eventually,
    sse::Block,
    tokens::{ISSUER_KEY, SUBSCRIBER_KEY, access_claims, access_header, sign, unix_time},
    wire::percent,
};
use serde_json::json;

async fn an_idle_stream_gets_heartbeats(backend: Backend) {
    let hub = backend.hub_with(&["--heartbeat", "1s"]).await;
    let mut stream = hub.subscribe("topic=a").await;
    for _ in 0..3 {
        match stream.block().await.expect("an open stream") {
            Block::Comment(_) => {}
            Block::Event(event) => assert!(event.data.is_none() && event.id.is_some(), "{event:?}"),
        }
    }
}

async fn a_cursor_heartbeat_moves_the_last_id_past_what_others_published(backend: Backend) {
    let hub = backend.hub_with(&["--heartbeat", "1s"]).await;
    let mut stream = hub.subscribe("topic=quiet").await;
    let mut passed = 0;
    for round in 0..3 {
        let id = hub.publish(&[("topic", "busy"), ("data", "x")]).await;
        let published: u64 = id.trim_start_matches('#').parse().expect("a position");
        while passed < published {
            let cursor = stream.cursor().await;
            let position: u64 =
                cursor.strip_prefix('#').and_then(|digits| digits.parse().ok()).expect("#<position>");
            assert!(position >= passed, "cursors never go back: {position} after {passed} in round {round}");
            passed = position;
        }
    }
    // It is a cursor like any other.
    hub.publish(&[("topic", "quiet"), ("data", "later")]).await;
    let mut resumed =
        hub.subscribe(&format!("topic=quiet&lastEventID={}", percent(&format!("#{passed}")))).await;
    assert_eq!(resumed.head().header("Last-Event-ID"), Some(&*format!("#{passed}")));
    assert_eq!(resumed.data(1).await, ["later"]);
}

async fn heartbeats_can_be_switched_off(backend: Backend) {
    let hub = backend.hub_with(&["--heartbeat", "0", "--lifetime", "1s"]).await;
    let mut stream = hub.subscribe("topic=a").await;
    assert_eq!(stream.block().await, None, "nothing but the end");
}

async fn a_stream_ends_between_80_and_100_percent_of_its_lifetime(backend: Backend) {
    let hub = backend.hub_with(&["--lifetime", "2s"]).await;
    let start = Instant::now();
    let mut streams = Vec::new();
    for _ in 0..5 {
        streams.push(hub.subscribe("topic=a").await);
    }
    for stream in &mut streams {
        assert_eq!(stream.rest().await, []);
        assert!(start.elapsed() >= Duration::from_millis(1_600), "ended after {:?}", start.elapsed());
    }
    hub.expect_connections(0).await;
}

async fn a_stream_ends_with_its_token(backend: Backend) {
    let hub = backend.hub().await;
    let exp = unix_time() + 2;
    let old = json!({"mercure": {"subscribe": ["a"]}, "exp": exp});
    let old = sign(&Header::new(Algorithm::HS256), &old, SUBSCRIBER_KEY);
    let mut new = access_claims(&[("subscribe", "exact", "a")]);
    new["exp"] = json!(exp);
    let new = sign(&access_header(), &new, ISSUER_KEY);
    let mut streams = [
        hub.open(&Request::subscribe("topic=a").bearer(&old)).await,
        hub.open(&Request::subscribe("match=a").bearer(&new)).await,
    ];
    hub.publish(&[("topic", "a"), ("private", "on"), ("data", "in time")]).await;
    for stream in &mut streams {
        assert_eq!(stream.data(1).await, ["in time"]);
        assert_eq!(stream.rest().await, []);
    }
    // Never past it; a little before is right. `exp` has whole seconds, and so has this clock.
    assert!(unix_time() + 1 >= exp, "ended {} s before the token", exp - unix_time());
    hub.expect_connections(0).await;
}

async fn a_client_that_leaves_is_forgotten(backend: Backend) {
    let hub = backend.hub().await;
    let mut streams = Vec::new();
    for number in 0..20 {
        streams.push(hub.subscribe(&format!("topic=t{number}&topic=all")).await);
    }
    hub.expect_connections(20).await;
    streams.truncate(10);
    hub.expect_connections(10).await;
    for stream in &mut streams[5..] {
        stream.half_close().await;
    }
    hub.expect_connections(5).await;
    hub.publish(&[("topic", "all"), ("data", "x")]).await;
    for stream in &mut streams[..5] {
        assert_eq!(stream.data(1).await, ["x"]);
    }
}

async fn a_reader_that_takes_nothing_ends_alone(backend: Backend) {
    let hub = backend.hub_with(&["--write-deadline", "1s"]).await;
    let mut good = hub.subscribe("topic=a").await;
    let stalled = hub.subscribe("topic=a").await;
    hub.expect_connections(2).await;
    let data = "x".repeat(256 * 1024);
    let ended = eventually("the stalled stream ends", 2 * PATIENCE, || async {
        hub.publish(&[("topic", "a"), ("data", &data)]).await;
        match hub.metrics().sum("mercure_subscribers_connected", "") {
            Some(1.0) => Ok(()),
            other => Err(format!("{other:?} connections")),
        }
    });
    let reader = async {
        loop {
            assert_eq!(good.event().await.data().len(), data.len());
        }
    };
    tokio::select! { () = ended => {}, () = reader => {} }
    drop(stalled);
    drop(good);
    hub.expect_connections(0).await;
}

async fn a_node_that_stops_ends_every_stream_and_exits_with_0(backend: Backend) {
    let mut hub = backend.hub().await;
    let mut streams = Vec::new();
    for _ in 0..10 {
        streams.push(hub.subscribe("topic=a").await);
    }
    hub.publish(&[("topic", "a"), ("data", "last")]).await;
    // What is published may still be on its way through the transport when the node stops, which drains only if told to.
    for stream in &mut streams {
        assert_eq!(stream.data(1).await, ["last"]);
    }
    let status = hub.stop();
    assert_eq!(status.code(), Some(0), "{}", hub.log());
    for stream in &mut streams {
        assert_eq!(stream.rest().await, []);
    }
}

async fn a_full_node_says_so(backend: Backend) {
    let hub = backend.hub_with(&["--connections-max", "3"]).await;
    let mut streams = Vec::new();
    for _ in 0..3 {
        streams.push(hub.subscribe("topic=a").await);
    }
    let response = hub.send(&Request::subscribe("topic=a")).await;
    response.expect_problem(503, "node-full");
    assert!(response.header("retry-after").is_some_and(|wait| wait.parse::<u32>().is_ok()), "{response:?}");
    streams.pop();
    hub.expect_connections(2).await;
    streams.push(hub.subscribe("topic=a").await);
}

on_both_transports!(
    an_idle_stream_gets_heartbeats,
    a_cursor_heartbeat_moves_the_last_id_past_what_others_published,
    heartbeats_can_be_switched_off,
    a_stream_ends_between_80_and_100_percent_of_its_lifetime,
    a_stream_ends_with_its_token,
    a_client_that_leaves_is_forgotten,
    a_reader_that_takes_nothing_ends_alone,
    a_node_that_stops_ends_every_stream_and_exits_with_0,
    a_full_node_says_so,
);
