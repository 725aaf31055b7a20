//! Nodes that send their spans to a receiver, and publishers that say where an update comes from.

use std::sync::Arc;

use rivulet_tests::{
    Hub, Request, Response,
    otlp::{Collector, Span, span::lines},
    redis::RedisServer,
    tokens::publisher,
};

/// The span of a publisher that somebody else traces.
pub(crate) const REMOTE: &str = "00f067aa0ba902b7";

/// A trace id that no other test has.
pub(crate) fn trace_id() -> String {
    format!("{:032x}", rand::random::<u128>() | 1)
}

/// `traceparent` of a sampled trace.
pub(crate) fn sampled(trace_id: &str) -> String {
    format!("00-{trace_id}-{REMOTE}-01")
}

/// Nodes on one Redis.
pub(crate) async fn nodes(variables: &[(String, String)], count: usize, flags: &[&str]) -> Vec<Hub> {
    let redis = Arc::new(RedisServer::start().await);
    let mut nodes = Vec::new();
    for _ in 0..count {
        nodes.push(Hub::start_in(variables, Some(Arc::clone(&redis)), flags).await);
    }
    nodes
}

/// One node without Redis.
pub(crate) async fn node(variables: &[(String, String)]) -> Hub {
    Hub::start_in(variables, None, &[]).await
}

/// A variable beside others.
pub(crate) fn with(variables: &[(String, String)], more: &[(&str, &str)]) -> Vec<(String, String)> {
    let more = more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    variables.iter().cloned().chain(more).collect()
}

/// Publishes with a header that says where it comes from.
pub(crate) async fn publish(hub: &Hub, topic: &str, (name, value): (&str, &str)) -> Response {
    let fields = [("topic", topic), ("data", "what it says")];
    hub.send(&Request::publish(&fields).bearer(&publisher(&["*"])).header(name, value)).await
}

/// Publishes within a sampled trace of its own, and answers that.
pub(crate) async fn publish_traced(hub: &Hub, topic: &str) -> String {
    let trace_id = trace_id();
    let answer = publish(hub, topic, ("traceparent", &sampled(&trace_id))).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    trace_id
}

/// The one span of a name.
pub(crate) fn one<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let found: Vec<&Span> = spans.iter().filter(|span| span.name() == name).collect();
    assert_eq!(found.len(), 1, "{name} in {:#?}", lines(spans));
    found[0]
}

/// The server's span of a publish.
pub(crate) const PUBLISH: &str = "POST /.well-known/mercure";

/// Waits for the spans that a publish to nobody makes.
pub(crate) async fn published(collector: &Collector, trace_id: &str) -> Vec<Span> {
    collector.trace(trace_id, &[PUBLISH, "send"]).await
}
