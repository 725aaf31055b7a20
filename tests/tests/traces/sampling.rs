//! Who decides what is recorded: the publisher's trace first, and without one the sampler.

use rivulet_tests::otlp::{Collector, span::lines};

use crate::stage::{PUBLISH, REMOTE, nodes, one, publish, publish_traced, published, trace_id, with};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_of_an_unsampled_trace_makes_no_span_on_any_node() {
    let collector = Collector::start().await;
    let nodes = nodes(&collector.variables(), 2, &[]).await;
    let mut streams = Vec::new();
    for node in &nodes {
        streams.push(node.subscribe("topic=a").await);
    }
    let unsampled = trace_id();
    let header = format!("00-{unsampled}-{REMOTE}-00");
    assert_eq!(publish(&nodes[0], "a", ("traceparent", &header)).await.status, 200);
    // Spans of one node are sent in their order: after these there is nothing of the update before.
    let known = publish_traced(&nodes[0], "a").await;
    for stream in &mut streams {
        stream.data(2).await;
    }
    collector.trace(&known, &[PUBLISH, "send", "process", "process"]).await;
    assert_eq!(collector.json(&unsampled), None);
}

#[tokio::test]
async fn jaegers_older_header_is_read_and_w3cs_stands_above_it() {
    let collector = Collector::start().await;
    let nodes = nodes(&collector.variables(), 1, &[]).await;
    let jaeger = trace_id();
    let header = format!("{jaeger}:{REMOTE}:0:1");
    assert_eq!(publish(&nodes[0], "a", ("uber-trace-id", &header)).await.status, 200);
    let spans = published(&collector, &jaeger).await;
    assert_eq!(one(&spans, PUBLISH).parent(), REMOTE, "{:#?}", lines(&spans));
    let unsampled = trace_id();
    let header = format!("{unsampled}:{REMOTE}:0:0");
    assert_eq!(publish(&nodes[0], "a", ("uber-trace-id", &header)).await.status, 200);
    let known = publish_traced(&nodes[0], "a").await;
    published(&collector, &known).await;
    assert_eq!(collector.json(&unsampled), None);
}

#[tokio::test]
async fn a_malformed_traceparent_begins_a_trace_of_its_own() {
    let collector = Collector::start().await;
    let nodes = nodes(&collector.variables(), 1, &[]).await;
    let trace = trace_id();
    for wrong in [format!("00-{trace}-{REMOTE}"), format!("ff-{trace}-{REMOTE}-01"), "nonsense".to_owned()] {
        let before = collector.spans().len();
        assert_eq!(publish(&nodes[0], "a", ("traceparent", &wrong)).await.status, 200, "{wrong}");
        rivulet_tests::eventually("a root", rivulet_tests::PATIENCE, || async {
            let spans = collector.spans().split_off(before);
            let root = spans.iter().find(|span| span.name() == PUBLISH && span.parent().is_empty());
            root.map(|_| ()).ok_or(format!("{:#?}", lines(&spans)))
        })
        .await;
    }
    assert_eq!(collector.json(&trace), None);
}

#[tokio::test]
async fn without_a_trace_the_sampler_decides() {
    let collector = Collector::start().await;
    let off = [("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "0")];
    let nodes = nodes(&with(&collector.variables(), &off), 1, &[]).await;
    for _ in 0..10 {
        nodes[0].publish(&[("topic", "a"), ("data", "x")]).await;
    }
    let known = publish_traced(&nodes[0], "a").await;
    published(&collector, &known).await;
    let others = collector.spans().into_iter().filter(|span| span.trace_id() != known);
    assert_eq!(lines(&others.collect::<Vec<_>>()), Vec::<String>::new());
}
