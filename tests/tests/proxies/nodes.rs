//! Three nodes behind a proxy, each on an address of its own, as each container has one.

use std::{net::SocketAddr, sync::Arc};

use rivulet_tests::{
    Hub, PATIENCE, Request, eventually, metrics::Metrics, proxy::Upstreams, redis::RedisServer,
};
use serde_json::Value;

/// The proxies of these tests connect from here.
pub(crate) const TRUSTED: [&str; 2] = ["--trusted-proxy", "127.0.0.1"];

/// Running nodes.
pub(crate) struct Nodes {
    pub(crate) hubs: Vec<Hub>,
    pub(crate) upstreams: Upstreams,
}

impl Nodes {
    /// One hub of three nodes.
    pub(crate) async fn of_one_hub(flags: &[&str]) -> Self {
        Self::start(Some(Arc::new(RedisServer::start().await)), flags, &[]).await
    }

    /// Three that do not know of each other, where nothing is published; the first one has these flags beside.
    pub(crate) async fn alone(flags: &[&str], first: &[&str]) -> Self {
        Self::start(None, flags, first).await
    }

    async fn start(redis: Option<Arc<RedisServer>>, flags: &[&str], first: &[&str]) -> Self {
        let upstreams = Upstreams::free();
        let flags = [&TRUSTED[..], flags].concat();
        let first = [&flags[..], first].concat();
        let start = |node: usize| {
            let ports = [upstreams.port, upstreams.admin_port];
            let addresses = ports.map(|port| SocketAddr::new(upstreams.ips[node], port));
            Hub::start_where(addresses, &[], redis.clone(), if node == 0 { &first } else { &flags })
        };
        let (first, second, third) = tokio::join!(start(0), start(1), start(2));
        Self { hubs: vec![first, second, third], upstreams }
    }

    /// How many streams each node has.
    pub(crate) fn streams(&self) -> Vec<f64> {
        let open = |metrics: Metrics| metrics.sum("mercure_subscribers_connected", "");
        self.hubs.iter().map(|hub| open(hub.metrics()).unwrap_or_default()).collect()
    }

    /// Whose connections the nodes say that they have.
    pub(crate) async fn addresses(&self) -> Vec<String> {
        let mut addresses = Vec::new();
        for hub in &self.hubs {
            let answer = Request::new("GET", "/debug/connections?limit=1000").send(hub.admin()).await;
            let connections = answer.json()["connections"].take();
            let ip = |connection: &Value| connection["ip"].as_str().unwrap_or_default().to_owned();
            addresses.extend(connections.as_array().into_iter().flatten().map(ip));
        }
        addresses
    }

    /// Waits until all nodes together have this many streams.
    pub(crate) async fn expect_streams(&self, count: u32) {
        eventually(format!("{count} streams"), PATIENCE, || async {
            let streams = self.streams();
            if streams.iter().sum::<f64>() == f64::from(count) { Ok(()) } else { Err(format!("{streams:?}")) }
        })
        .await;
    }
}
