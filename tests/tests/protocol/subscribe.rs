//! Opening a stream: parameters, methods, headers, refusals.

use rivulet_tests::{
    Backend, Request,
    tokens::{self, ISSUER, RESOURCE},
    wire::{HUB_PATH, form, percent},
};

/// The most matchers of a subscription.
const MATCHERS_MAX: usize = 100;
/// The longest matcher in bytes.
const MATCHER_LEN_MAX: usize = 4096;

async fn a_stream_opens_with_the_headers_of_the_protocol(backend: Backend) {
    let hub = backend.hub().await;
    for query in ["topic=a", "match=a", "match_exact=a", "match_urlpattern=/a", "topic=*", "match=*"] {
        let stream = hub.subscribe(query).await;
        let head = stream.head();
        for (name, value) in [
            ("Content-Type", "text/event-stream"),
            ("Cache-Control", "private, no-cache, no-store, must-revalidate, max-age=0"),
            ("X-Accel-Buffering", "no"),
            ("Connection", "keep-alive"),
            ("X-Content-Type-Options", "nosniff"),
            ("X-Frame-Options", "DENY"),
        ] {
            assert_eq!(head.header(name), Some(value), "{query}: {head:?}");
        }
        assert!(head.header("Content-Security-Policy").is_some(), "{query}: {head:?}");
        assert_eq!(head.header("Last-Event-ID"), None, "none was sent: {head:?}");
        assert_eq!(head.header("Mercure-Last-Event-ID"), None, "none was sent: {head:?}");
    }
    hub.expect_connections(0).await;
}

async fn what_is_published_after_the_opening_arrives(backend: Backend) {
    let hub = backend.hub().await;
    for round in 0..20 {
        let topic = format!("https://example.com/{round}");
        let mut stream = hub.subscribe(&form(&[("topic", &topic)])).await;
        let id = hub.publish(&[("topic", &topic), ("data", "now")]).await;
        let event = stream.event().await;
        assert_eq!((event.id(), event.data()), (id.as_str(), "now"), "round {round}");
    }
}

async fn a_subscription_that_cannot_be_understood_is_refused(backend: Backend) {
    let hub = backend.hub().await;
    let many = |name: &str| vec![format!("{name}=a"); MATCHERS_MAX + 1].join("&");
    let long = |name: &str| format!("{name}={}", "a".repeat(MATCHER_LEN_MAX + 1));
    for (query, problem, parameter) in [
        ("", "matcher-missing", None),
        ("foo=bar", "matcher-missing", None),
        ("lastEventID=1", "matcher-missing", None),
        ("topic=", "matcher-invalid", Some("topic")),
        ("topic=%FF", "encoding-invalid", Some("topic")),
        ("match=%C3%28", "encoding-invalid", Some("match")),
        ("topic=a%00b", "matcher-invalid", Some("topic")),
        ("match=a%0Ab", "matcher-invalid", Some("match")),
        ("match_exact=%E2%80%AEa", "matcher-invalid", Some("match_exact")),
        ("topic=https://example.com/%7Bid", "matcher-invalid", Some("topic")),
        ("match_urlpattern=https://example.com/(", "matcher-invalid", Some("match_urlpattern")),
        ("match=a&topic=b", "dialects-mixed", Some("topic")),
        ("topic=b&match=a", "dialects-mixed", Some("match")),
        ("matchfoo=a", "matcher-unknown", Some("matchfoo")),
        ("Match=a", "matcher-unknown", Some("Match")),
        ("match=a&MATCH_EXACT=b", "matcher-unknown", Some("MATCH_EXACT")),
        ("topic=a&match_type=exact", "matcher-unknown", Some("match_type")),
        (&many("topic"), "matchers-too-many", Some("topic")),
        (&many("match"), "matchers-too-many", Some("match")),
        (&long("topic"), "matcher-invalid", Some("topic")),
        (&long("match"), "matcher-invalid", Some("match")),
        (&long("match_urlpattern"), "matcher-invalid", Some("match_urlpattern")),
    ] {
        let shown = &query[..query.len().min(60)];
        let response = hub.send(&Request::subscribe(query)).await;
        let problem = response.expect_problem(400, problem);
        if let Some(parameter) = parameter {
            assert_eq!(problem["parameter"], parameter, "{shown}: {problem}");
        }
    }
    hub.expect_connections(0).await;
}

async fn the_limits_of_matchers_can_be_reached(backend: Backend) {
    let hub = backend.hub().await;
    let longest = "b".repeat(MATCHER_LEN_MAX);
    let mut query: Vec<String> = (1..MATCHERS_MAX).map(|number| format!("match={number}")).collect();
    query.push(format!("match={longest}"));
    let mut stream = hub.subscribe(&query.join("&")).await;
    hub.publish(&[("topic", &longest), ("data", "long")]).await;
    hub.publish(&[("topic", "99"), ("data", "99")]).await;
    assert_eq!(stream.data(2).await, ["long", "99"]);
}

