//! A node that starts while Redis is away, and may wait for it: probes are answered, and it starts when Redis comes.

use std::time::{Duration, Instant};

use rivulet_tests::{Hub, PATIENCE, eventually, metrics, port, redis::RedisServer};

/// What `/live` and `/ready` answer.
fn probes(hub: &Hub) -> Result<[(u16, String); 2], String> {
    Ok([metrics::get(hub.admin(), "/live")?, metrics::get(hub.admin(), "/ready")?])
}

async fn is_waiting(hub: &Hub) {
    eventually("it is alive and not ready", PATIENCE, || async {
        match probes(hub)? {
            [(200, _), (503, why)] if why.contains("no connection to Redis") => Ok(()),
            other => Err(format!("{other:?}\n{}", hub.log())),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_may_wait_starts_when_redis_comes() {
    let address = port::free();
    let hub = Hub::start_unready(&format!("redis://{address}"), &["--redis-start-wait", "1h"]);
    is_waiting(&hub).await;
    assert!(std::net::TcpStream::connect(hub.address()).is_err(), "there is no hub yet");
    let _redis = RedisServer::start_with(address, &[]).await;
    eventually("it is ready", PATIENCE, || async {
        match probes(&hub)? {
            [(200, _), (200, _)] => Ok(()),
            other => Err(format!("{other:?}\n{}", hub.log())),
        }
    })
    .await;
    let (status, page) = metrics::get(hub.admin(), "/metrics").expect("the whole listener is there");
    assert!(status == 200 && page.contains("rivulet_build_info"), "{status}: {page}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_can_be_stopped_while_it_waits() {
    let mut hub = Hub::start_unready(&format!("redis://{}", port::free()), &["--redis-start-wait", "1h"]);
    is_waiting(&hub).await;
    let begun = Instant::now();
    hub.signal("TERM");
    assert_eq!(hub.wait().code(), Some(143), "{}", hub.log());
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_waits_for_as_long_as_it_is_told_and_not_for_what_waiting_does_not_mend() {
    let begun = Instant::now();
    let mut hub = Hub::start_unready(&format!("redis://{}", port::free()), &["--redis-start-wait", "2s"]);
    assert_eq!(hub.wait().code(), Some(69), "{}", hub.log());
    let took = begun.elapsed();
    assert!((Duration::from_secs(1)..Duration::from_secs(15)).contains(&took), "{took:?}");

    let redis = RedisServer::start().await;
    drop(Hub::start_at(&redis.url(), &["--redis-partitions", "4"]).await);
    let mut hub = Hub::start_unready(&redis.url(), &["--redis-partitions", "8", "--redis-start-wait", "1h"]);
    assert_eq!(hub.wait().code(), Some(64), "{}", hub.log());

    redis.command(&["CONFIG", "SET", "requirepass", "secret"]).expect("it can be configured");
    let mut hub = Hub::start_unready(&redis.url(), &["--redis-start-wait", "1h"]);
    assert_eq!(hub.wait().code(), Some(69), "{}", hub.log());
}
