//! However a client goes, the hub notices, at once where it can.

use std::time::{Duration, Instant, SystemTime};

use jsonwebtoken::{Algorithm, Header};
use rivulet_tests::{
    Hub, Request, Subscriber, eventually,
    netns::Namespace,
    tokens::{SUBSCRIBER_KEY, sign, unix_time},
};
use serde_json::json;

/// "At once", on a busy machine; without heartbeats nothing else would tell for a minute.
const AT_ONCE: Duration = Duration::from_secs(5);

/// A heartbeat, and how long it may stay unacknowledged, and some time for the machine.
const VANISHED: Duration = Duration::from_secs(60);

fn gone(hub: &Hub) -> f64 {
    hub.metrics().sum("rivulet_streams_closed_total", "reason=\"client_gone\"").expect("a counter")
}

async fn expect_gone(hub: &Hub, count: f64, patience: Duration) {
    eventually(format!("{count} clients are gone"), patience, || async {
        let found = gone(hub);
        if (found - count).abs() < 0.5 { Ok(()) } else { Err(found) }
    })
    .await;
}

#[tokio::test]
async fn a_fin_a_reset_and_a_half_close_end_an_idle_stream_at_once() {
    let hub = Hub::start(None, &["--heartbeat", "0"]).await;
    let request = Request::subscribe("topic=a").encode();
    drop(hub.subscribe("topic=a").await);
    expect_gone(&hub, 1.0, AT_ONCE).await;

    let socket = tokio::net::TcpStream::connect(hub.address()).await.expect("the hub listens");
    socket.set_zero_linger().expect("a socket option");
    drop(Subscriber::try_open_over(socket, &request).await.expect("it is not refused"));
    expect_gone(&hub, 2.0, AT_ONCE).await;

    let mut half = hub.subscribe("topic=a").await;
    half.half_close().await;
    expect_gone(&hub, 3.0, AT_ONCE).await;
    assert_eq!(half.block().await, None, "and the other half is closed too");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_vanishes_without_a_word_is_noticed_within_a_minute() {
    let namespace = Namespace::new();
    let hub = Hub::start_on(namespace.host(), &[]).await;
    let socket = namespace.connect(hub.address());
    let request = Request::subscribe("topic=a").encode();
    let vanishing = Subscriber::try_open_over(socket, &request).await.expect("it is not refused");
    let mut stays = hub.subscribe("topic=a").await;
    namespace.vanish();
    let vanished = Instant::now();
    expect_gone(&hub, 1.0, VANISHED).await;
    assert!(vanished.elapsed() < VANISHED, "after {:?}", vanished.elapsed());
    hub.expect_connections(1).await;
    hub.publish(&[("topic", "a"), ("data", "still here")]).await;
    assert_eq!(stays.data(1).await, ["still here"]);
    drop(vanishing);
}

#[tokio::test]
async fn a_stream_ends_in_the_second_in_which_its_token_does() {
    let hub = Hub::start(None, &["--heartbeat", "0"]).await;
    let exp = unix_time() + 3;
    let claims = json!({"mercure": {"subscribe": ["a"]}, "exp": exp});
    let token = sign(&Header::new(Algorithm::HS256), &claims, SUBSCRIBER_KEY);
    let mut stream = hub.open(&Request::subscribe("topic=a").bearer(&token)).await;
    assert_eq!(stream.rest().await, []);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    let exp = Duration::from_secs(exp);
    assert!(now + Duration::from_secs(1) >= exp, "ended {:?} early", exp - now);
    assert!(now <= exp + Duration::from_secs(1), "ended {:?} late", now - exp);
    eventually("the end is counted under its reason", AT_ONCE, || async {
        let expired = hub.metrics().sum("rivulet_streams_closed_total", "reason=\"token_expired\"");
        if expired == Some(1.0) { Ok(()) } else { Err(format!("{expired:?}")) }
    })
    .await;
}
