//! Tokens of dialect 0.x: where they may stand, and what makes one worthless.

use jsonwebtoken::{Algorithm, Header};
use rivulet_tests::{
    Backend, Request,
    tokens::{PUBLISHER_KEY, SUBSCRIBER_KEY, publisher, sign, subscriber, unix_time},
    wire::percent,
};
use serde_json::{Value, json};

use crate::private::gets_private_updates;

const HS256: Algorithm = Algorithm::HS256;

fn signed(claims: &Value) -> String {
    sign(&Header::new(HS256), claims, SUBSCRIBER_KEY)
}

async fn a_token_may_stand_in_header_query_or_cookie(backend: Backend) {
    let hub = backend.hub().await;
    let (good, empty) = (subscriber(&["a"]), subscriber(&[]));
    let plain = || Request::subscribe("topic=a");
    let with_query = |token: &str| Request::subscribe(&format!("topic=a&authorization={}", percent(token)));
    let cookie = |token: &str| format!("other=1; mercureAuthorization={token}; more=2");
    assert!(!gets_private_updates(&hub, &plain()).await);
    assert!(gets_private_updates(&hub, &plain().bearer(&good)).await, "header");
    let lower_case = plain().header("Authorization", &format!("bearer {good}"));
    hub.send(&lower_case).await.expect_problem(401, "token-place");
    assert!(gets_private_updates(&hub, &with_query(&good)).await, "query");
    assert!(gets_private_updates(&hub, &plain().header("Cookie", &cookie(&good))).await, "cookie");
    // The header before the query, the query before the cookie.
    assert!(gets_private_updates(&hub, &with_query(&empty).bearer(&good)).await);
    assert!(!gets_private_updates(&hub, &with_query(&good).bearer(&empty)).await);
    assert!(gets_private_updates(&hub, &with_query(&good).header("Cookie", &cookie(&empty))).await);
    assert!(!gets_private_updates(&hub, &with_query(&empty).header("Cookie", &cookie(&good))).await);
}

async fn the_claim_may_be_namespaced(backend: Backend) {
    let hub = backend.hub().await;
    let claims = json!({"https://mercure.rocks/": {"subscribe": ["a"]}});
    assert!(gets_private_updates(&hub, &Request::subscribe("topic=a").bearer(&signed(&claims))).await);
}

async fn a_token_without_an_end_is_good_for_ever(backend: Backend) {
    let hub = backend.hub().await;
    for exp in [Value::Null, json!(unix_time() + 60)] {
        let mut claims = json!({"mercure": {"subscribe": ["a"]}, "exp": exp});
        if exp.is_null() {
            claims.as_object_mut().expect("an object").remove("exp");
        }
        assert!(
            gets_private_updates(&hub, &Request::subscribe("topic=a").bearer(&signed(&claims))).await,
            "{claims}"
        );
    }
}

async fn a_worthless_token_is_refused_even_where_none_is_needed(backend: Backend) {
    let hub = backend.hub().await;
    let grants = json!({"subscribe": ["a"]});
    let claims = json!({"mercure": grants});
    let none = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.eyJtZXJjdXJlIjp7InN1YnNjcmliZSI6WyIqIl19fQ.";
    for (token, problem) in [
        (sign(&Header::new(HS256), &claims, PUBLISHER_KEY), "token-signature"),
        (sign(&Header::new(Algorithm::HS512), &claims, SUBSCRIBER_KEY), "token-algorithm"),
        (none.to_owned(), "token-algorithm"),
        (signed(&json!({"mercure": grants, "exp": unix_time() - 60})), "token-expired"),
        (signed(&json!({"mercure": grants, "nbf": unix_time() + 600})), "token-not-yet-valid"),
        (signed(&json!({"mercure": grants, "exp": "tomorrow"})), "token-claim-malformed"),
        (signed(&json!({"mercure": {"subscribe": "a"}})), "token-claim-malformed"),
        ("not.a.token".to_owned(), "token-malformed"),
        ("nonsense".to_owned(), "token-malformed"),
        (format!("{}x", subscriber(&["a"])), "token-signature"),
    ] {
        for request in [
            Request::subscribe("topic=a").bearer(&token),
            Request::subscribe(&format!("topic=a&authorization={}", percent(&token))),
            Request::subscribe("topic=a").header("Cookie", &format!("mercureAuthorization={token}")),
        ] {
            let response = hub.send(&request).await;
            response.expect_problem(401, problem);
            assert!(!response.text().contains(&token), "the token is not repeated");
        }
    }
    let log = hub.log();
    assert!(
        !log.contains(SUBSCRIBER_KEY) && !log.contains("eyJ"),
        "neither keys nor tokens reach the log: {log}"
    );
    hub.expect_connections(0).await;
}

async fn a_request_with_a_strange_authorization_is_refused(backend: Backend) {
    let hub = backend.hub().await;
    let good = subscriber(&["a"]);
    let request = || Request::subscribe("topic=a");
    let huge = "e".repeat(60_000);
    for (request, problem) in [
        (request().bearer(&good).bearer(&good), "token-request"),
        (request().header("Authorization", "Basic dXNlcjpwYXNz"), "token-request"),
        (request().header("Authorization", "Bearer"), "token-request"),
        (request().header("Authorization", &good), "token-request"),
        (request().bearer(&huge), "token-too-long"),
    ] {
        hub.send(&request).await.expect_problem(401, problem);
    }
    hub.expect_connections(0).await;
}

async fn publishers_and_subscribers_have_keys_of_their_own(backend: Backend) {
    let hub = backend.hub().await;
    let publish = Request::publish(&[("topic", "a")]);
    let claims = json!({"mercure": {"publish": ["*"], "subscribe": ["*"]}});
    let response = hub.send(&publish.clone().bearer(&signed(&claims))).await;
    response.expect_problem(401, "token-signature");
    let with_publisher_key = sign(&Header::new(HS256), &claims, PUBLISHER_KEY);
    assert_eq!(hub.send(&publish.bearer(&with_publisher_key)).await.status, 200);
    let response = hub.send(&Request::subscribe("topic=a").bearer(&publisher(&["*"]))).await;
    response.expect_problem(401, "token-signature");
}

async fn without_keys_the_dialect_is_off(backend: Backend) {
    let hub = backend.hub_without(&["RIVULET_PUBLISHER_JWT_KEY", "RIVULET_SUBSCRIBER_JWT_KEY"]).await;
    let response = hub.send(&Request::subscribe("topic=a").bearer(&subscriber(&["a"]))).await;
    assert!(matches!(response.status, 400 | 401), "{response:?}");
    let response = hub.send(&Request::publish(&[("topic", "a")]).bearer(&publisher(&["*"]))).await;
    assert!(matches!(response.status, 400 | 401), "{response:?}");
    drop(hub.subscribe("match=a").await);
}

on_both_transports!(
    a_token_may_stand_in_header_query_or_cookie,
    the_claim_may_be_namespaced,
    a_token_without_an_end_is_good_for_ever,
    a_worthless_token_is_refused_even_where_none_is_needed,
    a_request_with_a_strange_authorization_is_refused,
    publishers_and_subscribers_have_keys_of_their_own,
    without_keys_the_dialect_is_off,
);
