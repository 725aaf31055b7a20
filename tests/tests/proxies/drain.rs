//! A node drains behind a proxy, as in a rolling update.

use rivulet_tests::{
    Hub, PATIENCE, Request, eventually,
    proxy::{Change, Proxy, Software},
};

use super::{check::Check, nodes::Nodes, streams::SILENT};

/// Proxies look every second whether a node is ready. It has a stream that keeps it for a while.
const DRAIN: [&str; 4] = ["--drain-delay", "3s", "--drain-period", "30s"];

pub(crate) async fn pass_over(software: Software) {
    let outcome = Check::DrainUnseen.run(software, &[]).await;
    assert_eq!(outcome, Ok(()), "{software}");
}

/// Opens streams through the proxy while one of three nodes refuses new ones.
pub(crate) async fn is_unseen(software: Software, changes: &[Change<'_>]) -> Result<(), String> {
    const STREAMS: usize = 9;
    let mut nodes = Nodes::alone(&SILENT, &DRAIN).await;
    let proxy = Proxy::start(software, &nodes.upstreams, changes).await;
    // With some others, the last of which goes at the end of the period.
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(nodes.hubs[0].subscribe("topic=a").await);
    }
    nodes.hubs[0].signal("TERM");
    expect_refusal(&nodes.hubs[0]).await;
    let outcome = open(&proxy, STREAMS).await;
    drop(held);
    nodes.hubs[0].wait();
    outcome
}

async fn open(proxy: &Proxy, count: usize) -> Result<(), String> {
    let connection = proxy.http2().await;
    let mut streams = Vec::new();
    for number in 0..count {
        match connection.subscribe(&Request::subscribe("topic=a")).await {
            Ok(stream) => streams.push(stream),
            Err(refusal) => return Err(format!("stream {number}: {}", refusal.status)),
        }
    }
    Ok(())
}

async fn expect_refusal(hub: &Hub) {
    eventually("the node refuses new streams", PATIENCE, || async {
        let answer = Request::new("HEAD", "/.well-known/mercure?topic=a").send(hub.address()).await;
        if answer.status == 503 { Ok(()) } else { Err(answer.status) }
    })
    .await;
}
