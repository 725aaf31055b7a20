//! What counts without a restart, one setting after the other, while a stream lives on.

use rivulet_tests::{PATIENCE, Request, eventually, metrics, sse::Block, tokens};

use crate::configured::{Configured, write};

const OTHER_KEY: &str = "another-key-of-the-tests-0123456789abcdefgh";

fn anybody() -> Request {
    Request::subscribe("topic=a")
}

#[tokio::test]
async fn who_may_do_what_changes_and_streams_live_on() {
    let hub = Configured::start(&[]).await;
    let mut live = hub.hub.open(&anybody()).await;
    let token = tokens::subscriber(&["*"]);
    let mut known = hub.hub.open(&anybody().bearer(&token)).await;
    let key = hub.dir.path().join("key");
    write(&key, OTHER_KEY);
    let key_of_file = format!("'@{}'", key.display());

    hub.reload(&[("anonymous", "false")]).await;
    assert_eq!(hub.status(&anybody()).await, 401);
    assert_eq!(hub.status(&anybody().bearer(&token)).await, 200);
    assert_eq!(hub.publish("1", tokens::PUBLISHER_KEY).await, 200);

    hub.reload(&[("publisher-jwt-key", &key_of_file), ("subscriber-jwt-key", &key_of_file)]).await;
    assert_eq!(hub.publish("no", tokens::PUBLISHER_KEY).await, 401);
    assert_eq!(hub.status(&anybody().bearer(&token)).await, 401);
    assert_eq!(hub.publish("2", OTHER_KEY).await, 200);

    // The other dialect is on from one request to the next: its routes, its tokens, its document.
    let issuer = format!("'{}=HS256:{}'", tokens::ISSUER, tokens::ISSUER_KEY);
    let resource = format!("'{}'", tokens::RESOURCE);
    let document = Request::new("GET", "/.well-known/oauth-protected-resource/.well-known/mercure");
    assert_eq!(hub.hub.send(&document).await.status, 404);
    hub.reload(&[
        ("trusted-issuer", &issuer),
        ("resource", &resource),
        ("cors-origin", "'https://a.example'"),
    ])
    .await;
    assert_eq!(hub.hub.send(&document).await.status, 200);
    let answer = hub.hub.send(&document.header("Origin", "https://a.example")).await;
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://a.example"));
    let access = tokens::access(&[("publish", "exact", "a")]);
    let publish = Request::publish(&[("topic", "a"), ("data", "3")]).bearer(&access);
    assert_eq!(hub.hub.send(&publish).await.status, 200);

    // Without the keys of their tokens the streams have lived on.
    assert_eq!(live.data(3).await, ["1", "2", "3"]);
    assert_eq!(known.data(3).await, ["1", "2", "3"]);
    assert!(!hub.hub.log().contains(OTHER_KEY) && !hub.hub.log().contains(tokens::ISSUER_KEY));
}

#[tokio::test]
async fn limits_change_and_end_nobody() {
    let hub = Configured::start(&[("limit-connections-total", "100")]).await;
    let mut live = hub.hub.open(&anybody()).await;
    let mut second = hub.hub.open(&anybody()).await;
    hub.reload(&[("limit-connections-total", "1"), ("limit-publishes-per-subject", "'1/1h'")]).await;
    assert_eq!(hub.status(&anybody()).await, 429);
    // Who is there stays.
    hub.hub.expect_connections(2).await;
    assert_eq!(hub.publish("1", tokens::PUBLISHER_KEY).await, 200);
    assert_eq!(hub.publish("no", tokens::PUBLISHER_KEY).await, 429);
    assert_eq!(hub.hub.metrics().sum("rivulet_quota_limit", "quota=\"connections\""), Some(1.0));
    // A quota that is new counts who comes from then on.
    hub.reload(&[("limit-publishes-per-subject", "'1000/s,burst=1000'"), ("limit-connections-per-ip", "1")])
        .await;
    let third = hub.hub.open(&anybody()).await;
    assert_eq!(hub.status(&anybody()).await, 429);
    // Behind a proxy these are many.
    let proxied = [("limit-connections-per-ip", "1"), ("trusted-proxy", "'127.0.0.1'")];
    hub.reload(&proxied).await;
    let from = |ip: &str| anybody().header("X-Forwarded-For", ip);
    let fourth = hub.hub.open(&from("192.0.2.1")).await;
    assert_eq!(hub.status(&from("192.0.2.1")).await, 429);
    hub.reload(&[&proxied[..], &[("forwarding-header", "'Forwarded'")]].concat()).await;
    let fifth = hub.hub.open(&anybody().header("Forwarded", "for=192.0.2.2")).await;
    drop((third, fourth, fifth));
    let small = [("body-limit", "10"), ("batch-limit", "10"), ("bodies-in-flight", "10")];
    hub.reload(&small).await;
    assert_eq!(hub.publish("much more than ten bytes", tokens::PUBLISHER_KEY).await, 413);
    hub.reload(&[]).await;
    assert_eq!(hub.publish("2", tokens::PUBLISHER_KEY).await, 200);
    for stream in [&mut live, &mut second] {
        assert_eq!(stream.data(2).await, ["1", "2"]);
    }
}

