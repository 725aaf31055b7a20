//! The hub's own namespace, in every disguise.

use rivulet_tests::{
    Backend, Request,
    tokens::{access, publisher},
};

async fn nobody_publishes_into_the_hubs_own_namespace(backend: Backend) {
    let hub = backend.hub().await;
    let mut stream = hub.subscribe("topic=*").await;
    for topic in [
        "/.well-known/mercure",
        "/.well-known/mercure/",
        "/.well-known/mercure/subscriptions/a/b",
        "https://hub.example.com/.well-known/mercure/subscriptions/a/b",
        "https://other.example.com/.well-known/mercure/x",
        "http://localhost:3000/.well-known/mercure",
        "ftp://example.com/.well-known/mercure/x",
        "HTTPS://HUB.EXAMPLE.COM/.well-known/mercure",
        "/.well-known/mercure?query",
        "/.well-known/mercure#fragment",
        "/.well-known/%6Dercure/x",
        "/%2Ewell-known/mercure/x",
        "/.well-known/%6d%65%72%63%75%72%65",
        "/a/../.well-known/mercure/x",
        "/a/%2e%2E/.well-known/mercure/x",
        "/.well-known/./mercure/x",
        "/.well-known/%2e/mercure",
        "/.well-known/mercure/x/../y",
        "\\.well-known\\mercure\\x",
        "//other.example.com/.well-known/mercure/x",
        "mercure/subscriptions/x",
        "./mercure",
        "?query",
    ] {
        let fields = [("topic", topic), ("data", "forged")];
        let response = hub.send(&Request::publish(&fields).bearer(&publisher(&["*"]))).await;
        response.expect_problem(403, "topic-reserved");
        let response =
            hub.send(&Request::publish(&fields).bearer(&access(&[("publish", "exact", "*")]))).await;
        response.expect_problem(400, "topic-reserved");
        let as_alternate = [("topic", "a"), ("topic", topic), ("data", "forged")];
        let response = hub.send(&Request::publish(&as_alternate).bearer(&publisher(&["*"]))).await;
        response.expect_problem(403, "topic-reserved");
    }
    for topic in [
        "/.well-known/mercurex",
        "/.well-known/mercur",
        "/a/.well-known/mercure",
        "/.well-known/Mercure",
        "https://example.com/?/.well-known/mercure",
        "urn:.well-known/mercure",
    ] {
        hub.publish(&[("topic", topic), ("data", topic)]).await;
        assert_eq!(stream.data(1).await, [topic], "and nothing forged before it");
    }
}

on_both_transports!(nobody_publishes_into_the_hubs_own_namespace);
