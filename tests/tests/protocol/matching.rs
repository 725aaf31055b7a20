//! Which updates a subscription gets.

use rivulet_tests::{Backend, Hub, wire::form};

/// Publishes each topic and a last one that everybody gets; answers which of them a subscription received.
async fn received(hub: &Hub, parameter: &str, matcher: &str, topics: &[&str]) -> Vec<String> {
    let mut stream = hub.subscribe(&form(&[(parameter, matcher), (exact_name(parameter), "end")])).await;
    for topic in topics {
        hub.publish(&[("topic", topic), ("data", topic)]).await;
    }
    hub.publish(&[("topic", "end"), ("data", "end")]).await;
    let mut received = Vec::new();
    loop {
        match stream.event().await.data() {
            "end" => return received,
            topic => received.push(topic.to_owned()),
        }
    }
}

/// A parameter of the same dialect that matches exactly.
fn exact_name(parameter: &str) -> &str {
    if parameter == "topic" { "topic" } else { "match_exact" }
}

async fn exact_matchers_compare_bytes(backend: Backend) {
    let hub = backend.hub().await;
    let topic = "https://example.com/a";
    let others =
        [topic, "https://example.com/A", "https://example.com/a/", "https://EXAMPLE.com/a", "a", "/a"];
    for parameter in ["topic", "match", "match_exact"] {
        assert_eq!(received(&hub, parameter, topic, &others).await, [topic], "{parameter}");
    }
    // What looks like a template is none in 1.0.
    let braces = ["/books/{id}", "/books/1"];
    assert_eq!(received(&hub, "match", "/books/{id}", &braces).await, ["/books/{id}"]);
}

async fn templates_match_as_rfc_6570_expands(backend: Backend) {
    let hub = backend.hub().await;
    let check = async |template: &str, topics: &[&str], expected: &[&str]| {
        assert_eq!(received(&hub, "topic", template, topics).await, expected, "{template}");
    };
    let book = "https://example.com/books/{id}";
    check(
        book,
        &["https://example.com/books/1", "https://example.com/books/1/2", "https://example.com/books", book],
        &["https://example.com/books/1", book],
    )
    .await;
    check("/files/{+path}", &["/files/a", "/files/a/b", "/file/a"], &["/files/a", "/files/a/b"]).await;
    check("{a}.{b}", &["x.y", "xy", "x/y.z"], &["x.y"]).await;
    check("/search{?q,lang}", &["/search?q=a&lang=b", "/search?x=a", "/searching"], &["/search?q=a&lang=b"])
        .await;
}

async fn url_patterns_are_resolved_against_the_hub(backend: Backend) {
    let hub = backend.hub().await;
    let check = async |pattern: &str, topics: &[&str], expected: &[&str]| {
        assert_eq!(received(&hub, "match_urlpattern", pattern, topics).await, expected, "{pattern}");
    };
    check(
        "/books/:id",
        &["/books/1", "https://hub.example.com/books/2", "https://other.example.com/books/3", "/books/1/2"],
        &["/books/1", "https://hub.example.com/books/2"],
    )
    .await;
    check(
        "https://*.example.com/a/*",
        &["https://x.example.com/a/b/c", "https://example.com/a/b", "http://x.example.com/a/b"],
        &["https://x.example.com/a/b/c"],
    )
    .await;
    check(
        "https://example.com/(\\d+)",
        &["https://example.com/12", "https://example.com/x"],
        &["https://example.com/12"],
    )
    .await;
    // A topic that is no URL even beside the hub's does not match.
    check("https://*/*", &["https://a/b", "http://[", "https://"], &["https://a/b"]).await;
}

async fn a_star_matches_everything(backend: Backend) {
    let hub = backend.hub().await;
    let topics = ["a", "https://example.com/", "http://[", "urn:x", "été"];
    for parameter in ["topic", "match", "match_exact", "match_urlpattern"] {
        assert_eq!(received(&hub, parameter, "*", &topics).await, topics, "{parameter}");
    }
}

async fn an_update_is_received_once_however_many_matchers_select_it(backend: Backend) {
    let hub = backend.hub().await;
    let mut stream = hub.subscribe("topic=a&topic=b&topic=*&topic=%7Bx%7D&topic=a").await;
    hub.publish(&[("topic", "a"), ("topic", "b"), ("topic", "c"), ("data", "one")]).await;
    hub.publish(&[("topic", "b"), ("data", "two")]).await;
    hub.publish(&[("topic", "c"), ("data", "three")]).await;
    assert_eq!(stream.data(3).await, ["one", "two", "three"]);
}

async fn an_alternate_topic_is_as_good_as_the_canonical_one(backend: Backend) {
    let hub = backend.hub().await;
    for query in ["topic=alternate", "match=alternate", "topic=alter%7Brest%7D", "match_urlpattern=*"] {
        let mut stream = hub.subscribe(query).await;
        hub.publish(&[("topic", "canonical"), ("topic", "other"), ("topic", "alternate"), ("data", query)])
            .await;
        assert_eq!(stream.data(1).await, [query]);
    }
}

async fn both_dialects_receive_what_either_publishes(backend: Backend) {
    use rivulet_tests::{Request, tokens};
    let hub = backend.hub().await;
    let mut old = hub.subscribe("topic=a").await;
    let mut new = hub.subscribe("match=a").await;
    hub.publish(&[("topic", "a"), ("data", "0.x")]).await;
    let access = tokens::access(&[("publish", "exact", "a")]);
    let response = hub.send(&Request::publish(&[("topic", "a"), ("data", "1.0")]).bearer(&access)).await;
    assert_eq!(response.status, 200, "{response:?}");
    assert_eq!(old.data(2).await, ["0.x", "1.0"]);
    assert_eq!(new.data(2).await, ["0.x", "1.0"]);
}

on_both_transports!(
    exact_matchers_compare_bytes,
    templates_match_as_rfc_6570_expands,
    url_patterns_are_resolved_against_the_hub,
    a_star_matches_everything,
    an_update_is_received_once_however_many_matchers_select_it,
    an_alternate_topic_is_as_good_as_the_canonical_one,
    both_dialects_receive_what_either_publishes,
);
