//! Publishing one update: the form, its answer, and what subscribers see of it.

use rivulet_tests::{
    Backend, Request,
    tokens::{self, access, publisher},
    wire::HUB_PATH,
    within,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

async fn the_answer_is_the_id(backend: Backend) {
    let hub = backend.hub().await;
    let publish = |fields: &[(&str, &str)]| Request::publish(fields).bearer(&publisher(&["*"]));
    let response = hub.send(&publish(&[("topic", "a"), ("id", "urn:x:1")])).await;
    assert_eq!((response.status, response.text()), (200, "urn:x:1"), "{response:?}");
    assert_eq!(response.header("content-type"), Some("text/plain; charset=utf-8"));
    let response = hub.send(&publish(&[("topic", "a")])).await;
    let digits = response.text().strip_prefix('#').expect("an id of the hub's own space");
    assert!(!digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()), "{response:?}");
}

async fn every_field_reaches_subscribers(backend: Backend) {
    let hub = backend.hub().await;
    let mut stream = hub.subscribe("topic=a").await;
    let fields = [
        ("topic", "a"),
        ("data", "hello"),
        ("id", "urn:x:1"),
        ("type", "greeting"),
        ("retry", "1500"),
        ("foo", "bar"),
    ];
    hub.publish(&fields).await;
    let event = stream.event().await;
    assert_eq!(event.id(), "urn:x:1");
    assert_eq!(event.kind.as_deref(), Some("greeting"));
    assert_eq!(event.retry, Some(1500));
    assert_eq!(event.data(), "hello");
    hub.publish(&[("topic", "a")]).await;
    let event = stream.event().await;
    assert_eq!((event.kind.as_deref(), event.retry, event.data()), (None, None, ""), "data is optional");
}

async fn any_data_comes_out_as_it_went_in(backend: Backend) {
    let hub = backend.hub().await;
    let mut stream = hub.subscribe("topic=a").await;
    for (sent, received) in [
        ("one\ntwo", "one\ntwo"),
        ("one\r\ntwo\rthree\n\nfive", "one\ntwo\nthree\n\nfive"),
        (" leading and trailing ", " leading and trailing "),
        ("\n", "\n"),
        ("data: x\n\nid: forged\n\n", "data: x\n\nid: forged\n\n"),
        (": a comment?", ": a comment?"),
        ("event: forged\r\rid: 5", "event: forged\n\nid: 5"),
        ("日本語 🎉 \u{0}\u{2028}\u{feff}", "日本語 🎉 \u{0}\u{2028}\u{feff}"),
        ("", ""),
    ] {
        let id = hub.publish(&[("topic", "a"), ("data", sent)]).await;
        let event = stream.event().await;
        assert_eq!((event.id(), event.data()), (id.as_str(), received), "{sent:?}");
    }
    let long = "0123456789abcdef\n".repeat(40_000);
    hub.publish(&[("topic", "a"), ("data", &long)]).await;
    assert_eq!(stream.event().await.data(), long);
}

