//! A Redis that speaks nonsense, says nothing, or hangs up.

use std::time::Duration;

use rivulet_tests::{
    Hub,
    chaos_proxy::{ChaosProxy, Network},
    redis::RedisServer,
    refusal::Refusal,
};
use tokio::{io::AsyncWriteExt as _, net::TcpListener};

use crate::readiness::{expect_unavailable, lines_with, not_ready, publish_again, ready, try_publish};

/// How long a start may take that leads nowhere: the limit for the first connections and some for a busy machine.
const START_MAX: Duration = Duration::from_secs(15);

async fn refused(url: String) -> Refusal {
    let refusal = tokio::task::spawn_blocking(move || Refusal::of(&url, &[])).await.expect("it was run");
    assert!(refusal.took < START_MAX, "{refusal:?}");
    refusal
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_answers_instead_of_redis_the_start_fails_soon_and_says_why() {
    let redis = RedisServer::start().await;
    for (network, word) in [
        (Network::Garbled, "not speak the protocol of Redis"),
        (Network::HalfOpen, "timed out"),
        (Network::Cut, "reset"),
    ] {
        let proxy = ChaosProxy::start(redis.address()).await;
        proxy.set(network);
        let address = proxy.address().to_string();
        let refusal = refused(format!("redis://{address}")).await;
        refusal.expect(69, &["--redis-url", &address, word]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_web_server_at_the_address_of_redis_is_no_redis() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address").to_string();
    let serving = tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            // Fails when the other side has seen enough.
            let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n").await;
        }
    });
    let refusal = refused(format!("redis://{address}")).await;
    refusal.expect(69, &["--redis-url", &address]);
    serving.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_begins_to_talk_nonsense_costs_no_stream_and_no_update() {
    let redis = RedisServer::start().await;
    let proxy = ChaosProxy::start(redis.address()).await;
    let hub = Hub::start_at(&format!("redis://{}", proxy.address()), &["--heartbeat", "2s"]).await;
    let beside = Hub::start_at(&redis.url(), &[]).await;
    let mut stream = hub.subscribe("topic=a").await;
    proxy.set(Network::Garbled);
    not_ready(&hub).await;
    beside.publish(&[("topic", "a"), ("data", "meanwhile")]).await;
    // It may reach Redis before the answer is garbled: nobody can know.
    expect_unavailable(&try_publish(&hub, &[("topic", "a"), ("data", "unsure")]).await);
    assert!(lines_with(&hub, "the feed from Redis broke") <= 2, "{}", hub.log());
    proxy.set(Network::Whole);
    ready(&hub).await;
    publish_again(&hub, &[("topic", "a"), ("data", "after")]).await;
    assert_eq!(stream.data(1).await, ["meanwhile"]);
    let next = stream.event().await;
    if next.data() != "after" {
        assert_eq!((next.data(), stream.event().await.data()), ("unsure", "after"));
    }
}
