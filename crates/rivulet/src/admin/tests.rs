//! What the admin listener answers, over real sockets.

use reqwest::{Method, Response};
use rivulet_http::{
    HttpConfig, LiveConfig,
    auth::{AuthConfig, Authorizer},
};
use rivulet_node::{MemoryTransport, NodeConfig, Retention};
use serde_json::Value;

use super::*;
use crate::{memory::MemorySampler, metrics};

struct Listener {
    node: Arc<Node>,
    admin: Admin,
    client: reqwest::Client,
    _memory: MemorySampler,
    _log: Box<dyn Send + Sync>,
}

impl Listener {
    fn start() -> Self {
        let (transport, feed) = MemoryTransport::start(Retention::default());
        let node = Node::start(transport, feed, NodeConfig::default());
        let memory = MemorySampler::start(None);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (logs, log) = Logs::nowhere("info");
        let observed = Observed {
            node: Arc::clone(&node),
            memory: memory.state(),
            http: Arc::default(),
            listener: Arc::default(),
            spans: Arc::default(),
            logs,
            live: LiveConfig::new(HttpConfig::new(Arc::new(Authorizer::new(AuthConfig::default()).unwrap()))),
            reloads: Arc::default(),
            runtime: tokio::runtime::Handle::current(),
        };
        let admin = serve(observed, listener, None).unwrap();
        Self { node, admin, client: reqwest::Client::new(), _memory: memory, _log: Box::new(log) }
    }

    async fn send(&self, method: Method, path: &str) -> Response {
        self.client.request(method, format!("http://{}{path}", self.admin.address)).send().await.unwrap()
    }

    async fn get(&self, path: &str) -> (u16, String, String) {
        let response = self.send(Method::GET, path).await;
        let content_type = response.headers()["content-type"].to_str().unwrap().to_owned();
        (response.status().as_u16(), content_type, response.text().await.unwrap())
    }

    /// A refusal's status, slug, and the rest of it.
    async fn problem(&self, method: Method, path: &str) -> (u16, String, Value) {
        let response = self.send(method, path).await;
        assert_eq!(response.headers()["content-type"], "application/problem+json", "{path}");
        let status = response.status().as_u16();
        let problem: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
        assert_eq!(problem["status"], status, "{problem}");
        let slug = problem["type"].as_str().unwrap().strip_prefix("urn:rivulet:problem:").unwrap();
        (status, slug.to_owned(), problem)
    }
}

