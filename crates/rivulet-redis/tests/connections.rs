//! The connections that a node has to Redis.

// In a test a panic is the report.
#![allow(clippy::unwrap_used)]

mod harness;

use std::{collections::BTreeSet, sync::Arc};

use futures_util::future::join_all;
use harness::{RedisServer, eventually};
use rivulet_core::{Partition, Position, Topic};
use rivulet_node::{FeedEvent, FeedStatus, PageLimits, Selection, Transport};

/// Their ids, but for those of the test's own, which ask for them.
async fn connections(server: &RedisServer) -> BTreeSet<String> {
    let list = server.command::<String>(&["CLIENT", "LIST"]).await;
    let nodes = list.lines().filter(|line| !line.contains(" cmd=client|list "));
    nodes.map(|line| line.split(' ').next().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_transport_leaves_no_connection() {
    let server = RedisServer::start().await;
    let (node, mut feed) = server.node().await;
    eventually("the feed must be live", || async { node.feed_status() == FeedStatus::Live }).await;
    drop(node);
    while let Some(event) = feed.recv().await {
        assert!(matches!(event, FeedEvent::Verified(..)));
    }
    eventually("there is none", || async { connections(&server).await.is_empty() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_read_the_log_are_closed_when_nobody_has_needed_them_for_a_while() {
    let server = RedisServer::start().await;
    let (node, _feed) = server.node().await;
    eventually("the feed must be live", || async { node.feed_status() == FeedStatus::Live }).await;
    let before = connections(&server).await;
    let selection = Selection::Topics(Arc::new([Topic::parse("a").unwrap()]));
    let limits = PageLimits { len: 10, bytes: 1 << 20 };
    let read = || node.read(Partition::default(), &selection, Position::default(), limits);
    let reads = join_all((0..20).map(|_| read())).await;
    assert!(reads.iter().all(Result::is_ok), "{reads:?}");
    let opened = &connections(&server).await - &before;
    assert!((3..=5).contains(&opened.len()), "{opened:?}: the readers, and perhaps who looks at the format");
    eventually("none is left, but perhaps the one that looks at the format", || async {
        (&opened & &connections(&server).await).len() <= 1
    })
    .await;
    read().await.unwrap();
}
