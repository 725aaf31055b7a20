//! Opening streams: parameters of both dialects, the answer's head, and what comes through.
#![allow(clippy::unwrap_used, reason = "a test fails where it unwraps")]

mod hub;

use hub::{
    HUB, Hub,
    client::{Raw, Stream},
    header, problem, token,
};
use serde_json::json;

async fn refused(hub: &Hub, query: &str, status: u16, slug: &str, parameter: Option<&str>) {
    let document = problem(hub.get(query).await, status, slug).await;
    assert_eq!(document["parameter"].as_str(), parameter, "{query:.200}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_parameters_are_refused_with_their_name() {
    let hub = Hub::start().await;
    let cases: &[(&str, &str, Option<&str>)] = &[
        ("", "matcher-missing", None),
        ("lastEventID=1", "matcher-missing", None),
        ("topic=a&match=b", "dialects-mixed", Some("match")),
        ("match_urlpattern=/b&topic=a", "dialects-mixed", Some("topic")),
        ("matchURLPattern=a", "matcher-unknown", Some("matchURLPattern")),
        ("Match=a", "matcher-unknown", Some("Match")),
        ("match=a&matches=1", "matcher-unknown", Some("matches")),
        ("match=", "matcher-invalid", Some("match")),
        ("topic=%FF", "encoding-invalid", Some("topic")),
        ("match=%C3%28", "encoding-invalid", Some("match")),
        ("match=100%", "encoding-invalid", Some("match")),
        ("match=a%00", "matcher-invalid", Some("match")),
        ("match_exact=a%0D%0Ab", "matcher-invalid", Some("match_exact")),
        ("topic=a%E2%80%8Bb", "matcher-invalid", Some("topic")),
        ("topic=%7Bunclosed", "matcher-invalid", Some("topic")),
        ("match_urlpattern=https%3A%2F%2Fa%2F%28", "matcher-invalid", Some("match_urlpattern")),
    ];
    for (query, slug, parameter) in cases {
        refused(&hub, query, 400, slug, *parameter).await;
    }
    hub.left_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_number_and_the_length_of_matchers_are_bounded() {
    let hub = Hub::start().await;
    let many = |count: usize| (0..count).map(|n| format!("match=t{n}")).collect::<Vec<_>>().join("&");
    drop(hub.stream(&many(100)).await);
    refused(&hub, &many(101), 400, "matchers-too-many", Some("match")).await;
    drop(hub.stream(&format!("topic={}", "x".repeat(4096))).await);
    refused(&hub, &format!("topic={}", "x".repeat(4097)), 400, "matcher-invalid", Some("topic")).await;
    refused(&hub, &format!("match=a&{}", "x&".repeat(1000)), 400, "parameters-too-many", None).await;
    hub.left_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dialect_that_is_off_is_named() {
    let hub = Hub::start_with(hub::only_v1(), |config| config.anonymous = true).await;
    refused(&hub, "topic=a", 400, "dialect-off", Some("topic")).await;
    drop(hub.stream("match=a").await);
    let hub = Hub::start_with(hub::only_v0(), |config| config.anonymous = true).await;
    refused(&hub, "match=a", 400, "dialect-off", Some("match")).await;
    drop(hub.stream("topic=a").await);
    let response = hub.request("QUERY", HUB).send().await.unwrap();
    assert_eq!(header(&response, "allow"), Some("GET, HEAD, POST, OPTIONS"));
    problem(response, 405, "method-not-allowed").await;
    hub.left_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_begins_with_its_headers_and_a_comment() {
    let hub = Hub::start().await;
    for query in ["topic=a", "match=a"] {
        let mut stream = hub.stream(query).await;
        for (name, value) in [
            ("cache-control", Some("private, no-cache, no-store, must-revalidate, max-age=0")),
            ("x-accel-buffering", Some("no")),
            ("connection", Some("keep-alive")),
            ("x-content-type-options", Some("nosniff")),
            ("x-frame-options", Some("DENY")),
            ("transfer-encoding", None),
            ("content-length", None),
            ("last-event-id", None),
            ("mercure-last-event-id", None),
        ] {
            assert_eq!(stream.header(name), value, "{name}");
        }
        assert!(stream.header("date").is_some() && stream.header("content-security-policy").is_some());
        assert_eq!(stream.until("\n").await, ":\n");
    }
    hub.left_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_dialect_publishes_reaches_subscribers_of_both() {
    let hub = Hub::start().await;
    let mut streams = Vec::new();
    for query in [
        "topic=https%3A%2F%2Fexample.com%2F%7Bid%7D",
        "topic=other&topic=*",
        "match=https%3A%2F%2Fexample.com%2F1",
        "match_exact=https%3A%2F%2Fexample.com%2F1",
        "match_urlpattern=https%3A%2F%2Fexample.com%2F%3Aid",
    ] {
        streams.push(hub.stream(query).await);
    }
    let publishers = [token::v0(&["*"], &[]), token::v1(&["*"], &[])];
    for (n, publisher) in publishers.iter().enumerate() {
        let form = format!("topic=https%3A%2F%2Fexample.com%2F1&data=update+{n}&id=id{n}&type=t&retry=5");
        assert_eq!(hub.post(publisher, &form).await.text().await.unwrap(), format!("id{n}"));
    }
    for stream in &mut streams {
        let text = stream.until("data: update 1\n\n").await;
        assert!(text.ends_with(
            "event: t\nretry: 5\nid: id0\ndata: update 0\n\nevent: t\nretry: 5\nid: id1\ndata: update 1\n\n"
        ), "{text}");
    }
    drop(streams);
    hub.left_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn private_updates_reach_those_whose_token_grants_them() {
    let hub = Hub::start().await;
    let granted = [token::v0(&[], &["a"]), token::v1(&[], &["a"])];
    let mut streams = Vec::new();
    for subscriber in &granted {
        let request = hub.request("GET", &format!("{HUB}?match=a")).bearer_auth(subscriber);
        streams.push(Stream::of(request.send().await.unwrap()));
    }
    let mut anonymous = hub.stream("match=a").await;
    hub.published("topic=a&data=secret&private=").await;
    hub.published("topic=a&data=open").await;
    for stream in &mut streams {
        assert!(stream.until("data: open").await.contains("data: secret"));
    }
    assert!(!anonymous.until("data: open").await.contains("secret"));
    drop((streams, anonymous));
    hub.left_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn subscribers_without_a_good_token_are_refused() {
    let hub = Hub::start_with(hub::both(), |_| ()).await;
    let response = hub.get("topic=a").await;
    assert_eq!(header(&response, "www-authenticate"), Some("Bearer"));
    problem(response, 401, "token-missing").await;
    let response = hub.get("match=a").await;
    let challenge = header(&response, "www-authenticate").unwrap().to_owned();
    assert!(!challenge.contains("error="), "{challenge}");
    assert!(
        challenge.contains("resource_metadata=\"https://localhost/.well-known/oauth-protected-resource/")
    );
    problem(response, 401, "token-missing").await;

    // Also where strangers are welcome, a wrong token is refused.
    let hub = Hub::start().await;
    for query in ["topic=a", "match=a"] {
        let request = hub.request("GET", &format!("{HUB}?{query}")).bearer_auth("wrong");
        problem(request.send().await.unwrap(), 401, "token-malformed").await;
    }
    let mut claims = token::v1_claims(&[], &["a"]);
    claims["exp"] = (token::now() - 10).into();
    let expired = token::sign("at+jwt", &claims);
    let response = hub.request("GET", &format!("{HUB}?match=a")).bearer_auth(&expired).send().await.unwrap();
    assert!(header(&response, "www-authenticate").unwrap().contains("error=\"invalid_token\""));
    let document = problem(response, 401, "token-expired").await;
    assert!(!document.to_string().contains(&expired), "a token must not be repeated");
    let in_query = format!("topic=a&authorization={}", token::v0(&[], &["a"]));
    drop(hub.stream(&in_query).await);
    hub.left_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn head_answers_as_get_would_without_a_stream() {
    let hub = Hub::start().await;
    let id = hub.published("topic=a&id=first").await;
    let request = hub.request("HEAD", &format!("{HUB}?match=a")).header("Last-Event-ID", &id);
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(header(&response, "content-type"), Some("text/event-stream"));
    assert_eq!(header(&response, "mercure-last-event-id"), Some("first"));
    assert_eq!(header(&response, "content-length"), None);
    assert_eq!(response.text().await.unwrap(), "");
    let response = hub.request("HEAD", HUB).send().await.unwrap();
    assert_eq!(response.status(), 400);
    assert_eq!(header(&response, "content-type"), Some("application/problem+json"));
    assert_eq!(response.text().await.unwrap(), "");
    hub.left_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn query_unites_its_form_with_the_query_string() {
    let hub = Hub::start().await;
    let query = |path: &str, media_type: Option<&str>, body: &str| {
        let request = hub.request("QUERY", &format!("{HUB}{path}")).body(body.to_owned());
        match media_type {
            Some(media_type) => request.header("Content-Type", media_type).send(),
            None => request.send(),
        }
    };
    let form = Some("application/x-www-form-urlencoded; charset=UTF-8");
    let mut stream = Stream::of(query("?match=a", form, "match=b").await.unwrap());
    hub.published("topic=a&data=one").await;
    hub.published("topic=b&data=two").await;
    assert!(stream.until("data: two").await.contains("data: one"));
    drop(stream);
    problem(query("?match=a", None, "match=b").await.unwrap(), 400, "media-type-missing").await;
    problem(query("", Some("application/json"), "{}").await.unwrap(), 415, "media-type-unsupported").await;
    problem(query("", form, "topic=a").await.unwrap(), 400, "dialects-mixed").await;
    problem(query("", form, "match=%FF").await.unwrap(), 400, "encoding-invalid").await;
    let long = format!("match={}", "x".repeat(1024 * 1024));
    problem(query("", form, &long).await.unwrap(), 413, "body-too-long").await;
    hub.left_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_whose_body_comes_after_its_token_has_expired_is_not_answered_with_a_stream() {
    let hub = Hub::start().await;
    let mut claims = token::v1_claims(&[], &["a"]);
    let exp = token::now() + 2;
    claims["exp"] = json!(exp);
    let head = format!(
        "QUERY {HUB} HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer {}\r\nExpect: 100-continue\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 7\r\n\r\n",
        token::sign("at+jwt", &claims)
    );
    let mut late = Raw::open(hub.server.address(), &head).await;
    // So it was valid when the request came: its body is asked for.
    late.until("100 Continue").await;
    hub::eventually("the token has expired", || token::now() >= exp).await;
    late.send(b"match=a").await;
    late.until("\r\n\r\n{").await;
    let text = late.until("}").await;
    assert!(text.contains(" 401 ") && text.contains("urn:rivulet:problem:token-expired"), "{text}");
    assert!(text.contains("Bearer error=\"invalid_token\", resource_metadata="), "{text}");
    assert_eq!(hub.node.stats().opened, 0);
    hub.left_nothing().await;
}
