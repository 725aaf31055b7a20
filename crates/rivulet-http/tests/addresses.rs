//! Whose address counts: that of the connection, or the one that a trusted proxy tells.
#![allow(clippy::unwrap_used, reason = "a test fails where it unwraps")]

mod hub;

use hub::{HUB, Hub, client::Stream, problem};
use reqwest::Response;
use rivulet_http::{
    ForwardingHeader::{self, Forwarded, XForwardedFor},
    HttpSnapshot,
};
use rivulet_node::{LimitsConfig, MemoryTransport, NodeConfig, Retention};

/// A hub that lets one address have one connection.
async fn start(trusted: &[&str], header: ForwardingHeader) -> Hub {
    let (transport, feed) = MemoryTransport::start(Retention::default());
    let limits = LimitsConfig { connections_per_ip: Some(1), ..LimitsConfig::default() };
    Hub::start_on(transport, feed, NodeConfig::default(), hub::both(), |config| {
        config.anonymous = true;
        config.limits = limits.into();
        config.trusted_proxies = trusted.iter().map(|network| network.parse().unwrap()).collect();
        config.forwarding_header = header;
    })
    .await
}

async fn subscribe(hub: &Hub, headers: &[(&str, &str)]) -> Response {
    let request = hub.request("GET", &format!("{HUB}?match=a"));
    headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)).send().await.unwrap()
}

/// The address that a request with these headers has, by the refusal of its second connection.
async fn address(hub: &Hub, headers: &[(&str, &str)]) -> String {
    let stream = Stream::of(subscribe(hub, headers).await);
    let document = problem(subscribe(hub, headers).await, 429, "quota-exceeded").await;
    assert_eq!(document["limit"], "connections_per_ip");
    drop(stream);
    hub.left_nothing().await;
    document["scope"]["text"].as_str().unwrap().to_owned()
}

fn counted(snapshot: &HttpSnapshot) -> (u64, u64) {
    (snapshot.forwarding_headers_ignored, snapshot.forwarding_headers_malformed)
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_headers_from_peers_that_are_not_trusted_are_ignored_and_counted() {
    let hub = start(&["192.0.2.0/24"], XForwardedFor).await;
    assert_eq!(address(&hub, &[]).await, "127.0.0.1");
    assert_eq!(counted(&hub.stats.snapshot()), (0, 0));
    assert_eq!(address(&hub, &[("X-Forwarded-For", "192.0.2.9")]).await, "127.0.0.1");
    assert_eq!(address(&hub, &[("Forwarded", "for=192.0.2.9")]).await, "127.0.0.1");
    assert_eq!(address(&hub, &[("Forwarded", "x"), ("X-Forwarded-For", "y")]).await, "127.0.0.1");
    assert_eq!(counted(&hub.stats.snapshot()), (6, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_trusted_proxies_tell_counts() {
    let hub = start(&["127.0.0.1/32", "10.0.0.0/8"], XForwardedFor).await;
    assert_eq!(address(&hub, &[("X-Forwarded-For", "6.6.6.6, 192.0.2.9, 10.1.2.3")]).await, "192.0.2.9");
    let lines =
        [("X-Forwarded-For", "6.6.6.6"), ("X-Forwarded-For", "192.0.2.9"), ("X-Forwarded-For", "10.1.2.3")];
    assert_eq!(address(&hub, &lines).await, "192.0.2.9");
    assert_eq!(counted(&hub.stats.snapshot()), (0, 0));
    assert_eq!(address(&hub, &[("X-Forwarded-For", "6.6.6.6, what, 10.1.2.3")]).await, "10.1.2.3");
    assert_eq!(counted(&hub.stats.snapshot()), (0, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_header_that_the_proxies_write_is_read() {
    let theirs = "for=6.6.6.6, for=\"[2001:db8:1:2::9]:4711\";proto=https, for=127.0.0.1";
    let hub = start(&["127.0.0.1/32"], Forwarded).await;
    assert_eq!(address(&hub, &[("Forwarded", theirs)]).await, "2001:db8:1:2::/64");
    let forged = [("X-Forwarded-For", "192.0.2.8"), ("Forwarded", "for=192.0.2.9")];
    assert_eq!(address(&hub, &forged).await, "192.0.2.9");
    assert_eq!(address(&hub, &forged[..1]).await, "127.0.0.1");
    let hub = start(&["127.0.0.1/32"], XForwardedFor).await;
    assert_eq!(address(&hub, &forged).await, "192.0.2.8");
    assert_eq!(address(&hub, &forged[1..]).await, "127.0.0.1");
    assert_eq!(counted(&hub.stats.snapshot()), (0, 0));
}