async fn query_unites_its_body_with_the_query_string(backend: Backend) {
    let hub = backend.hub().await;
    let query = |target: &str, body: &str| {
        Request::new("QUERY", target)
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(body.as_bytes())
    };
    let mut stream = hub.open(&query(&format!("{HUB_PATH}?match=a"), "match=b&match_urlpattern=/c/:x")).await;
    for topic in ["a", "b", "/c/1", "d", "a"] {
        hub.publish(&[("topic", topic), ("data", topic)]).await;
    }
    assert_eq!(stream.data(4).await, ["a", "b", "/c/1", "a"]);

    let response = hub.send(&query(HUB_PATH, "topic=a")).await;
    assert_eq!(response.status, 400, "0.x does not know QUERY: {response:?}");
    let response = hub.send(&query(HUB_PATH, "foo=a")).await;
    response.expect_problem(400, "matcher-missing");
    let response =
        hub.send(&Request::new("QUERY", HUB_PATH).header("Content-Type", "text/plain").body(b"x")).await;
    response.expect_problem(415, "media-type-unsupported");
    let response = hub.send(&Request::new("QUERY", HUB_PATH).body(b"match=a")).await;
    response.expect_problem(400, "media-type-missing");
}

async fn head_answers_as_get_would_and_opens_nothing(backend: Backend) {
    let hub = backend.hub().await;
    let head = |query: &str| Request::new("HEAD", &format!("{HUB_PATH}?{query}"));
    let response = hub.send(&head("topic=a")).await;
    assert_eq!(response.status, 200, "{response:?}");
    assert_eq!(response.header("content-type"), Some("text/event-stream"));
    let response = hub.send(&head("")).await;
    assert_eq!(response.status, 400, "{response:?}");
    hub.expect_connections(0).await;
}

async fn other_paths_and_methods_say_what_there_is(backend: Backend) {
    let hub = backend.hub().await;
    hub.send(&Request::new("GET", "/nothing")).await.expect_problem(404, "not-found");
    let response = hub.send(&Request::new("PUT", HUB_PATH).body(b"x")).await;
    response.expect_problem(405, "method-not-allowed");
    assert_eq!(response.header("allow"), Some("GET, HEAD, QUERY, POST, OPTIONS"));
    let page = hub.send(&Request::new("GET", "/")).await;
    assert_eq!(page.status, 200);
    assert!(page.header("content-type").is_some_and(|kind| kind.starts_with("text/html")), "{page:?}");
    assert!(page.text().contains("Rivulet") && page.text().contains("href="), "{}", page.text());
}

async fn the_metadata_document_names_hub_and_issuers(backend: Backend) {
    let hub = backend.hub().await;
    let path = "/.well-known/oauth-protected-resource/.well-known/mercure";
    let response = hub.send(&Request::new("GET", path)).await;
    assert_eq!(response.status, 200, "{response:?}");
    assert_eq!(response.header("content-type"), Some("application/json"));
    let document = response.json();
    assert_eq!(document["resource"], RESOURCE, "{document}");
    assert_eq!(document["authorization_servers"], serde_json::json!([ISSUER]), "{document}");
    let methods = document["bearer_methods_supported"].as_array().expect("a list");
    assert!(methods.contains(&"header".into()) && !methods.contains(&"query".into()), "{document}");
    let types = document["authorization_details_types_supported"].as_array().expect("a list");
    assert!(types.contains(&tokens::DETAIL_TYPE.into()), "{document}");
}

async fn without_anonymous_subscribers_a_token_is_needed(backend: Backend) {
    let hub = backend.hub_with(&["--anonymous=false"]).await;
    for query in ["topic=a", "match=a"] {
        let response = hub.send(&Request::subscribe(query)).await;
        response.expect_problem(401, "token-missing");
        let challenge = response.header("www-authenticate").expect("a challenge");
        assert!(challenge.starts_with("Bearer") && !challenge.contains("error="), "bare: {challenge}");
    }
    drop(hub.open(&Request::subscribe("topic=a").bearer(&tokens::subscriber(&[]))).await);
    let access = tokens::access(&[("subscribe", "exact", "a")]);
    drop(hub.open(&Request::subscribe("match=a").bearer(&access)).await);
    hub.expect_connections(0).await;
}

async fn a_parameter_may_be_percent_encoded_or_not(backend: Backend) {
    let hub = backend.hub().await;
    let topic = "https://example.com/été?a=b c";
    let mut stream = hub.subscribe(&format!("m%61tch={}", percent(topic))).await;
    hub.publish(&[("topic", topic), ("data", "x")]).await;
    assert_eq!(stream.data(1).await, ["x"]);
}

on_both_transports!(
    a_stream_opens_with_the_headers_of_the_protocol,
    what_is_published_after_the_opening_arrives,
    a_subscription_that_cannot_be_understood_is_refused,
    the_limits_of_matchers_can_be_reached,
    query_unites_its_body_with_the_query_string,
    head_answers_as_get_would_and_opens_nothing,
    other_paths_and_methods_say_what_there_is,
    the_metadata_document_names_hub_and_issuers,
    without_anonymous_subscribers_a_token_is_needed,
    a_parameter_may_be_percent_encoded_or_not,
);
