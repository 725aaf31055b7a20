//! Everything around the hub: other paths and methods, the page at `/`, metadata, and cross-origin rules.
#![allow(clippy::unwrap_used, reason = "a test fails where it unwraps")]

mod hub;

use hub::{HUB, Hub, header, problem, token};
use reqwest::Response;
use rivulet_http::CorsPolicy;
use serde_json::Value;

const METADATA: &str = "/.well-known/oauth-protected-resource/.well-known/mercure";

#[tokio::test(flavor = "multi_thread")]
async fn other_paths_and_methods_are_refused_with_what_is_right() {
    let hub = Hub::start().await;
    for path in
        ["/nothing", "/.well-known/mercure/", "/.well-known/mercure/subscriptions", "/healthz", "/metrics"]
    {
        problem(hub.request("GET", path).send().await.unwrap(), 404, "not-found").await;
    }
    for (method, path, allow) in [
        ("DELETE", HUB, "GET, HEAD, QUERY, POST, OPTIONS"),
        ("PUT", HUB, "GET, HEAD, QUERY, POST, OPTIONS"),
        ("BREW", HUB, "GET, HEAD, QUERY, POST, OPTIONS"),
        ("POST", "/", "GET, HEAD, OPTIONS"),
        ("QUERY", METADATA, "GET, HEAD, OPTIONS"),
    ] {
        let response = hub.request(method, path).send().await.unwrap();
        assert_eq!(header(&response, "allow"), Some(allow), "{method} {path}");
        problem(response, 405, "method-not-allowed").await;
    }
    let response = hub.request("HEAD", "/nothing").send().await.unwrap();
    assert_eq!(response.status(), 404);
    assert_eq!(response.text().await.unwrap(), "");
    let response = hub.request("OPTIONS", HUB).send().await.unwrap();
    assert_eq!(response.status(), 204);
    assert_eq!(header(&response, "allow"), Some("GET, HEAD, QUERY, POST, OPTIONS"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_front_page_says_what_this_is_and_loads_nothing() {
    let hub = Hub::start_with(hub::only_v0(), |config| config.anonymous = true).await;
    let response = hub.request("GET", "/").send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(header(&response, "content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(header(&response, "x-content-type-options"), Some("nosniff"));
    assert_eq!(header(&response, "x-frame-options"), Some("DENY"));
    assert!(header(&response, "content-security-policy").unwrap().starts_with("default-src 'none'"));
    let text = response.text().await.unwrap();
    assert!(text.contains("Dialect 1.0 (<code>match=</code>): off"), "{text}");
    assert!(text.contains("Dialect 0.x (<code>topic=</code>): on"), "{text}");
    assert!(text.contains("without a token: on") && text.contains("Documentation"), "{text}");
    assert!(!text.contains("src=") && !text.contains("<script") && !text.contains("<style"), "{text}");
    let response = hub.request("HEAD", "/").send().await.unwrap();
    assert_eq!((response.status().as_u16(), response.text().await.unwrap()), (200, String::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_is_there_when_dialect_1_0_is_on() {
    let hub = Hub::start().await;
    let response = hub.request("GET", METADATA).send().await.unwrap();
    assert_eq!(header(&response, "content-type"), Some("application/json"));
    let document: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    assert_eq!(document["resource"], token::RESOURCE);
    assert_eq!(document["authorization_servers"], serde_json::json!([token::ISSUER]));
    assert_eq!(document["bearer_methods_supported"], serde_json::json!(["header"]));
    let hub = Hub::start_with(hub::only_v0(), |_| ()).await;
    problem(hub.request("GET", METADATA).send().await.unwrap(), 404, "not-found").await;
}

async fn ask(hub: &Hub, method: &str, path: &str, origin: &str) -> Response {
    let request = hub.request(method, path).header("Origin", origin);
    let request = request.header("Access-Control-Request-Method", "POST");
    request.header("Access-Control-Request-Headers", "authorization").send().await.unwrap()
}

fn allowed(response: &Response) -> (Option<&str>, Option<&str>) {
    (header(response, "access-control-allow-origin"), header(response, "access-control-allow-credentials"))
}

#[tokio::test(flavor = "multi_thread")]
async fn listed_pages_may_read_answers_with_cookies() {
    let hub = Hub::start_with(hub::both(), |config| {
        config.anonymous = true;
        config.cors = CorsPolicy::parse(&["https://a.example", "http://b.example:8080"]).unwrap();
    })
    .await;
    let stream = format!("{HUB}?match=a");
    for origin in ["https://a.example", "http://b.example:8080"] {
        for (method, path) in
            [("GET", stream.as_str()), ("HEAD", &stream), ("GET", HUB), ("POST", HUB), ("GET", "/x")]
        {
            let response = ask(&hub, method, path, origin).await;
            assert_eq!(allowed(&response), (Some(origin), Some("true")), "{method} {path}");
            assert_eq!(header(&response, "vary"), Some("Origin"));
            let exposed = header(&response, "access-control-expose-headers").unwrap();
            assert!(exposed.starts_with("Link, Last-Event-ID, Mercure-Last-Event-ID"));
        }
        let response = ask(&hub, "OPTIONS", HUB, origin).await;
        assert_eq!(response.status(), 204);
        assert_eq!(allowed(&response), (Some(origin), Some("true")));
        assert_eq!(header(&response, "access-control-allow-methods"), Some("GET, HEAD, QUERY, POST"));
        let headers = header(&response, "access-control-allow-headers");
        assert_eq!(
            headers,
            Some(
                "authorization, cache-control, last-event-id, content-type, idempotency-key, traceparent, tracestate"
            )
        );
    }
    for stranger in ["https://evil.example", "https://a.example.evil.example", "http://a.example", "null"] {
        for method in ["GET", "OPTIONS"] {
            let response = ask(&hub, method, &stream, stranger).await;
            assert_eq!(allowed(&response), (None, None), "{stranger}");
            assert_eq!(header(&response, "access-control-allow-methods"), None);
            assert_eq!(header(&response, "vary"), Some("Origin"));
        }
    }
    hub.left_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_page_may_read_answers_only_without_cookies() {
    let hub = Hub::start_with(hub::both(), |config| {
        config.anonymous = true;
        config.cors = CorsPolicy::AnyWithoutCredentials;
    })
    .await;
    for (method, path) in [("GET", format!("{HUB}?topic=a")), ("GET", HUB.into()), ("OPTIONS", HUB.into())] {
        let response = ask(&hub, method, &path, "https://any.example").await;
        assert_eq!(allowed(&response), (Some("*"), None), "{method} {path}");
    }
    hub.left_nothing().await;
}
