//! Access tokens of dialect 1.0: RFC 9068 claims, RFC 9396 details, RFC 6750 answers.

use jsonwebtoken::{Algorithm, Header};
use rivulet_tests::{
    Backend, Hub, Request, Response,
    tokens::{
        DETAIL_TYPE, ISSUER_KEY, RESOURCE, SUBSCRIBER_KEY, access, access_claims, access_header, sign,
        subscriber, unix_time,
    },
    wire::percent,
};
use serde_json::{Value, json};

use crate::private::gets_private_updates;

/// Claims that grant everything on `a`.
fn claims() -> Value {
    access_claims(&[("subscribe", "exact", "a")])
}

/// Those claims with one of them replaced; `null` takes it away.
fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    let object = claims.as_object_mut().expect("an object");
    match value {
        Value::Null => object.remove(name),
        value => object.insert(name.to_owned(), value),
    };
    claims
}

fn signed(claims: &Value) -> String {
    sign(&access_header(), claims, ISSUER_KEY)
}

async fn is_granted(hub: &Hub, token: &str) -> bool {
    gets_private_updates(hub, &Request::subscribe("match=a").bearer(token)).await
}

fn expect_challenge(response: &Response, status: u16, problem: &str, code: &str) {
    response.expect_problem(status, problem);
    let challenge =
        response.header("www-authenticate").unwrap_or_else(|| panic!("no challenge: {response:?}"));
    assert!(
        challenge.starts_with("Bearer ") && challenge.contains(&format!("error=\"{code}\"")),
        "{challenge}"
    );
    let metadata = "https://hub.example.com/.well-known/oauth-protected-resource/.well-known/mercure";
    assert!(challenge.contains(&format!("resource_metadata=\"{metadata}\"")), "{challenge}");
}

async fn a_token_may_stand_in_header_or_cookie_never_in_the_query(backend: Backend) {
    let hub = backend.hub().await;
    let good = access(&[("subscribe", "exact", "a")]);
    assert!(is_granted(&hub, &good).await);
    drop(hub.open(&Request::subscribe("match=a").header("Authorization", &format!("bEARER {good}"))).await);
    let cookie = format!("__Secure-mercure_access_token={good}");
    let mut stream = hub.open(&Request::subscribe("match=a").header("Cookie", &cookie)).await;
    hub.publish(&[("topic", "a"), ("private", "on"), ("data", "private")]).await;
    assert_eq!(stream.data(1).await, ["private"]);
    let in_query = Request::subscribe(&format!("match=a&authorization={}", percent(&good)));
    let response = hub.send(&in_query).await;
    assert_eq!(response.status, 400, "{response:?}");
    response.expect_problem(400, "token-place");
}

async fn a_token_of_another_issuer_audience_or_time_is_refused(backend: Backend) {
    let hub = backend.hub().await;
    for (token, problem) in [
        (signed(&with("iss", json!("https://evil.example.com"))), "token-issuer"),
        (signed(&with("iss", Value::Null)), "token-claim-missing"),
        (signed(&with("aud", json!("https://other.example.com/.well-known/mercure"))), "token-audience"),
        (signed(&with("aud", json!("https://hub.example.com"))), "token-audience"),
        (signed(&with("aud", json!([]))), "token-audience"),
        (signed(&with("aud", Value::Null)), "token-claim-missing"),
        (signed(&with("exp", Value::Null)), "token-claim-missing"),
        (signed(&with("exp", json!(unix_time() - 60))), "token-expired"),
        (signed(&with("nbf", json!(unix_time() + 600))), "token-not-yet-valid"),
        (sign(&access_header(), &claims(), SUBSCRIBER_KEY), "token-signature"),
        (format!("{}x", signed(&claims())), "token-signature"),
    ] {
        let response = hub.send(&Request::subscribe("match=a").bearer(&token)).await;
        expect_challenge(&response, 401, problem, "invalid_token");
    }
    let two = with("aud", json!(["https://other.example.com", RESOURCE]));
    assert!(is_granted(&hub, &signed(&two)).await, "one of two audiences");
    hub.expect_connections(0).await;
}

