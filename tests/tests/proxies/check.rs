//! What a proxy must do, as checks that answer how it fails: with the shipped configuration none does, and a line less
//! breaks one.

use std::{net::Ipv4Addr, time::Duration};

use rivulet_tests::{
    Hub, Request, Subscriber,
    proxy::{Change, Proxy, Software, Upstreams},
};

use super::{
    drain,
    fake::{Fakes, Manner},
    nodes::TRUSTED,
    streams::{SILENT, batch, open_many, publication},
};

/// How long what must not happen is waited for.
const SUSPENSE: Duration = Duration::from_millis(1500);

/// Something that holds, unless a line is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    /// Browsers are offered HTTP/2.
    Http2,
    /// Many streams fit into one connection.
    ManyStreams,
    /// A stream lives as long as heartbeats come, every two seconds.
    StaysOpen,
    /// What clients say about their addresses is not believed.
    ForgersAreSeen,
    /// Streams are not compressed.
    Uncompressed,
    /// Batches of more than a megabyte pass.
    LongBody,
    /// A node that answers 503 is passed over, for streams.
    PassedOver,
    /// Nothing is refused while a node drains.
    DrainUnseen,
    /// A publish that was answered with 503 reached one node, once.
    PublishedOnce,
    /// A node hears at once of a client that goes.
    AbortsNoticed,
}

impl Check {
    /// Whether one of the other tests is about nothing else.
    pub(crate) fn has_a_test(self) -> bool {
        [Self::StaysOpen, Self::DrainUnseen, Self::PassedOver, Self::PublishedOnce].contains(&self)
    }

    /// Whether it holds with these changes in the shipped configuration.
    pub(crate) async fn run(self, software: Software, changes: &[Change<'_>]) -> Result<(), String> {
        match self {
            Self::StaysOpen => stays_open(software, changes).await,
            Self::DrainUnseen => drain::is_unseen(software, changes).await,
            Self::PassedOver | Self::PublishedOnce => self.with_fakes(software, changes).await,
            _ => self.with_one_node(software, changes).await,
        }
    }

    async fn with_one_node(self, software: Software, changes: &[Change<'_>]) -> Result<(), String> {
        let hub = Hub::start(None, &[&TRUSTED[..], &SILENT].concat()).await;
        let proxy = Proxy::start(software, &Upstreams::of_one(hub.address(), hub.admin()), changes).await;
        match self {
            Self::ForgersAreSeen => forgers_are_seen(&hub, &proxy).await,
            Self::AbortsNoticed => aborts_are_noticed(&hub, &proxy).await,
            Self::Uncompressed => {
                let request = Request::subscribe("topic=a").header("Accept-Encoding", "gzip");
                let head = proxy.http2().await.head(&request).await;
                match head.header("content-encoding") {
                    None => Ok(()),
                    Some(coding) => Err(coding.to_owned()),
                }
            }
            Self::LongBody => match proxy.send(&batch()).await.status {
                200 => Ok(()),
                status => Err(format!("answered with {status}")),
            },
            Self::ManyStreams => {
                let connection = proxy.http2().await;
                let streams = tokio::time::timeout(SUSPENSE, open_many(&connection)).await;
                streams.map(drop).map_err(|_| "some wait for others to end".to_owned())
            }
            _ => proxy.try_http2_from(Ipv4Addr::LOCALHOST).await.map(drop),
        }
    }

    async fn with_fakes(self, software: Software, changes: &[Change<'_>]) -> Result<(), String> {
        let fakes = Fakes::start(Manner::Refuse).await;
        let proxy = fakes.behind(software, changes).await;
        if self == Self::PublishedOnce {
            proxy.send(&publication("a", "1")).await;
            return match fakes.arrivals("POST")[..] {
                [_] => Ok(()),
                ref arrivals => Err(format!("it reached {arrivals:?}")),
            };
        }
        let answer = proxy.send(&Request::subscribe("topic=a")).await;
        assert_eq!(answer.status, 503, "{answer:?}");
        let mut arrivals = fakes.arrivals("GET");
        arrivals.sort();
        arrivals.dedup();
        if arrivals.len() == 3 { Ok(()) } else { Err(format!("only {arrivals:?} were asked")) }
    }
}

async fn forgers_are_seen(hub: &Hub, proxy: &Proxy) -> Result<(), String> {
    let connection = proxy.http2_from(Ipv4Addr::new(127, 0, 0, 3)).await;
    let request = Request::subscribe("topic=a").header("X-Forwarded-For", "6.6.6.6");
    let _stream = connection.subscribe(&request).await.expect("a stream");
    let answer = Request::new("GET", "/debug/connections").send(hub.admin()).await;
    match answer.json()["connections"][0]["ip"].as_str() {
        Some("127.0.0.3") => Ok(()),
        ip => Err(format!("it is taken for {ip:?}")),
    }
}

/// A browser resets a stream; who speaks HTTP/1.1 closes the connection.
async fn aborts_are_noticed(hub: &Hub, proxy: &Proxy) -> Result<(), String> {
    let (connection, request) = (proxy.http2().await, Request::subscribe("topic=a"));
    let noticed = async |how: &str| {
        let noticed = tokio::time::timeout(SUSPENSE, hub.expect_connections(0)).await;
        noticed.map_err(|_| format!("the node still counts a client that has {how}"))
    };
    drop(connection.subscribe(&request).await.expect("a stream"));
    noticed("reset its stream").await?;
    let old = Subscriber::try_open_over(proxy.http1().await, &request.encode()).await;
    let mut old = old.expect("a stream");
    // Nothing is unread then: who closes sends no reset, which nobody overlooks.
    hub.publish(&[("topic", "a"), ("data", "1")]).await;
    assert_eq!(old.event().await.data(), "1");
    drop(old);
    noticed("closed its connection").await
}

/// Over both versions of HTTP at once.
async fn stays_open(software: Software, changes: &[Change<'_>]) -> Result<(), String> {
    const HEARTBEATS: usize = 3;
    let hub = Hub::start(None, &["--heartbeat", "2s"]).await;
    let proxy = Proxy::start(software, &Upstreams::of_one(hub.address(), hub.admin()), changes).await;
    let request = Request::subscribe("topic=a");
    let connection = proxy.http2().await;
    let mut new = connection.subscribe(&request).await.expect("a stream");
    let mut old = Subscriber::try_open_over(proxy.http1().await, &request.encode()).await.expect("a stream");
    let over_http2 = async {
        for number in 0..HEARTBEATS {
            new.block().await.map_err(|end| format!("HTTP/2: {end} after {number} heartbeats"))?;
        }
        Ok(())
    };
    let over_http1 = async {
        for number in 0..HEARTBEATS {
            old.block().await.ok_or(format!("HTTP/1.1: it ended after {number} heartbeats"))?;
        }
        Ok(())
    };
    tokio::try_join!(over_http2, over_http1).map(drop)
}
