//! One update, followed through three nodes: what the receiver holds, and the picture of it.

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use rivulet_tests::{
    Hub,
    otlp::{Collector, Span, span::lines},
    program::command,
};

use crate::stage::{PUBLISH, REMOTE, nodes, one, publish_traced};

/// What an update's trace consists of where it has a subscriber on each of three nodes.
const NAMES: [&str; 6] = [PUBLISH, "send", "EVALSHA append", "process", "process", "process"];

struct Journey {
    collector: Collector,
    nodes: Vec<Hub>,
    trace_id: String,
    spans: Vec<Span>,
}

/// Publishes once on the first of three nodes, each with a subscriber, and waits for the trace.
async fn journey(topic: &str) -> Journey {
    let collector = Collector::start().await;
    let nodes = nodes(&collector.variables(), 3, &[]).await;
    let mut streams = Vec::new();
    for node in &nodes {
        streams.push(node.subscribe(&format!("topic={topic}")).await);
    }
    let trace_id = publish_traced(&nodes[0], topic).await;
    for stream in &mut streams {
        assert_eq!(stream.data(1).await, ["what it says"]);
    }
    let spans = collector.trace(&trace_id, &NAMES).await;
    Journey { collector, nodes, trace_id, spans }
}

fn expect_attributes(span: &Span, expected: &[(&str, &str)]) {
    for (name, value) in expected {
        assert_eq!(span.attribute(name), Some(*value), "{name} of {:#?}", lines(std::slice::from_ref(span)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_trace_holds_the_whole_way_of_an_update_through_three_nodes() {
    let Journey { spans, nodes, .. } = journey("https://example.com/books/1").await;
    let mut names: Vec<&str> = spans.iter().map(Span::name).collect();
    names.retain(|name| NAMES.contains(name));
    assert_eq!(names.len(), NAMES.len(), "{:#?}", lines(&spans));

    let server = one(&spans, PUBLISH);
    let send = one(&spans, "send");
    let append = one(&spans, "EVALSHA append");
    let processed: Vec<&Span> = spans.iter().filter(|span| span.name() == "process").collect();
    assert_eq!(server.kind(), SpanKind::Server);
    assert_eq!(send.kind(), SpanKind::Producer);
    assert_eq!(append.kind(), SpanKind::Client);
    assert!(processed.iter().all(|span| span.kind() == SpanKind::Consumer));
    assert!(!spans.iter().any(Span::is_error), "{:#?}", lines(&spans));

    assert_eq!(server.parent(), REMOTE);
    assert_eq!(send.parent(), server.id());
    assert_eq!(append.parent(), send.id());
    let first = server.node();
    assert!(nodes[0].log().contains(first), "the publisher's node is {first}");
    assert!([send, append].iter().all(|span| span.node() == first));
    let mut found: Vec<&str> = processed.iter().map(|span| span.node()).collect();
    found.sort_unstable();
    found.dedup();
    assert_eq!(found.len(), 3, "one on each node: {:#?}", lines(&spans));

    // Causes come before effects. All nodes share one clock here.
    for (before, after) in [(server, send), (send, append)] {
        assert!(before.start() <= after.start() && before.end() >= after.end(), "{:#?}", lines(&spans));
    }
    for span in &processed {
        assert_eq!(span.parent(), send.id());
        assert_eq!(span.links(), [(send.trace_id(), send.id())], "its creation");
        assert!(span.start() >= append.start(), "{:#?}", lines(&spans));
        expect_attributes(
            span,
            &[
                ("messaging.system", "rivulet"),
                ("messaging.operation.type", "process"),
                ("messaging.destination.name", "https://example.com/books/1"),
                ("messaging.client.id", span.node()),
                ("rivulet.subscribers.reached", "1"),
                ("rivulet.subscribers.lagging", "0"),
                ("rivulet.subscribers.skipped", "0"),
                ("rivulet.workers", "1"),
            ],
        );
        for time in ["rivulet.queue_time", "rivulet.dispatch_time", "rivulet.age_at_dispatch"] {
            let seconds: f64 = span.attribute(time).unwrap_or_default().parse().unwrap_or(-1.0);
            assert!((0.0..15.0).contains(&seconds), "{time} is {seconds} s");
        }
    }
    expect_publisher_side(server, send, append, nodes[0].redis().address().port());
}

fn expect_publisher_side(server: &Span, send: &Span, append: &Span, redis_port: u16) {
    expect_attributes(
        server,
        &[
            ("http.request.method", "POST"),
            ("http.route", "/.well-known/mercure"),
            ("http.response.status_code", "200"),
            ("url.scheme", "http"),
        ],
    );
    expect_attributes(
        send,
        &[
            ("messaging.system", "rivulet"),
            ("messaging.operation.type", "send"),
            ("messaging.destination.name", "https://example.com/books/1"),
            ("messaging.message.body.size", "12"),
            ("messaging.client.id", send.node()),
        ],
    );
    expect_attributes(
        append,
        &[
            ("db.system.name", "redis"),
            ("db.operation.name", "EVALSHA"),
            ("db.stored_procedure.name", "append"),
            ("server.port", &redis_port.to_string()),
        ],
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_draws_a_trace_that_it_fetches_from_jaeger_or_reads_from_a_file() {
    let Journey { collector, trace_id, spans, .. } = journey("https://example.com/books/2").await;
    let run = |arguments: Vec<String>| async move {
        let mut command = tokio::process::Command::from(command());
        let output = command.arg("trace").args(arguments).output().await.expect("rivulet runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned(), said)
    };
    let jaeger = format!("--jaeger=http://{}", collector.http());
    let (code, drawn, said) = run(vec![trace_id.clone(), jaeger.clone()]).await;
    assert_eq!(code, Some(0), "{said}");
    let lines: Vec<&str> = drawn.lines().collect();
    assert_eq!(lines.len(), 2 + spans.len(), "a line per span below the head:\n{drawn}");
    assert!(lines[0].starts_with(&format!("trace {trace_id}: {} spans on 3 nodes", spans.len())), "{drawn}");
    let place = |text: &str| lines.iter().position(|line| line.contains(text)).expect("it is drawn");
    assert!(place(PUBLISH) < place("─ send") && place("─ send") < place("─ EVALSHA append"), "{drawn}");
    assert_eq!(drawn.matches("─ process").count(), 3, "{drawn}");
    assert_eq!(drawn.matches("reached=1").count(), 3, "{drawn}");
    assert!(!drawn.contains('\u{1b}'), "no colours for a pipe");

    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("trace.json");
    let json = collector.json(&trace_id).expect("the trace is there");
    std::fs::write(&file, format!("{}\n", json["result"])).expect("a file in a temporary directory");
    let file = format!("--file={}", file.display());
    assert_eq!(run(vec![file.clone()]).await, (Some(0), drawn, String::new()));
    let (code, raw, _) = run(vec![file, "--json".to_owned()]).await;
    assert_eq!(code, Some(0));
    assert_eq!(serde_json::from_str::<serde_json::Value>(&raw).expect("JSON"), json["result"]);

    let (code, _, said) = run(vec!["0af7651916cd43dd8448eb211c80319c".to_owned(), jaeger]).await;
    assert_eq!(code, Some(69), "{said}");
    assert!(said.contains("has no trace"), "{said}");
    let (code, _, said) = run(vec!["a trace".to_owned()]).await;
    assert_eq!(code, Some(64), "{said}");
}
