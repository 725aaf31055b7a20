//! What a cluster answers while a slot moves is told in the span of the call that it sends elsewhere.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use rivulet_tests::{
    Hub,
    otlp::{Collector, Span, span::lines},
    redis_cluster::RedisCluster,
};

use crate::stage::{PUBLISH, publish, publish_traced, sampled, trace_id};

/// How long slots are moved to and fro until a call has met each redirection.
const PATIENCE: Duration = Duration::from_secs(60);

/// Dropped, it ends a thread that would go on for ever.
#[derive(Default)]
struct Over(Arc<AtomicBool>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// The codes of the redirections in a call's span, with where they led.
fn redirections(span: &Span) -> Vec<(String, Option<String>)> {
    let redirected = span.events().into_iter().filter(|(name, _)| name == "redirected");
    let code = |(_, attributes): (_, std::collections::BTreeMap<String, String>)| {
        let code = attributes.get("db.response.status_code").cloned().unwrap_or_default();
        (code, attributes.get("server.port").cloned())
    };
    redirected.map(code).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redirections_are_events_of_the_call_that_they_lead_elsewhere() {
    let (collector, cluster) = (Collector::start().await, Arc::new(RedisCluster::start().await));
    let hub = Hub::start_in(&collector.variables(), None, &["--redis-url", &cluster.url()]).await;
    publish_traced(&hub, "a").await;
    let (_, slot, mut from) = cluster.find("*}t:a").expect("the topic has a log");
    let mut to = (from + 1) % 3;

    // No key is left, and the slot is not yet the other's: each call is asked to go there, this once.
    cluster.begin_move(slot, from, to).expect("it begins");
    cluster.move_keys(slot, from, to).expect("the keys move");
    let trace = trace_id();
    // It may have to wait for the end of the move: an update has keys that are in neither place.
    publish(&hub, "a", ("traceparent", &sampled(&trace))).await;
    let spans = collector.trace(&trace, &[PUBLISH, "send", "EVALSHA append"]).await;
    let append = spans.iter().find(|span| span.name() == "EVALSHA append").expect("it was waited for");
    let target = cluster.proxies[to].address().port().to_string();
    let first = redirections(append).into_iter().next();
    assert_eq!(first, Some(("ASK".to_owned(), Some(target))), "{:#?}", lines(&spans));
    cluster.end_move(slot, from, to).expect("it ends");

    // The node learns quickly where the slot is: only who publishes all the time meets the old primary.
    let over = Over::default();
    let moving = tokio::task::spawn_blocking({
        let (cluster, over) = (Arc::clone(&cluster), Arc::clone(&over.0));
        move || {
            while !over.load(Relaxed) {
                (from, to) = (to, from);
                cluster.migrate(slot, from, to).expect("the slot moves");
            }
        }
    });
    let begun = Instant::now();
    loop {
        publish(&hub, "a", ("traceparent", &sampled(&trace_id()))).await;
        let appends = collector.spans().into_iter().filter(|span| span.name() == "EVALSHA append");
        let met = appends.flat_map(|span| redirections(&span)).map(|(code, _)| code);
        let met: BTreeSet<String> = met.collect();
        if met.contains("MOVED") {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{met:?}");
    }
    drop(over);
    moving.await.expect("slots move");
}
