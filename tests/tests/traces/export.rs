//! Both protocols, with gzip, headers and TLS; and a node that was told of no receiver.

use std::path::Path;

use rivulet_tests::{
    Request,
    certificates::Authority,
    otlp::{Collector, TlsFront},
};

use crate::stage::{node, publish, publish_traced, published, sampled, trace_id, with};

#[tokio::test]
async fn spans_arrive_over_http_and_grpc_with_what_their_process_is() {
    let collector = Collector::start().await;
    for (variables, content) in [
        (collector.variables(), "application/x-protobuf"),
        (
            with(&collector.variables(), &[("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")]),
            "application/x-protobuf",
        ),
        (collector.grpc_variables(), "application/grpc"),
        (
            with(&collector.grpc_variables(), &[("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")]),
            "application/grpc",
        ),
    ] {
        let more = [
            ("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=tests%20of%20traces"),
            ("OTEL_RESOURCE_ATTRIBUTES", "k8s.pod.name=hub-0,k8s.namespace.name=mercure"),
        ];
        let hub = node(&with(&variables, &more)).await;
        let trace_id = publish_traced(&hub, "a").await;
        let spans = published(&collector, &trace_id).await;
        let resource = &spans[0].resource;
        assert_eq!(resource["service.name"], "rivulet", "{resource:?}");
        assert_eq!(resource["k8s.pod.name"], "hub-0", "{resource:?}");
        assert_eq!(resource["process.pid"], hub.pid().to_string(), "{resource:?}");
        assert_eq!(resource["telemetry.sdk.language"], "rust", "{resource:?}");
        for name in ["service.version", "host.name", "k8s.namespace.name"] {
            assert!(!resource[name].is_empty(), "{resource:?}");
        }
        // The node's id ties spans, logs and metrics together.
        assert!(hub.log().contains(&format!("node.id={}", resource["service.instance.id"])), "{}", hub.log());
        let headers = collector.headers().pop().expect("a batch came");
        assert_eq!(headers["x-tenant"], "tests of traces", "{headers:?}");
        assert_eq!(headers["content-type"], content, "{headers:?}");
        let encoding = headers.get("content-encoding").or_else(|| headers.get("grpc-encoding"));
        let is_compressed = variables.iter().any(|(name, _)| name.ends_with("COMPRESSION"));
        assert_eq!(encoding.map(String::as_str), is_compressed.then_some("gzip"), "{headers:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spans_go_over_tls_to_a_receiver_whose_authority_is_known_and_to_no_other() {
    let (authority, stranger) = (Authority::of(&["collector"]), Authority::of(&[]));
    let collector = Collector::start().await;
    let [certificate, key] = ["collector.crt", "collector.key"].map(|name| authority.file(name));
    for (protocol, target, negotiated) in
        [("http/protobuf", collector.http(), "http/1.1"), ("grpc", collector.grpc(), "h2")]
    {
        let front = TlsFront::start(target, Path::new(&certificate), Path::new(&key), &[negotiated]).await;
        let endpoint = format!("https://localhost:{}", front.address().port());
        let start = async |authority: &Authority| {
            let authority = authority.file("ca.crt");
            let variables = [
                ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
                ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
                ("OTEL_EXPORTER_OTLP_CERTIFICATE", &authority),
                ("OTEL_EXPORTER_OTLP_TIMEOUT", "2000"),
                ("OTEL_BSP_SCHEDULE_DELAY", "50"),
            ];
            node(&with(&[], &variables)).await
        };
        let hub = start(&authority).await;
        let trace_id = publish_traced(&hub, "a").await;
        published(&collector, &trace_id).await;

        let before = collector.requests();
        let mut hub = start(&stranger).await;
        publish_traced(&hub, "a").await;
        rivulet_tests::eventually("the failure is told", rivulet_tests::PATIENCE, || async {
            if hub.log().contains("Spans cannot be exported") { Ok(()) } else { Err(hub.log()) }
        })
        .await;
        assert!(hub.stop().success());
        assert_eq!(collector.requests(), before, "{protocol}: nothing passes to a stranger");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_endpoint_nothing_is_sent_and_no_thread_waits() {
    let collector = Collector::start().await;
    let threads = |pid: u32| -> Vec<String> {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("a running process");
        let name = |task: std::io::Result<std::fs::DirEntry>| {
            std::fs::read_to_string(task.ok()?.path().join("comm")).ok()
        };
        tasks.filter_map(name).filter(|name| name.starts_with("OpenTelemetry")).collect()
    };
    for off in [
        vec![],
        with(&collector.variables(), &[("OTEL_SDK_DISABLED", "true")]),
        with(&collector.variables(), &[("OTEL_TRACES_EXPORTER", "none")]),
    ] {
        let mut hub = node(&off).await;
        publish_traced(&hub, "a").await;
        assert_eq!(threads(hub.pid()), Vec::<String>::new());
        assert!(hub.stop().success());
    }
    assert_eq!((collector.connections(), collector.requests()), (0, 0));
    // The same with an endpoint has both.
    let hub = node(&collector.variables()).await;
    let trace_id = publish_traced(&hub, "a").await;
    published(&collector, &trace_id).await;
    assert_eq!(threads(hub.pid()).len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_ended_before_the_hub_stops_is_sent_before_it_ends() {
    let collector = Collector::start().await;
    // Nothing would be sent for ten minutes.
    let variables = with(&collector.variables(), &[("OTEL_BSP_SCHEDULE_DELAY", "600000")]);
    for variables in [variables.clone(), with(&variables, &[("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")])] {
        let endpoint = if variables.iter().any(|(_, value)| value == "grpc") {
            format!("http://{}", collector.grpc())
        } else {
            format!("http://{}", collector.http())
        };
        let variables = with(&variables, &[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)]);
        let mut hub = node(&variables).await;
        let trace_id = publish_traced(&hub, "a").await;
        assert!(hub.stop().success());
        assert!(collector.json(&trace_id).is_some(), "{}", hub.log());
    }
}

#[tokio::test]
async fn only_the_hubs_own_path_makes_spans() {
    let collector = Collector::start().await;
    let hub = node(&collector.variables()).await;
    let stranger = trace_id();
    for request in [
        Request::new("GET", "/"),
        Request::new("OPTIONS", "/.well-known/mercure").header("Origin", "https://a.example"),
        Request::new("GET", "/nothing"),
    ] {
        hub.send(&request.header("traceparent", &sampled(&stranger))).await;
    }
    // Spans are sent in their order: those of this publish come last.
    let known = trace_id();
    assert_eq!(publish(&hub, "a", ("traceparent", &sampled(&known))).await.status, 200);
    published(&collector, &known).await;
    assert_eq!(collector.json(&stranger), None);
}
