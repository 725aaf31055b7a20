//! Private updates: delivered only where a grant matches any of their topics.

use rivulet_tests::{
    Backend, Hub, Request, Subscriber,
    tokens::{access, subscriber},
};

/// Whether a request opens a stream that gets private updates on `a`.
pub(crate) async fn gets_private_updates(hub: &Hub, request: &Request) -> bool {
    let mut stream = hub.open(request).await;
    let private = hub.publish(&[("topic", "a"), ("private", "on"), ("data", "private")]).await;
    let public = hub.publish(&[("topic", "a"), ("data", "public")]).await;
    // What was published just before it was opened may come as well.
    loop {
        let event = stream.event().await;
        if [&private, &public].iter().any(|id| event.id() == id.as_str()) {
            return event.id() == private;
        }
    }
}

/// The data of the events before `end`.
async fn until_end(stream: &mut Subscriber) -> Vec<String> {
    let mut data = Vec::new();
    loop {
        match stream.event().await.data() {
            "end" => return data,
            other => data.push(other.to_owned()),
        }
    }
}

async fn a_private_update_needs_a_grant(backend: Backend) {
    let hub = backend.hub().await;
    let mut anonymous = hub.subscribe("topic=a").await;
    let mut wildcard = hub.subscribe("topic=*").await;
    let mut elsewhere = hub.open(&Request::subscribe("topic=a").bearer(&subscriber(&["b"]))).await;
    let mut granted = hub.open(&Request::subscribe("topic=a").bearer(&subscriber(&["b", "a"]))).await;
    let template = subscriber(&["{anything}"]);
    let mut by_template = hub.open(&Request::subscribe("topic=*").bearer(&template)).await;
    let new = access(&[("subscribe", "exact", "a")]);
    let mut by_detail = hub.open(&Request::subscribe("match=a").bearer(&new)).await;
    // Relative to the hub's URL, as the topic is.
    let pattern = access(&[("subscribe", "urlpattern", "/.well-known/:anything")]);
    let mut by_pattern = hub.open(&Request::subscribe("match=*").bearer(&pattern)).await;
    let publisher = access(&[("publish", "exact", "a")]);
    let mut by_publisher = hub.open(&Request::subscribe("match=a").bearer(&publisher)).await;
    // Its presence counts, not its value.
    for value in ["on", "", "0", "false"] {
        hub.publish(&[("topic", "a"), ("private", value), ("data", value)]).await;
    }
    hub.publish(&[("topic", "a"), ("data", "end")]).await;
    for stream in [&mut anonymous, &mut wildcard, &mut elsewhere, &mut by_publisher] {
        assert_eq!(until_end(stream).await, [""; 0], "not granted");
    }
    for stream in [&mut granted, &mut by_template, &mut by_detail, &mut by_pattern] {
        assert_eq!(until_end(stream).await, ["on", "", "0", "false"], "granted");
    }
}

async fn routing_and_grant_may_match_different_topics(backend: Backend) {
    let hub = backend.hub().await;
    let granted = subscriber(&["/users/7/{rest}"]);
    let mut by_canonical = hub.open(&Request::subscribe("topic=/books/1").bearer(&granted)).await;
    let mut by_template = hub.open(&Request::subscribe("topic=/books/%7Bid%7D").bearer(&granted)).await;
    let other = subscriber(&["/users/8/{rest}"]);
    let mut others = hub.open(&Request::subscribe("topic=/books/1").bearer(&other)).await;
    let new = access(&[("subscribe", "urlpattern", "/users/7/*")]);
    let mut in_1_0 = hub.open(&Request::subscribe("match=/books/1").bearer(&new)).await;
    let fields = [("topic", "/books/1"), ("topic", "/users/7/books"), ("private", "on"), ("data", "for 7")];
    hub.publish(&fields).await;
    hub.publish(&[("topic", "/books/1"), ("private", "on"), ("data", "for nobody")]).await;
    hub.publish(&[("topic", "/books/1"), ("data", "end")]).await;
    for stream in [&mut by_canonical, &mut by_template, &mut in_1_0] {
        assert_eq!(until_end(stream).await, ["for 7"]);
    }
    assert_eq!(until_end(&mut others).await, [""; 0]);
}

async fn a_grant_alone_routes_nothing(backend: Backend) {
    let hub = backend.hub().await;
    let mut stream = hub.open(&Request::subscribe("topic=b").bearer(&subscriber(&["*"]))).await;
    hub.publish(&[("topic", "a"), ("private", "on"), ("data", "not asked for")]).await;
    hub.publish(&[("topic", "b"), ("private", "on"), ("data", "asked for")]).await;
    assert_eq!(stream.data(1).await, ["asked for"]);
}

on_both_transports!(
    a_private_update_needs_a_grant,
    routing_and_grant_may_match_different_topics,
    a_grant_alone_routes_nothing,
);
