//! Limits while Redis is away: each as it is configured.

use std::{sync::Arc, time::Duration};

use rivulet_tests::{
    Hub, PATIENCE, Response, Subscriber,
    chaos_proxy::{ChaosProxy, Network},
    eventually,
    redis::RedisServer,
};

use crate::tokens::subscribe;

/// The network is cut, the node has to notice, and the lease of what it counted does not matter then.
const NOTICED: Duration = Duration::from_secs(30);

async fn away(hub: &Hub) {
    eventually("the node notices", NOTICED, || async {
        match rivulet_tests::metrics::get(hub.admin(), "/ready")? {
            (503, _) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

/// Tries until the hub answers something else than that it cannot reach its log.
async fn try_open(hub: &Hub, subject: &str) -> Result<Subscriber, Response> {
    Subscriber::try_open(hub.address(), &subscribe("a", subject)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_limit_falls_back_to_the_nodes_share_and_a_closed_one_lets_nobody_through() {
    let redis = Arc::new(RedisServer::start().await);
    let proxy = ChaosProxy::start(redis.address()).await;
    let url = format!("redis://{}", proxy.address());
    // One worker: a topic that it knows already needs nobody's word that it is subscribed.
    let flags = ["--workers", "1", "--limits-lease", "5s", "--limit-connections-per-subject", "4"];
    let open = Hub::start_at(&url, &flags).await;
    let closed =
        Hub::start_at(&url, &[&flags[..], &["--limit-closed", "connections-per-subject"]].concat()).await;
    // Declared after the hubs, these go before them.
    let mut streams = vec![
        try_open(&open, "alice").await.expect("a place"),
        try_open(&closed, "alice").await.expect("a place"),
    ];
    eventually("the nodes know of each other", PATIENCE, || async {
        let nodes = [&open, &closed].map(|hub| hub.metrics().sum("rivulet_hub_nodes", ""));
        if nodes == [Some(2.0); 2] { Ok(()) } else { Err(format!("{nodes:?}")) }
    })
    .await;
    proxy.set(Network::Cut);
    away(&open).await;
    away(&closed).await;

    let refusal = try_open(&closed, "alice").await.expect_err("nobody is let through");
    let problem = refusal.expect_problem(503, "limits-away");
    assert_eq!(problem["limit"], "connections_per_subject", "{problem}");
    assert!(refusal.header("retry-after").is_some(), "{refusal:?}");
    // Four for two nodes: two here, of which one is taken.
    streams.push(try_open(&open, "alice").await.expect("this node's share has room"));
    let refusal = try_open(&open, "alice").await.expect_err("the share is used up");
    assert_eq!(refusal.expect_problem(429, "quota-exceeded")["limit"], "connections_per_subject");

    // What was let through meanwhile counts when Redis is back.
    proxy.set(Network::Whole);
    streams.push(
        eventually("the closed limit can be counted again", NOTICED, || async {
            try_open(&closed, "alice").await.map_err(|refusal| format!("{refusal:?}"))
        })
        .await,
    );
    let refused = async |hub: &Hub| {
        eventually("all four places are counted", NOTICED, || async {
            match try_open(hub, "alice").await {
                Ok(_) => Err("there was a place".to_owned()),
                Err(refusal) if refusal.status == 429 => Ok(()),
                Err(refusal) => Err(format!("{refusal:?}")),
            }
        })
        .await;
    };
    refused(&open).await;
    refused(&closed).await;
}