async fn an_update_that_breaks_a_rule_is_refused(backend: Backend) {
    let hub = backend.hub().await;
    let mut stream = hub.subscribe("topic=*").await;
    let long = format!("topic={}", "a".repeat(4097));
    for (body, problem, parameter) in [
        ("", "topic-missing", "topic"),
        ("data=x", "topic-missing", "topic"),
        ("topic=", "topic-invalid", "topic"),
        ("topic=*", "topic-invalid", "topic"),
        ("topic=a&topic=*", "topic-invalid", "topic"),
        ("topic=a%00", "topic-invalid", "topic"),
        ("topic=a%E2%80%8B", "topic-invalid", "topic"),
        ("topic=%FF", "encoding-invalid", "topic"),
        ("topic=a&data=%FF", "encoding-invalid", "data"),
        ("topic=100%", "encoding-invalid", "topic"),
        (&long, "topic-invalid", "topic"),
        ("topic=a&id=%23forged", "id-invalid", "id"),
        ("topic=a&id=earliest", "id-invalid", "id"),
        ("topic=a&id=a%0Ab", "id-invalid", "id"),
        ("topic=a&id=%E2%80%AE", "id-invalid", "id"),
        ("topic=a&type=a%0Ab", "type-invalid", "type"),
        ("topic=a&type=a%0D", "type-invalid", "type"),
        ("topic=a&retry=-1", "retry-invalid", "retry"),
        ("topic=a&retry=%2B1", "retry-invalid", "retry"),
        ("topic=a&retry=1.5", "retry-invalid", "retry"),
        ("topic=a&retry=1s", "retry-invalid", "retry"),
        ("topic=a&retry=18446744073709551616", "retry-invalid", "retry"),
    ] {
        for token in [publisher(&["*"]), access(&[("publish", "exact", "*")])] {
            let response = hub.send(&Request::publish_raw(body.as_bytes()).bearer(&token)).await;
            let problem = response.expect_problem(400, problem);
            let shown = &body[..body.len().min(60)];
            assert_eq!(problem["parameter"], parameter, "{shown}: {problem}");
        }
    }
    hub.publish(&[("topic", "a"), ("data", "the first that counts"), ("retry", "18446744073709551615")])
        .await;
    assert_eq!(stream.data(1).await, ["the first that counts"], "nothing of the refused came through");
}

async fn the_type_mercure_is_reserved_in_1_0(backend: Backend) {
    let hub = backend.hub().await;
    let request = Request::publish(&[("topic", "a"), ("type", "mercure")]);
    let response = hub.send(&request.clone().bearer(&access(&[("publish", "exact", "a")]))).await;
    response.expect_problem(400, "type-reserved");
}

async fn another_media_type_is_refused(backend: Backend) {
    let hub = backend.hub().await;
    let request = |kind: &str| {
        Request::new("POST", HUB_PATH)
            .header("Content-Type", kind)
            .bearer(&publisher(&["*"]))
            .body(b"topic=a")
    };
    hub.send(&request("application/json")).await.expect_problem(415, "media-type-unsupported");
    let response = hub.send(&request("application/x-www-form-urlencoded; charset=UTF-8")).await;
    assert_eq!(response.status, 200, "{response:?}");
    let without = Request::new("POST", HUB_PATH).bearer(&publisher(&["*"])).body(b"topic=a");
    hub.send(&without).await.expect_problem(415, "media-type-unsupported");
}

async fn a_long_body_is_refused_whether_announced_or_not(backend: Backend) {
    let hub = backend.hub_with(&["--body-limit", "4096"]).await;
    let mut stream = hub.subscribe("topic=a").await;
    let body = |length: usize| [b"topic=a&data=".as_slice(), &vec![b'x'; length - 13]].concat();
    let token = publisher(&["*"]);
    let response = hub.send(&Request::publish_raw(&body(4096)).bearer(&token)).await;
    assert_eq!(response.status, 200, "{response:?}");
    let response = hub.send(&Request::publish_raw(&body(4097)).bearer(&token)).await;
    response.expect_problem(413, "body-too-long");
    let chunked = [b"1001\r\n".as_slice(), &body(4097), b"\r\n0\r\n\r\n"].concat();
    let request = Request::publish_raw(&[]).bearer(&token).header("Transfer-Encoding", "chunked");
    // An empty POST announces a length of zero; this one announces nothing.
    let head = String::from_utf8(request.header("Connection", "close").encode()).expect("a head in UTF-8");
    let raw = [head.replace("Content-Length: 0\r\n", "").as_bytes(), &chunked].concat();
    let response = rivulet_tests::wire::exchange(hub.address(), &raw, "POST").await;
    response.expect_problem(413, "body-too-long");
    hub.publish(&[("topic", "a"), ("data", "last")]).await;
    assert_eq!(stream.data(2).await[1], "last", "nothing of the refused came through");
}