#[tokio::test]
async fn probes_and_metrics_tell_the_nodes_state() {
    let listener = Listener::start();
    assert_eq!(listener.get("/live").await.0, 200);
    let ready = (200, "application/json".into(), r#"{"status":"ready"}"#.into());
    assert_eq!(listener.get("/ready").await, ready);

    let (status, content_type, text) = listener.get("/metrics").await;
    assert_eq!((status, content_type.as_str()), (200, metrics::CONTENT_TYPE));
    for line in [
        "mercure_subscribers_connected 0",
        "mercure_subscribers_total 0",
        "mercure_updates_total 0",
        "# TYPE mercure_subscribers_connected gauge",
        "# TYPE mercure_updates counter",
        "rivulet_streams_closed_total{reason=\"client_gone\"} 0",
        "rivulet_streams_closed_total{reason=\"stalled\"} 0",
        "rivulet_feed_live 1",
        "rivulet_delivered_bytes_total 0",
        "rivulet_memory_max_bytes 0",
        "rivulet_memory_tight 0",
        "rivulet_draining 0",
        "rivulet_pinned_bytes 0",
        "rivulet_streams_replaying 0",
        "rivulet_hub_nodes 1",
        "rivulet_subscribers_refused_total{reason=\"closing\"} 0",
        "rivulet_limit_refusals_total{limit=\"connections_total\"} 0",
        "rivulet_refusals_total{problem=\"quota-exceeded\"} 0",
        "rivulet_forwarding_headers_ignored_total 0",
        "rivulet_handshakes_failed_total{reason=\"timeout\"} 0",
        "# EOF",
    ] {
        assert!(text.lines().any(|found| found == line), "{line:?} is not in\n{text}");
    }
    assert!(text.contains("rivulet_build_info{version=\""), "{text}");
    assert!(text.contains("transport=\"memory\""), "{text}");
    assert!(text.contains("\nprocess_resident_memory_bytes "), "{text}");

    listener.node.shutdown().await;
    assert_eq!(listener.get("/live").await.0, 200);
    let (status, _, text) = listener.get("/ready").await;
    assert_eq!(status, 503);
    assert!(text.contains("stopping"), "{text}");
    listener.admin.stop().await;
}

#[tokio::test]
async fn the_list_of_paths_has_what_answers_and_nothing_else() {
    let listener = Listener::start();
    let (status, content_type, list) = listener.get("/").await;
    assert_eq!((status, content_type.as_str()), (200, "text/plain; charset=utf-8"));
    let paths: Vec<&str> =
        list.lines().filter_map(|line| line.split_once(' ')).map(|(path, _)| path).collect();
    for path in ["/live", "/ready", "/metrics", "/debug/pprof/heap", "/debug/connections", "/kick", "/log"] {
        assert!(paths.contains(&path), "{path} is not in\n{list}");
    }
    for path in paths {
        let head = listener.send(Method::HEAD, &format!("{path}?seconds=0")).await;
        assert_ne!(head.status(), 404, "{path} is listed");
        let (others, allow) = match path {
            "/kick" => ([Method::GET, Method::DELETE, Method::OPTIONS], "POST"),
            "/log" => ([Method::POST, Method::DELETE, Method::OPTIONS], "GET, HEAD, PUT"),
            _ => ([Method::POST, Method::DELETE, Method::OPTIONS], "GET, HEAD"),
        };
        for method in others {
            let (status, slug, problem) = listener.problem(method.clone(), path).await;
            assert_eq!((status, slug.as_str()), (405, "method-not-allowed"), "{method} {path}: {problem}");
        }
        let response = listener.send(Method::PATCH, path).await;
        assert_eq!(response.headers()["allow"], allow, "{path}");
    }
    for path in ["/debug", "/metrics/", "/.well-known/mercure", "//"] {
        let (status, slug, problem) = listener.problem(Method::GET, path).await;
        assert_eq!((status, slug.as_str()), (404, "not-found"), "{path}: {problem}");
    }
}

#[tokio::test]
async fn a_wrong_or_repeated_parameter_is_named() {
    let listener = Listener::start();
    let check = async |query: &str, slug: &str, parameter: &str| {
        let (status, found, problem) = listener.problem(Method::GET, &format!("/debug/pprof/{query}")).await;
        assert_eq!(
            (status, found.as_str(), &problem["parameter"]),
            (400, slug, &parameter.into()),
            "{query}"
        );
        assert!(!problem["detail"].as_str().unwrap().is_empty());
    };
    for seconds in ["0", "61", "-1", "1.5", "", "1s", "99999999999999999999"] {
        check(&format!("profile?seconds={seconds}"), "parameter-invalid", "seconds").await;
    }
    check("profile?second=5", "parameter-unknown", "second").await;
    check("heap?seconds=5", "parameter-unknown", "seconds").await;
    check("profile?seconds=1&seconds=1", "parameter-invalid", "seconds").await;
    check("../connections?ip=192.0.2.7&limit=1&ip=192.0.2.8", "parameter-invalid", "ip").await;
    check("../topics?topic=a&topic=", "parameter-invalid", "topic").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_cpu_profile_is_made_at_a_time_and_a_client_that_leaves_gives_its_place_back() {
    let listener = Arc::new(Listener::start());
    let first = Arc::clone(&listener);
    // It may find the place taken by one of those below.
    let first = tokio::spawn(async move {
        while first.send(Method::GET, "/debug/pprof/profile?seconds=60").await.status() == 503 {}
    });
    // Once the place is taken, all others are refused until it is given back.
    let refused = async || {
        let mut response = listener.send(Method::GET, "/debug/pprof/profile?seconds=1").await;
        while response.status() == 200 {
            response = listener.send(Method::GET, "/debug/pprof/profile?seconds=1").await;
        }
        response
    };
    let response = tokio::time::timeout(Duration::from_secs(30), refused()).await.unwrap();
    assert_eq!(response.status(), 503);
    assert!((1..=60).contains(&response.headers()["retry-after"].to_str().unwrap().parse::<u64>().unwrap()));
    assert_eq!(listener.problem(Method::GET, "/debug/pprof/profile").await.1, "profile-running");
    assert_eq!(listener.send(Method::GET, "/live").await.status(), 200);

    first.abort();
    let taken = async || {
        while listener.send(Method::GET, "/debug/pprof/profile?seconds=1").await.status() != 200 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), taken()).await.expect("the place is given back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_heap_can_be_seen_also_while_the_cpu_is_watched() {
    let listener = Arc::new(Listener::start());
    let cpu = Arc::clone(&listener);
    let cpu = tokio::spawn(async move { cpu.send(Method::GET, "/debug/pprof/profile?seconds=1").await });
    let heap = listener.send(Method::GET, "/debug/pprof/heap").await;
    assert_eq!(heap.status(), 200);
    assert_eq!(heap.headers()["content-disposition"], "attachment; filename=\"heap.pb.gz\"");
    assert!(heap.bytes().await.unwrap().starts_with(&[0x1f, 0x8b]), "it is gzip");
    let cpu = cpu.await.unwrap();
    assert_eq!(cpu.status(), 200);
    assert!(!cpu.bytes().await.unwrap().is_empty());
}

impl Listener {
    async fn put(&self, path: &str, body: &str) -> (u16, Value) {
        let url = format!("http://{}{path}", self.admin.address);
        let request = self.client.put(url).header("Content-Type", "application/json").body(body.to_owned());
        let response = request.send().await.unwrap();
        (response.status().as_u16(), serde_json::from_slice(&response.bytes().await.unwrap()).unwrap())
    }
}

#[tokio::test]
async fn the_logs_filter_is_changed_for_ever_or_for_a_while() {
    let listener = Listener::start();
    let shown = async || serde_json::from_str::<Value>(&listener.get("/log").await.2).unwrap();
    let log = |filter: &str, left: Option<f64>| serde_json::json!({"filter": filter, "configured": "info", "falls_back_in_seconds": left});
    assert_eq!(shown().await, log("info", None));
    let (status, answer) = listener.put("/log", r#"{"filter": "info,rivulet_redis=debug"}"#).await;
    assert_eq!((status, answer), (200, log("info,rivulet_redis=debug", None)));
    let (status, answer) = listener.put("/log", r#"{"filter": "trace", "for": "24h"}"#).await;
    assert_eq!((status, answer), (200, log("trace", Some(86400.0))));
    let left = shown().await["falls_back_in_seconds"].as_f64().unwrap();
    assert!((86000.0..=86400.0).contains(&left), "{left}");

    for (body, slug, parameter) in [
        (r#"{"filter": "info,rivulet_redis=loud"}"#, "parameter-invalid", Some("filter")),
        (r#"{"filter": "info", "for": "25h"}"#, "parameter-invalid", Some("for")),
        (r#"{"filter": "info", "for": "0"}"#, "parameter-invalid", Some("for")),
        (r#"{"filter": "info", "fro": "1h"}"#, "body-invalid", None),
        (r#"{"for": "1h"}"#, "body-invalid", None),
        ("info", "body-invalid", None),
    ] {
        let (status, problem) = listener.put("/log", body).await;
        assert_eq!(
            (status, &problem["type"]),
            (400, &format!("urn:rivulet:problem:{slug}").into()),
            "{body}"
        );
        assert_eq!(problem.get("parameter").and_then(Value::as_str), parameter, "{body}: {problem}");
    }
    assert_eq!(listener.problem(Method::PUT, "/log").await.0, 415, "no media type");
    assert_eq!(shown().await["filter"], "trace", "what is refused changes nothing");
}
