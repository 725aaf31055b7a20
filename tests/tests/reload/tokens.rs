//! Which tokens are taken, where they may stand, and what they may say of limits.

use jsonwebtoken::{
    Algorithm, EncodingKey, Header,
    jwk::{Jwk, JwkSet},
};
use rivulet_tests::{PATIENCE, Request, certificates::Authority, eventually, tokens, tokens::sign};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use crate::configured::Configured;

fn publisher() -> Value {
    json!({"mercure": {"publish": ["*"]}})
}

fn subscriber(subject: &str, more: &Value) -> Value {
    json!({"mercure": {"subscribe": ["*"]}, "sub": subject, "plan": more})
}

/// The statuses of a publication and a subscription with these tokens.
async fn statuses(hub: &Configured, publisher: &str, subscriber: &str) -> [u16; 2] {
    let publish = Request::publish(&[("topic", "a"), ("data", "x")]).bearer(publisher);
    let subscribe = Request::subscribe("topic=a").bearer(subscriber);
    [hub.hub.send(&publish).await.status, hub.status(&subscribe).await]
}

#[tokio::test]
async fn the_algorithm_of_keys_changes() {
    // Long enough for each of them.
    let secret = tokens::PUBLISHER_KEY.repeat(2);
    let key = format!("'{secret}'");
    let keys = [("publisher-jwt-key", &*key), ("subscriber-jwt-key", &*key)];
    let hub = Configured::start(&keys).await;
    let both = |algorithm| {
        [publisher(), subscriber("alice", &json!({}))]
            .map(|claims| sign(&Header::new(algorithm), &claims, &secret))
    };
    let (short, long) = (both(Algorithm::HS256), both(Algorithm::HS384));
    assert_eq!(statuses(&hub, &short[0], &short[1]).await, [200, 200]);
    assert_eq!(statuses(&hub, &long[0], &long[1]).await, [401, 401]);
    hub.reload(&[&keys[..], &[("publisher-jwt-alg", "'HS384'")]].concat()).await;
    assert_eq!(statuses(&hub, &long[0], &short[1]).await, [200, 200]);
    hub.reload(&[&keys[..], &[("subscriber-jwt-alg", "'HS384'")]].concat()).await;
    assert_eq!(statuses(&hub, &short[0], &long[1]).await, [200, 200]);
    assert_eq!(statuses(&hub, &long[0], &short[1]).await, [401, 401]);
}

/// Answers every request with this.
async fn served(listener: TcpListener, set: String) {
    while let Ok((mut socket, _)) = listener.accept().await {
        let answer =
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{set}", set.len());
        // The head of a request for a key set comes in one piece.
        let _ = socket.read(&mut [0; 4096]).await;
        let _ = socket.write_all(answer.as_bytes()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_come_from_sets_in_files_and_behind_urls() {
    let hub = Configured::start(&[]).await;
    let pem = std::fs::read(Authority::of(&["issuer"]).file("issuer.key")).expect("openssl has made it");
    let key = EncodingKey::from_ec_pem(&pem).expect("a key for ES256");
    let jwk = Jwk::from_encoding_key(&key, Algorithm::ES256).expect("it has a public half");
    let set = serde_json::to_string(&JwkSet { keys: vec![jwk] }).expect("plain data");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("'http://{}/keys'", listener.local_addr().expect("an address"));
    let serving = tokio::spawn(served(listener, set));
    let file = tokens::key_set_file();
    let file = format!("'{}'", file.path().display());
    let by_url = |claims: &Value| jsonwebtoken::encode(&Header::new(Algorithm::ES256), claims, &key);
    let by_url = |claims: &Value| by_url(claims).expect("claims can be signed");
    let by_file = |claims: &Value| sign(&Header::new(Algorithm::HS256), claims, tokens::ISSUER_KEY);
    let subscriber = subscriber("alice", &json!({}));
    let (url_publisher, file_publisher) = (by_url(&publisher()), by_file(&publisher()));
    let (url_subscriber, file_subscriber) = (by_url(&subscriber), by_file(&subscriber));

    assert_eq!(statuses(&hub, &url_publisher, &file_subscriber).await, [401, 401]);
    // A set behind a URL is read once it is named, in the background.
    let taken = async |publisher: &str, subscriber: &str| {
        eventually("both sets have been read", PATIENCE, || async {
            let found = statuses(&hub, publisher, subscriber).await;
            if found == [200, 200] { Ok(()) } else { Err(format!("{found:?}")) }
        })
        .await;
    };
    hub.reload(&[("publisher-jwks-url", &url), ("subscriber-jwks-file", &file)]).await;
    taken(&url_publisher, &file_subscriber).await;
    assert_eq!(statuses(&hub, &file_publisher, &url_subscriber).await, [401, 401]);
    hub.reload(&[("publisher-jwks-file", &file), ("subscriber-jwks-url", &url)]).await;
    taken(&file_publisher, &url_subscriber).await;
    assert_eq!(statuses(&hub, &url_publisher, &file_subscriber).await, [401, 401]);
    serving.abort();
}

#[tokio::test]
async fn pages_and_their_cookies_change() {
    let hub = Configured::start(&[]).await;
    let publish = async |cookie: &str, page: &str| {
        let cookie = format!("{cookie}={}", tokens::publisher(&["*"]));
        let request = Request::publish(&[("topic", "a"), ("data", "x")]).header("Cookie", &cookie);
        hub.hub.send(&request.header("Origin", page)).await
    };
    let (one, other) = ("https://one.example", "https://other.example");
    publish("mercureAuthorization", one).await.expect_problem(401, "origin-not-allowed");
    hub.reload(&[("publish-origin", "['https://one.example']")]).await;
    assert_eq!(publish("mercureAuthorization", one).await.status, 200);
    hub.reload(&[("publish-origin", "['https://other.example']"), ("cookie-name", "'mine'")]).await;
    publish("mine", one).await.expect_problem(401, "origin-not-allowed");
    assert_eq!(publish("mine", other).await.status, 200);
    publish("mercureAuthorization", other).await.expect_problem(401, "token-missing");
}

#[tokio::test]
async fn the_claim_with_limits_gets_another_name() {
    let quota = ("limit-connections-per-subject", "1");
    let hub = Configured::start(&[quota]).await;
    let claims = subscriber("alice", &json!({"connections_per_subject": 2}));
    let token = sign(&Header::new(Algorithm::HS256), &claims, tokens::SUBSCRIBER_KEY);
    let request = Request::subscribe("topic=a").bearer(&token);
    let _first = hub.hub.open(&request).await;
    assert_eq!(hub.status(&request).await, 429);
    hub.reload(&[quota, ("limits-claim", "'plan'")]).await;
    let _second = hub.hub.open(&request).await;
    assert_eq!(hub.status(&request).await, 429);
}