async fn publishing_needs_a_grant_for_every_topic(backend: Backend) {
    let hub = backend.hub().await;
    let mut stream = hub.subscribe("topic=*").await;
    let publish = |topics: &[&str], token: &str| {
        let fields: Vec<_> = topics.iter().map(|topic| ("topic", *topic)).collect();
        Request::publish(&fields).bearer(token)
    };
    let old = publisher(&["/books/{id}", "exact"]);
    let new = access(&[("publish", "urlpattern", "/books/:id"), ("publish", "exact", "exact")]);
    for token in [&old, &new] {
        for topics in [vec!["/books/1"], vec!["exact"], vec!["exact", "/books/2"]] {
            let response = hub.send(&publish(&topics, token)).await;
            assert_eq!(response.status, 200, "{topics:?}: {response:?}");
            stream.event().await;
        }
    }
    for topics in [vec!["/books/1/2"], vec!["exact", "other"], vec!["other", "exact"]] {
        let response = hub.send(&publish(&topics, &old)).await;
        response.expect_problem(401, "insufficient-scope");
        let response = hub.send(&publish(&topics, &new)).await;
        response.expect_problem(403, "insufficient-scope");
        let challenge = response.header("www-authenticate").expect("a challenge");
        assert!(challenge.contains("error=\"insufficient_scope\""), "{challenge}");
    }
    for token in [tokens::subscriber(&["*"]), access(&[("subscribe", "exact", "*")])] {
        let response = hub.send(&publish(&["a"], &token)).await;
        assert!(matches!(response.status, 401 | 403), "a subscriber's token: {response:?}");
    }
    let response = hub.send(&Request::publish(&[("topic", "a")])).await;
    response.expect_problem(401, "token-missing");
    hub.publish(&[("topic", "a"), ("data", "last")]).await;
    assert_eq!(stream.data(1).await, ["last"], "nothing of the refused came through");
}

async fn a_request_may_name_the_hub_in_full_and_wait_until_its_body_is_asked_for(backend: Backend) {
    let hub = backend.hub().await;
    let mut stream = hub.subscribe("topic=a").await;
    let request = Request::new("POST", &hub.url())
        .header("Content-Type", "application/x-www-form-urlencoded")
        .header("Expect", "100-continue")
        .bearer(&publisher(&["*"]))
        .body(b"topic=a&data=x");
    let raw = request.encode();
    let (head, body) = raw.split_at(raw.len() - b"topic=a&data=x".len());
    let mut socket = TcpStream::connect(hub.address()).await.expect("the hub listens");
    socket.write_all(head).await.expect("the hub reads");
    let mut answer = [0; 25];
    within("the body is asked for", socket.read_exact(&mut answer)).await.expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 100 Continue\r\n\r\n");
    socket.write_all(body).await.expect("the hub reads");
    within("the answer", socket.read_exact(&mut answer[..12])).await.expect("an answer");
    assert_eq!(&answer[..12], b"HTTP/1.1 200");
    assert_eq!(stream.data(1).await, ["x"]);
}

async fn without_keys_of_publishers_there_is_no_publish_route(backend: Backend) {
    let hub = backend.hub_without(&["RIVULET_PUBLISHER_JWT_KEY", "RIVULET_TRUSTED_ISSUER"]).await;
    let response = hub.send(&Request::publish(&[("topic", "a")]).bearer(&publisher(&["*"]))).await;
    assert!(matches!(response.status, 404 | 405), "{response:?}");
    drop(hub.subscribe("topic=a").await);
}

on_both_transports!(
    the_answer_is_the_id,
    every_field_reaches_subscribers,
    any_data_comes_out_as_it_went_in,
    an_update_that_breaks_a_rule_is_refused,
    the_type_mercure_is_reserved_in_1_0,
    another_media_type_is_refused,
    a_long_body_is_refused_whether_announced_or_not,
    publishing_needs_a_grant_for_every_topic,
    a_request_may_name_the_hub_in_full_and_wait_until_its_body_is_asked_for,
    without_keys_of_publishers_there_is_no_publish_route,
);
