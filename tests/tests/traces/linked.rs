//! Updates with traces of their own (`--trace-updates link`): found from the publication by links.

use rivulet_tests::{
    PATIENCE, eventually,
    otlp::{Collector, Span, span::lines},
};

use crate::stage::{PUBLISH, nodes, one, publish_traced, with};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_node_has_a_trace_of_its_own_that_is_linked_to_the_publication() {
    let collector = Collector::start().await;
    // Chance would record none of them: they are recorded because what they are linked to is.
    let sampler =
        [("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "0.000001")];
    let nodes = nodes(&with(&collector.variables(), &sampler), 2, &["--trace-updates", "link"]).await;
    let mut streams = Vec::new();
    for node in &nodes {
        streams.push(node.subscribe("topic=a").await);
    }
    let trace = publish_traced(&nodes[0], "a").await;
    for stream in &mut streams {
        stream.data(1).await;
    }
    let published = collector.trace(&trace, &[PUBLISH, "send", "EVALSHA append"]).await;
    let send = one(&published, "send");
    let origin = (trace.clone(), send.id());
    let processed: Vec<Span> = eventually("both nodes have processed it", PATIENCE, || async {
        let spans = collector.spans();
        let linked = spans.iter().filter(|span| span.links().contains(&origin)).cloned();
        let linked: Vec<Span> = linked.collect();
        if linked.len() == 2 { Ok(linked) } else { Err(format!("{:#?}", lines(&spans))) }
    })
    .await;
    assert_ne!(processed[0].node(), processed[1].node(), "{:#?}", lines(&processed));
    assert_ne!(processed[0].trace_id(), processed[1].trace_id(), "{:#?}", lines(&processed));
    for span in &processed {
        assert_eq!((span.name(), span.parent().as_str()), ("process", ""), "{:#?}", lines(&processed));
        assert_ne!(span.trace_id(), trace);
        assert_eq!(span.links(), std::slice::from_ref(&origin));
        assert_eq!(span.attribute("rivulet.subscribers.reached"), Some("1"));
        assert_eq!(span.attribute("rivulet.position"), send.attribute("rivulet.position"));
    }
    let whole: Vec<Span> = collector.spans().into_iter().filter(|span| span.trace_id() == trace).collect();
    assert!(whole.iter().all(|span| span.name() != "process"), "{:#?}", lines(&whole));
}
