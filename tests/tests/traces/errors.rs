//! What fails in Redis is visible from the root of a trace.

use rivulet_tests::{
    PATIENCE, eventually,
    otlp::{Collector, Span, span::lines},
};

use crate::stage::{PUBLISH, nodes, one, publish, sampled, trace_id};

fn expect_failed<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let span = one(spans, name);
    assert!(span.is_error(), "{name} in {:#?}", lines(spans));
    assert!(span.attribute("error.type").is_some_and(|kind| !kind.is_empty()), "{:#?}", lines(spans));
    span
}

#[tokio::test]
async fn an_error_of_redis_is_seen_at_the_script_the_update_and_the_request() {
    let collector = Collector::start().await;
    let nodes = nodes(&collector.variables(), 1, &[]).await;
    let hub = &nodes[0];
    // Redis is full: whatever would take memory is refused.
    hub.redis().command(&["CONFIG", "SET", "maxmemory", "1"]).expect("redis obeys");
    let trace = trace_id();
    let answer = publish(hub, "a", ("traceparent", &sampled(&trace))).await;
    assert!(answer.status >= 500, "{answer:?}");
    let spans = collector.trace(&trace, &[PUBLISH, "send", "EVALSHA append"]).await;
    let append = expect_failed(&spans, "EVALSHA append");
    assert_eq!(append.attribute("db.response.status_code"), Some("OOM"), "{:#?}", lines(&spans));
    expect_failed(&spans, "send");
    let server = expect_failed(&spans, PUBLISH);
    assert_eq!(server.attribute("http.response.status_code"), Some(&*answer.status.to_string()));
    hub.redis().command(&["CONFIG", "SET", "maxmemory", "0"]).expect("redis obeys");
}

#[tokio::test]
async fn a_redis_that_is_gone_is_an_error_of_the_whole_trace() {
    let collector = Collector::start().await;
    let nodes = nodes(&collector.variables(), 1, &[]).await;
    let hub = &nodes[0];
    hub.redis().freeze();
    let trace = trace_id();
    let answer = publish(hub, "a", ("traceparent", &sampled(&trace))).await;
    assert_eq!(answer.status, 503, "{answer:?}");
    let spans = collector.trace(&trace, &[PUBLISH, "send"]).await;
    expect_failed(&spans, "send");
    let server = expect_failed(&spans, PUBLISH);
    assert_eq!(server.attribute("error.type"), Some("transport-unavailable"), "{:#?}", lines(&spans));
    hub.redis().thaw();
    eventually("ready again", PATIENCE, || async {
        match rivulet_tests::metrics::get(hub.admin(), "/ready")? {
            (200, _) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

#[tokio::test]
async fn a_refusal_is_no_error_of_the_hub_and_says_what_was_wrong() {
    let collector = Collector::start().await;
    let nodes = nodes(&collector.variables(), 1, &[]).await;
    let trace = trace_id();
    let request = rivulet_tests::Request::publish(&[("topic", "a"), ("data", "x")]);
    let answer = nodes[0].send(&request.header("traceparent", &sampled(&trace))).await;
    assert_eq!(answer.status, 401, "{answer:?}");
    let spans = collector.trace(&trace, &[PUBLISH]).await;
    let server = one(&spans, PUBLISH);
    assert!(!server.is_error(), "{:#?}", lines(&spans));
    assert_eq!(server.attribute("http.response.status_code"), Some("401"));
    assert!(server.attribute("rivulet.problem").is_some(), "{:#?}", lines(&spans));
}
