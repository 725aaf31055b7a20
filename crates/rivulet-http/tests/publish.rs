//! Publishing: every rule for fields, bodies and rights, in both dialects.
#![allow(clippy::unwrap_used, reason = "a test fails where it unwraps")]

mod hub;

use std::sync::{Arc, atomic::Ordering::SeqCst};

use hub::{HUB, Hub, client::Raw, eventually, header, problem, token, transport::Gated};
use rivulet_node::NodeConfig;

#[tokio::test(flavor = "multi_thread")]
async fn a_publication_is_answered_with_exactly_its_id() {
    let hub = Hub::start().await;
    let response = hub.post(&token::v1(&["a"], &[]), "topic=a&data=x&id=%C3%A9&others=ignored").await;
    assert_eq!(response.status(), 200);
    assert_eq!(header(&response, "content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(response.text().await.unwrap(), "é");
    let drawn = hub.published("topic=a").await;
    assert!(drawn.starts_with('#') && drawn[1..].bytes().all(|byte| byte.is_ascii_digit()), "{drawn}");
    assert!(hub.published("topic=a&id=&type=&retry=&data=").await.starts_with('#'));
    assert_eq!(hub.node.stats().published, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_fields_are_refused_with_their_name() {
    let hub = Hub::start().await;
    let many = "topic=a&".repeat(101);
    let long = format!("topic={}", "x".repeat(4097));
    let cases: &[(&str, &str, Option<&str>)] = &[
        ("", "topic-missing", Some("topic")),
        ("data=x", "topic-missing", Some("topic")),
        ("topic=", "topic-invalid", Some("topic")),
        ("topic=*", "topic-invalid", Some("topic")),
        ("topic=a&topic=*", "topic-invalid", Some("topic")),
        ("topic=a%0Ab", "topic-invalid", Some("topic")),
        ("topic=a%00", "topic-invalid", Some("topic")),
        ("topic=a%E2%80%8B", "topic-invalid", Some("topic")),
        (&long, "topic-invalid", Some("topic")),
        (&many, "topics-too-many", Some("topic")),
        ("topic=%FF", "encoding-invalid", Some("topic")),
        ("topic=a&data=%C3%28", "encoding-invalid", Some("data")),
        ("topic=a&data=50%", "encoding-invalid", Some("data")),
        ("topic=a&id=%231", "id-invalid", Some("id")),
        ("topic=a&id=earliest", "id-invalid", Some("id")),
        ("topic=a&id=a%0Ab", "id-invalid", Some("id")),
        ("topic=a&type=a%0Ddata:b", "type-invalid", Some("type")),
        ("topic=a&retry=1s", "retry-invalid", Some("retry")),
        ("topic=a&retry=-1", "retry-invalid", Some("retry")),
        ("topic=a&retry=%2B1", "retry-invalid", Some("retry")),
        ("topic=a&retry=18446744073709551616", "retry-invalid", Some("retry")),
        ("topic=a&retry=%D9%A3", "retry-invalid", Some("retry")),
    ];
    for publisher in [token::v0(&["*"], &[]), token::v1(&["*"], &[])] {
        for (form, slug, parameter) in cases {
            let document = problem(hub.post(&publisher, form).await, 400, slug).await;
            assert_eq!(document["parameter"].as_str(), *parameter, "{form:.100}");
        }
    }
    assert_eq!(hub.node.stats().published, 0);
    hub.left_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_publishes_to_the_hubs_own_namespace() {
    let hub = Hub::start().await;
    for topic in [
        "/.well-known/mercure",
        "/.well-known/mercure/subscriptions/a/b",
        "https://elsewhere.example/.well-known/mercure/x",
        "/a/../.well-known/./mercure",
        "/%2Ewell-known/mercur%65/x",
        "https:%5C%5Cexample.com%5C.well-known%5Cmercure",
    ] {
        let form = format!("topic=a&topic={}", topic.replace("%2E", "%252E").replace("%65", "%2565"));
        problem(hub.post(&token::v0(&["*"], &[]), &form).await, 403, "topic-reserved").await;
        problem(hub.post(&token::v1(&["*"], &[]), &form).await, 400, "topic-reserved").await;
    }
    hub.published("topic=/.well-known/mercurette").await;
    hub.published("topic=/path/.well-known/mercure").await;
    assert_eq!(hub.node.stats().published, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_type_mercure_is_the_hubs_in_dialect_1_0() {
    let hub = Hub::start().await;
    let form = "topic=a&type=mercure";
    problem(hub.post(&token::v1(&["*"], &[]), form).await, 400, "type-reserved").await;
    assert_eq!(hub.post(&token::v0(&["*"], &[]), form).await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_topic_must_be_granted() {
    let hub = Hub::start().await;
    let form = "topic=a&topic=b";
    let response = hub.post(&token::v0(&["a"], &["*"]), form).await;
    problem(response, 401, "insufficient-scope").await;
    let response = hub.post(&token::v1(&["a"], &["*"]), form).await;
    let challenge = header(&response, "www-authenticate").unwrap().to_owned();
    assert!(challenge.starts_with("Bearer error=\"insufficient_scope\""), "{challenge}");
    problem(response, 403, "insufficient-scope").await;
    assert_eq!(hub.post(&token::v0(&["a", "{x}"], &[]), form).await.status(), 200);
    assert_eq!(hub.post(&token::v1(&["b", "a"], &[]), form).await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_needs_a_token_that_passes() {
    let hub = Hub::start().await;
    let bare = || hub.request("POST", HUB).header("Content-Type", "application/x-www-form-urlencoded");
    problem(bare().body("topic=a").send().await.unwrap(), 401, "token-missing").await;
    problem(bare().bearer_auth("x.y.z").body("topic=a").send().await.unwrap(), 401, "token-malformed").await;
    let twice = bare().bearer_auth(token::v1(&["*"], &[])).bearer_auth(token::v1(&["*"], &[]));
    let status = twice.body("topic=a").send().await.unwrap().status();
    assert!(status == 400 || status == 401, "{status}");
    let huge = "x".repeat(20_000);
    problem(bare().bearer_auth(&huge).body("topic=a").send().await.unwrap(), 401, "token-too-long").await;
    // Refused before the body is taken, and the answer arrives although much of the body was on its way.
    let body = "x".repeat(900_000);
    problem(bare().body(body).send().await.unwrap(), 401, "token-missing").await;
    assert_eq!(hub.node.stats().published, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_publishes_from_allowed_pages_only() {
    let hub = Hub::start_with(hub::both(), |config| {
        config.publish_origins = rivulet_http::auth::AllowedOrigins::parse(&["https://a.example"]).unwrap();
    })
    .await;
    let cookie = format!("mercureAuthorization={}", token::v0(&["*"], &[]));
    let post = |name: &'static str, value: &'static str| {
        let request = hub.request("POST", HUB).header("Cookie", &cookie).header(name, value);
        request.header("Content-Type", "application/x-www-form-urlencoded").body("topic=a").send()
    };
    assert_eq!(post("Origin", "https://a.example").await.unwrap().status(), 200);
    assert_eq!(post("Referer", "https://a.example/page?x").await.unwrap().status(), 200);
    problem(post("Origin", "https://evil.example").await.unwrap(), 401, "origin-not-allowed").await;
    problem(post("Referer", "https://evil.example/a").await.unwrap(), 401, "origin-not-allowed").await;
    problem(post("X-Other", "https://a.example").await.unwrap(), 401, "origin-not-allowed").await;
    assert_eq!(hub.node.stats().published, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_have_a_type_and_a_bound() {
    let hub = Hub::start_with(hub::both(), |config| config.body_len_max = 1000).await;
    let publisher = token::v0(&["*"], &[]);
    let post = |media_type: &'static str, body: String| {
        let request = hub.request("POST", HUB).bearer_auth(&publisher).header("Content-Type", media_type);
        request.body(body).send()
    };
    for wrong in ["application/json", "multipart/form-data; boundary=x", "text/plain", ""] {
        problem(post(wrong, "topic=a".into()).await.unwrap(), 415, "media-type-unsupported").await;
    }
    let none = hub.request("POST", HUB).bearer_auth(&publisher).body("topic=a").send().await.unwrap();
    problem(none, 415, "media-type-unsupported").await;
    let form = |len: usize| format!("topic=a&data={}", "x".repeat(len - 13));
    let right = "Application/X-WWW-Form-URLencoded; charset=utf-8";
    assert_eq!(post(right, form(1000)).await.unwrap().status(), 200);
    problem(post(right, form(1001)).await.unwrap(), 413, "body-too-long").await;
    // Without a length the body is counted while it comes.
    let mut raw = Raw::open(hub.server.address(), &format!(
        "POST {HUB} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {publisher}\r\nTransfer-Encoding: chunked\r\n\
         Content-Type: application/x-www-form-urlencoded\r\n\r\n"
    ))
    .await;
    raw.send(format!("7d0\r\n{}\r\n0\r\n\r\n", "x".repeat(2000)).as_bytes()).await;
    raw.until("urn:rivulet:problem:body-too-long").await;
    assert!(raw.text.starts_with("HTTP/1.1 413 "), "{}", raw.text);
    assert_eq!(hub.node.stats().published, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_publisher_keys_there_is_no_publish_route() {
    let mut auth = hub::only_v0();
    auth.v0.as_mut().unwrap().publisher = None;
    let hub = Hub::start_with(auth, |_| ()).await;
    let response = hub.post(&token::v0(&["*"], &[]), "topic=a").await;
    assert_eq!(header(&response, "allow"), Some("GET, HEAD, OPTIONS"));
    problem(response, 405, "method-not-allowed").await;
    let mut auth = hub::only_v0();
    auth.v0.as_mut().unwrap().subscriber = None;
    let hub = Hub::start_with(auth, |_| ()).await;
    let response = hub.get("topic=a").await;
    assert_eq!(header(&response, "allow"), Some("POST, OPTIONS"));
    problem(response, 405, "method-not-allowed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publication_goes_on_when_its_publisher_hangs_up() {
    let (transport, feed) = Gated::start();
    let hub =
        Hub::start_on(transport.clone(), feed, NodeConfig::default(), hub::both(), |c| c.anonymous = true)
            .await;
    let mut stream = hub.stream("match=a").await;
    let raw = Raw::open(
        hub.server.address(),
        &format!(
            "POST {HUB} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {}\r\nContent-Length: 14\r\n\
         Content-Type: application/x-www-form-urlencoded\r\n\r\ntopic=a&data=x",
            token::v0(&["*"], &[])
        ),
    )
    .await;
    eventually("the append has begun", || transport.begun.load(SeqCst)).await;
    drop(raw);
    transport.permits.add_permits(1);
    stream.until("data: x").await;
    drop(stream);
    hub.left_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_with_an_idempotency_key_is_answered_with_the_first_id() {
    let hub = Hub::start().await;
    let mut stream = hub.stream("match=a").await;
    let publisher = token::v0(&["*"], &[]);
    let post = |key: &'static str, form: &'static str| {
        hub.publication(&publisher).header("Idempotency-Key", key).body(form).send()
    };
    let first = post("k-1", "topic=a&data=one").await.unwrap().text().await.unwrap();
    assert!(first.starts_with('#'), "{first}");
    for key in ["k-1", "\"k-1\""] {
        let repeat = post(key, "topic=a&data=one").await.unwrap();
        assert_eq!((repeat.status().as_u16(), repeat.text().await.unwrap()), (200, first.clone()), "{key}");
    }
    let document =
        problem(post("k-1", "topic=a&data=two").await.unwrap(), 422, "idempotency-key-reused").await;
    assert_eq!(document["parameter"], "Idempotency-Key");
    assert_ne!(post("k-2", "topic=a&data=two").await.unwrap().text().await.unwrap(), first);
    let text = stream.until("data: two\n\n").await;
    assert_eq!(text.matches("data: one").count(), 1, "{text}");
    drop(stream);
    hub.left_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_idempotency_keys_are_refused() {
    let hub = Hub::start().await;
    let publisher = token::v0(&["*"], &[]);
    let long = "k".repeat(256);
    for key in ["", "\"\"", "a b", long.as_str()] {
        let response =
            hub.publication(&publisher).header("Idempotency-Key", key).body("topic=a").send().await;
        problem(response.unwrap(), 400, "idempotency-key-invalid").await;
    }
    let key = |request: reqwest::RequestBuilder| request.header("Idempotency-Key", "k");
    let bytes = hub.publication(&publisher).header("Idempotency-Key", &b"\xC3\xA9"[..]).body("topic=a");
    problem(bytes.send().await.unwrap(), 400, "idempotency-key-invalid").await;
    let twice = key(key(hub.publication(&publisher))).body("topic=a").send().await.unwrap();
    problem(twice, 400, "idempotency-key-invalid").await;
    let batch =
        hub.request("POST", HUB).bearer_auth(&publisher).header("Content-Type", "application/x-ndjson");
    let batch = key(batch).body("{\"topic\":\"a\"}\n").send().await.unwrap();
    problem(batch, 400, "idempotency-key-invalid").await;
    assert_eq!(hub.node.stats().published, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transport_that_is_away_is_answered_with_503_and_nothing_about_it() {
    let (transport, feed) = Gated::start();
    let limits = NodeConfig { connections_max: 1, ..NodeConfig::default() };
    let hub = Hub::start_on(transport.clone(), feed, limits, hub::both(), |c| c.anonymous = true).await;
    let only = hub.stream("match=a").await;
    let response = hub.get("match=a").await;
    assert!(header(&response, "retry-after").is_some());
    problem(response, 503, "node-full").await;
    drop(only);
    hub.left_nothing().await;

    transport.broken.store(true, SeqCst);
    let asked = std::time::Instant::now();
    let answers = [
        hub.get("match=a").await,
        hub.get("topic=a").await,
        hub.get("topic=a&lastEventID=earliest").await,
        hub.post(&token::v0(&["*"], &[]), "topic=a").await,
    ];
    for response in answers {
        assert!(header(&response, "retry-after").is_some());
        let document = problem(response, 503, "transport-unavailable").await;
        assert!(!document.to_string().contains("redis"), "{document}");
    }
    assert!(asked.elapsed() < std::time::Duration::from_secs(5), "a refusal that is certain comes at once");
    hub.left_nothing().await;

    let node = Arc::clone(&hub.node);
    node.shutdown().await;
    let response = hub.get("match=a").await;
    assert!(header(&response, "retry-after").is_some());
    problem(response, 503, "node-closing").await;
}
