//! Which pages of other origins may read answers.

use rivulet_tests::{Backend, Request, Response, tokens::publisher, wire::HUB_PATH};

const APP: &str = "https://app.example.com";
const EVIL: &str = "https://evil.example.com";

fn allowed(response: &Response) -> (Option<&str>, Option<&str>) {
    (response.header("Access-Control-Allow-Origin"), response.header("Access-Control-Allow-Credentials"))
}

fn preflight(origin: &str, method: &str, headers: &str) -> Request {
    Request::new("OPTIONS", HUB_PATH)
        .header("Origin", origin)
        .header("Access-Control-Request-Method", method)
        .header("Access-Control-Request-Headers", headers)
}

async fn a_listed_origin_may_read_with_credentials(backend: Backend) {
    let hub = backend.hub_with(&["--cors-origin", APP, "--cors-origin", "http://localhost:8080"]).await;
    for origin in [APP, "http://localhost:8080"] {
        let stream = hub.open(&Request::subscribe("topic=a").header("Origin", origin)).await;
        assert_eq!(allowed(stream.head()), (Some(origin), Some("true")));
        let exposed = stream.head().header("Access-Control-Expose-Headers").expect("exposed headers");
        for name in ["Link", "Last-Event-ID", "Mercure-Last-Event-ID"] {
            assert!(exposed.split(", ").any(|exposed| exposed == name), "{name} in {exposed:?}");
        }
        assert_eq!(stream.head().header("Vary"), Some("Origin"));
    }
    for origin in [EVIL, "null", "https://app.example.com.evil.example.com", "http://app.example.com"] {
        let stream = hub.open(&Request::subscribe("topic=a").header("Origin", origin)).await;
        assert_eq!(allowed(stream.head()), (None, None), "{origin}");
        assert_eq!(stream.head().header("Vary"), Some("Origin"), "{origin}");
    }
}

async fn refusals_and_publications_can_be_read_too(backend: Backend) {
    let hub = backend.hub_with(&["--cors-origin", APP]).await;
    let response = hub.send(&Request::subscribe("").header("Origin", APP)).await;
    response.expect_problem(400, "matcher-missing");
    assert_eq!(allowed(&response), (Some(APP), Some("true")));
    let publish = Request::publish(&[("topic", "a")]).header("Origin", APP);
    let response = hub.send(&publish).await;
    assert_eq!((response.status, allowed(&response)), (401, (Some(APP), Some("true"))));
    let response = hub.send(&publish.bearer(&publisher(&["*"]))).await;
    assert_eq!((response.status, allowed(&response)), (200, (Some(APP), Some("true"))));
}

async fn any_origin_never_comes_with_credentials(backend: Backend) {
    let hub = backend.hub_with(&["--cors-origin", "*"]).await;
    let stream = hub.open(&Request::subscribe("topic=a").header("Origin", EVIL)).await;
    assert_eq!(allowed(stream.head()), (Some("*"), None));
    let response = hub.send(&preflight(EVIL, "GET", "authorization")).await;
    assert_eq!(allowed(&response), (Some("*"), None));
}

async fn without_a_list_no_other_origin_may_read(backend: Backend) {
    let hub = backend.hub().await;
    let stream = hub.open(&Request::subscribe("topic=a").header("Origin", EVIL)).await;
    assert_eq!(allowed(stream.head()), (None, None));
    assert_eq!(allowed(&hub.send(&preflight(EVIL, "GET", "authorization")).await), (None, None));
}

async fn a_preflight_allows_what_clients_send(backend: Backend) {
    let hub = backend.hub_with(&["--cors-origin", APP]).await;
    for method in ["GET", "POST", "QUERY"] {
        let response = hub.send(&preflight(APP, method, "authorization,cache-control,last-event-id")).await;
        assert!(matches!(response.status, 200 | 204), "{response:?}");
        assert_eq!(allowed(&response), (Some(APP), Some("true")));
        let methods = response.header("Access-Control-Allow-Methods").expect("methods");
        assert!(methods.split(", ").any(|allowed| allowed == method), "{method} in {methods:?}");
        let headers = response.header("Access-Control-Allow-Headers").expect("headers").to_ascii_lowercase();
        for name in ["authorization", "cache-control", "last-event-id"] {
            assert!(headers.split(", ").any(|allowed| allowed == name), "{name} in {headers:?}");
        }
    }
    let response = hub.send(&preflight(EVIL, "GET", "authorization")).await;
    assert_eq!(allowed(&response), (None, None));
}

on_both_transports!(
    a_listed_origin_may_read_with_credentials,
    refusals_and_publications_can_be_read_too,
    any_origin_never_comes_with_credentials,
    without_a_list_no_other_origin_may_read,
    a_preflight_allows_what_clients_send,
);