async fn a_detail_of_the_wrong_shape_makes_the_whole_token_worthless(backend: Backend) {
    let hub = backend.hub().await;
    let good = json!({"type": DETAIL_TYPE, "actions": ["subscribe"], "topics": [{"match": "a"}]});
    let detail = |name: &str, value: Value| {
        let mut detail = good.clone();
        detail[name] = value;
        detail
    };
    for wrong in [
        detail("actions", json!([])),
        detail("actions", json!("subscribe")),
        detail("actions", json!([1])),
        detail("topics", json!([])),
        detail("topics", json!("a")),
        detail("topics", json!(["a"])),
        detail("topics", json!([{"match_type": "exact"}])),
        detail("topics", json!([{"match": 1}])),
        detail("topics", json!([{"match": "a", "match_type": "regexp"}])),
        detail("topics", json!([{"match": "(", "match_type": "urlpattern"}])),
        detail("topics", json!(vec![json!({"match": "a"}); 101])),
    ] {
        let token = signed(&with("authorization_details", json!([good, wrong])));
        let response = hub.send(&Request::subscribe("match=a").bearer(&token)).await;
        expect_challenge(&response, 401, "token-claim-malformed", "invalid_token");
    }
    let many = signed(&with("authorization_details", json!(vec![good.clone(); 101])));
    let response = hub.send(&Request::subscribe("match=a").bearer(&many)).await;
    expect_challenge(&response, 401, "token-claim-malformed", "invalid_token");
    let ignored = json!([{"type": "other", "actions": 5}, detail("actions", json!(["fly", "subscribe"]))]);
    assert!(
        is_granted(&hub, &signed(&with("authorization_details", ignored))).await,
        "other types, unknown actions"
    );
}

async fn a_malformed_header_is_an_invalid_request(backend: Backend) {
    let hub = backend.hub().await;
    let good = access(&[("subscribe", "exact", "a")]);
    for request in [
        Request::subscribe("match=a").header("Authorization", "Basic dXNlcjpwYXNz"),
        Request::subscribe("match=a").header("Authorization", "Bearer"),
        Request::subscribe("match=a").bearer(&good).bearer(&good),
    ] {
        expect_challenge(&hub.send(&request).await, 400, "token-request", "invalid_request");
    }
}

async fn no_dialect_vouches_for_the_other(backend: Backend) {
    let hub = backend.hub().await;
    // An access token without its `typ` has the shape of 0.x: its key is not one of 0.x.
    let untyped = sign(&Header::new(Algorithm::HS256), &claims(), ISSUER_KEY);
    let response = hub.send(&Request::subscribe("match=a").bearer(&untyped)).await;
    assert_eq!(response.status, 401, "{response:?}");
    // A 0.x claim in an access token grants nothing.
    let mut both = access_claims(&[]);
    both["mercure"] = json!({"subscribe": ["*"], "publish": ["*"]});
    both["authorization_details"] = json!([{"type": "other"}]);
    assert!(!is_granted(&hub, &signed(&both)).await);
    let response = hub.send(&Request::publish(&[("topic", "a")]).bearer(&signed(&both))).await;
    assert_eq!(response.status, 403, "{response:?}");
    // 1.0 details in a 0.x token grant nothing.
    let details = json!({"mercure": {}, "authorization_details": claims()["authorization_details"]});
    let token = sign(&Header::new(Algorithm::HS256), &details, SUBSCRIBER_KEY);
    assert!(!is_granted(&hub, &token).await);
    // With a 0.x key and a 1.0 `typ` it is neither.
    let token = sign(&access_header(), &json!({"mercure": {"subscribe": ["*"]}}), SUBSCRIBER_KEY);
    let response = hub.send(&Request::subscribe("topic=a").bearer(&token)).await;
    assert_eq!(response.status, 401, "{response:?}");
}

async fn without_issuers_the_dialect_is_off(backend: Backend) {
    let hub = backend.hub_without(&["RIVULET_TRUSTED_ISSUER"]).await;
    let response =
        hub.send(&Request::subscribe("match=a").bearer(&access(&[("subscribe", "exact", "a")]))).await;
    assert!(matches!(response.status, 400 | 401), "{response:?}");
    let path = "/.well-known/oauth-protected-resource/.well-known/mercure";
    assert_eq!(hub.send(&Request::new("GET", path)).await.status, 404);
    drop(hub.open(&Request::subscribe("topic=a").bearer(&subscriber(&["a"]))).await);
}

on_both_transports!(
    a_token_may_stand_in_header_or_cookie_never_in_the_query,
    a_token_of_another_issuer_audience_or_time_is_refused,
    a_detail_of_the_wrong_shape_makes_the_whole_token_worthless,
    a_malformed_header_is_an_invalid_request,
    no_dialect_vouches_for_the_other,
    without_issuers_the_dialect_is_off,
);
