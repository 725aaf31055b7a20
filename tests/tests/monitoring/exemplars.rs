//! From a bucket of a histogram to the trace behind it: what Prometheus has scraped names a trace that the collector holds.

use rivulet_tests::{
    Hub, PATIENCE, Request, eventually, otlp::Collector, prometheus::Prometheus, tokens::publisher,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exemplars_lead_from_prometheus_to_traces_that_the_collector_holds() {
    let collector = Collector::start().await;
    let hub = Hub::start_in(&collector.variables(), None, &[]).await;
    let prometheus = Prometheus::start(&[hub.admin()], "groups: []").await;
    let mut stream = hub.subscribe("topic=a").await;
    for histogram in ["rivulet_write_latency_seconds_bucket", "rivulet_dispatch_duration_seconds_bucket"] {
        let trace = format!("{:032x}", rand::random::<u128>() | 1);
        let traceparent = format!("00-{trace}-00f067aa0ba902b7-01");
        let publication = Request::publish(&[("topic", "a"), ("data", "x")]).bearer(&publisher(&["*"]));
        assert_eq!(hub.send(&publication.header("traceparent", &traceparent)).await.status, 200);
        stream.data(1).await;
        let named = eventually(format!("an exemplar of {histogram}"), PATIENCE, || async {
            let exemplars = prometheus.exemplars(histogram).await?;
            let mut traces = exemplars.iter().filter_map(|labels| labels["trace_id"].as_str());
            traces.find(|found| *found == trace).map(str::to_owned).ok_or(format!("{exemplars:?}"))
        })
        .await;
        let spans = collector.trace(&named, &["process"]).await;
        assert!(spans.iter().any(|span| span.name() == "send"), "{named}");
    }
}