#[tokio::test]
async fn times_and_the_log_change() {
    let mut hub = Configured::start(&[("heartbeat", "0"), ("write-deadline", "'1s'")]).await;
    let mut live = hub.hub.open(&anybody()).await;
    hub.reload(&[("heartbeat", "'1s'"), ("lifetime", "'1s'"), ("log-level", "'warn'")]).await;
    let mut short = hub.hub.open(&anybody()).await;
    while short.block().await.is_some() {}
    let beat = async { live.cursor().await };
    assert!(beat.await.starts_with('#'), "an open stream has heartbeats now");
    let log = || metrics::get(hub.hub.admin(), "/log").expect("the admin listener answers").1;
    assert!(log().contains("\"configured\":\"warn\"") && log().contains("\"filter\":\"warn\""), "{}", log());

    // Who looks for something goes on to see it, until his time is over.
    let change = "{\"filter\": \"debug\", \"for\": \"2s\"}".as_bytes();
    let put = Request::new("PUT", "/log").header("Content-Type", "application/json").body(change);
    assert_eq!(put.send(hub.hub.admin()).await.status, 200);
    hub.reload(&[("log-level", "'error'")]).await;
    assert!(log().contains("\"configured\":\"error\""), "{}", log());
    eventually("the filter falls back to the new one", PATIENCE, || async {
        if log().contains("\"filter\":\"error\"") { Ok(()) } else { Err(log()) }
    })
    .await;

    hub.reload(&[("drain-period", "'2s'")]).await;
    hub.hub.signal("TERM");
    let mut parting = None;
    while let Some(block) = live.block().await {
        if let Block::Event(event) = block {
            parting = event.retry.or(parting);
        }
    }
    assert!(parting.is_some(), "it was drained, and not just ended");
    assert!(hub.hub.wait().success());
    assert!(hub.hub.log().contains("period=2s"), "{}", hub.hub.log());
}

#[tokio::test]
async fn what_needs_a_restart_is_named_and_the_rest_is_in_force() {
    let hub = Configured::start(&[]).await;
    assert_eq!(hub.gauge("rivulet_config_restart_needed"), 0.0);
    hub.reload(&[("workers", "1"), ("retention-count", "5"), ("dev", "true"), ("anonymous", "false")]).await;
    assert_eq!(hub.status(&anybody()).await, 401);
    assert_eq!(hub.gauge("rivulet_config_restart_needed"), 1.0);
    assert_eq!(hub.hub.metrics().sum("rivulet_worker_streams", ""), Some(0.0));
    let log = hub.hub.log();
    let line = log.lines().find(|line| line.contains("count at the next start")).expect("it is said");
    for name in ["dev", "retention-count", "workers"] {
        assert!(line.contains(name), "{name} is not in {line}");
    }
    assert!(!line.contains("anonymous"), "{line}");
    assert_eq!(
        hub.publish("no", "!ChangeThisMercureHubJWTSecretKey!").await,
        401,
        "no key that everybody knows"
    );
    hub.reload(&[("anonymous", "false")]).await;
    assert_eq!(hub.gauge("rivulet_config_restart_needed"), 0.0);
}
