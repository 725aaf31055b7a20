//! The rules of 1.0 tokens, one row per check.

use rivulet_core::Matcher;

use super::*;

fn accepted(claims: &Value) -> Verified {
    let token = mint_hs256(&v1_header(), claims, SUBSCRIBER);
    verify(&authorizer(On::Both), &token, Purpose::Subscribe)
        .unwrap_or_else(|error| panic!("{claims}: {error}"))
}

fn refused(claims: &Value, check: Check, words: &str) {
    let token = mint_hs256(&v1_header(), claims, SUBSCRIBER);
    let result = verify(&authorizer(On::Both), &token, Purpose::Subscribe);
    if let Err(error) = &result {
        assert_eq!((error.dialect(), error.status()), (Dialect::V1, 401), "{error}");
        assert_eq!(error.challenge(None).as_deref(), Some("Bearer error=\"invalid_token\""));
    }
    check_refused(result, &token, check, words);
}

fn details(list: &Value) -> Value {
    with(v1_claims(), &json!({"authorization_details": list}))
}

#[test]
fn a_token_grants_what_its_details_say() {
    let verified = accepted(&v1_claims());
    assert_eq!(verified.dialect, Dialect::V1);
    assert_eq!(verified.subject.as_deref(), Some("user:1"));
    assert_eq!(verified.expires_at, Some(now() + Duration::from_secs(60)));
    let grants = &verified.grants;
    assert!(grants.may_publish(&[topic("x"), topic("y")]));
    assert!(grants.may_receive(&[topic("https://example.com/a")]));
    assert!(grants.may_receive(&[topic("https://hub.example/books/1")]), "relative to the hub");
    assert!(!grants.may_receive(&[topic("https://example.com/b")]));
}

#[test]
fn payloads_belong_to_the_first_detail_that_matches() {
    let detail = |topics: Value, payload: Value| json!({"type": DETAIL_TYPE, "actions": ["subscribe"], "topics": topics, "payload": payload});
    let verified = accepted(&details(&json!([
        detail(json!([{"match": "a"}]), json!(1)),
        detail(json!([{"match": "b"}]), Value::Null),
        detail(json!([{"match": "https://x.example/:id", "match_type": "urlpattern"}]), json!("p")),
        {"type": DETAIL_TYPE, "actions": ["publish"], "topics": [{"match": "*"}], "payload": "of a publisher"},
        detail(json!([{"match": "*"}]), json!([])),
    ])));
    let check = |text: &str, payload: Option<Value>| {
        assert_eq!(verified.payload_for(&Matcher::exact(text).unwrap()), payload.as_ref(), "{text}");
    };
    check("a", Some(json!(1)));
    check("b", None);
    check("https://x.example/1", Some(json!("p")));
    check("c", Some(json!([])));
    check("*", Some(json!([])));
}

#[test]
fn typ_is_a_media_type() {
    for typ in ["at+jwt", "AT+JWT", "application/at+jwt", "Application/At+Jwt"] {
        let token = mint_hs256(&json!({"alg": "HS256", "typ": typ}), &v1_claims(), SUBSCRIBER);
        assert_eq!(
            verify(&authorizer(On::V1), &token, Purpose::Subscribe).unwrap().dialect,
            Dialect::V1,
            "{typ}"
        );
    }
    for typ in ["JWT", "jwt", "at", "at+jwt ", "text/at+jwt", "application/", "é", "applicatioé/at+jwt"] {
        let token = mint_hs256(&json!({"alg": "HS256", "typ": typ}), &v1_claims(), SUBSCRIBER);
        check_refused(verify(&authorizer(On::V1), &token, Purpose::Subscribe), &token, Check::Type, "at+jwt");
    }
}

#[test]
fn a_hub_of_0_x_only_refuses_1_0_tokens() {
    let claims = with(v1_claims(), &v0_claims());
    let token = mint_hs256(&v1_header(), &claims, SUBSCRIBER);
    check_refused(
        verify(&authorizer(On::V0), &token, Purpose::Subscribe),
        &token,
        Check::Type,
        "dialect 0.x",
    );
    // Where both are on, the claim of 0.x counts for nothing in a token of 1.0.
    let claims = with(claims, &json!({"authorization_details": null}));
    assert!(accepted(&claims).grants.publish.is_empty());
}

#[test]
fn issuers_are_trusted_by_name_and_key() {
    let change = |claims: Value| with(v1_claims(), &claims);
    refused(&change(json!({"iss": null})), Check::ClaimMissing, "\"iss\"");
    refused(&change(json!({"iss": 1})), Check::ClaimMalformed, "\"iss\"");
    refused(&change(json!({"iss": "https://issuer.example/"})), Check::Issuer, "https://issuer.example/");
    refused(&change(json!({"iss": "x".repeat(4000)})), Check::Issuer, "xxx…");
    let other =
        TrustedIssuer::new("https://other.example", secret(b"another secret of sufficient length for HS256"));
    let mut config = v1_config();
    config.issuers.push(other);
    let hub = Authorizer::new(AuthConfig { v1: Some(config), ..AuthConfig::default() }).unwrap();
    let token = mint_hs256(&v1_header(), &change(json!({"iss": "https://other.example"})), SUBSCRIBER);
    check_refused(verify(&hub, &token, Purpose::Subscribe), &token, Check::Signature, "signature");
    let token = mint_hs256(&v1_header(), &v1_claims(), SUBSCRIBER);
    assert!(verify(&hub, &token, Purpose::Subscribe).is_ok());
    check_refused(verify(&hub, &token, Purpose::Publish), &token, Check::Signature, "signature");
}

#[test]
fn the_audience_is_this_hub() {
    let change = |audience: Value| with(v1_claims(), &json!({"aud": audience}));
    accepted(&change(json!(["https://other.example", RESOURCE])));
    refused(&change(Value::Null), Check::ClaimMissing, "\"aud\"");
    refused(&change(json!("https://hub.example/")), Check::Audience, RESOURCE);
    refused(&change(json!(format!("{RESOURCE}/"))), Check::Audience, RESOURCE);
    refused(&change(json!([])), Check::Audience, RESOURCE);
    refused(&change(json!([RESOURCE, 1])), Check::ClaimMalformed, "\"aud\"");
    refused(&change(json!({})), Check::ClaimMalformed, "\"aud\"");
}

#[test]
fn a_resource_that_is_a_bare_origin_needs_no_slash() {
    let config = V1Config { resource: url("https://hub.example"), ..v1_config() };
    let hub = Authorizer::new(AuthConfig { v1: Some(config), ..AuthConfig::default() }).unwrap();
    for (audience, fits) in
        [("https://hub.example", true), ("https://hub.example/", true), ("https://hub.example//", false)]
    {
        let token = mint_hs256(&v1_header(), &with(v1_claims(), &json!({"aud": audience})), SUBSCRIBER);
        assert_eq!(verify(&hub, &token, Purpose::Subscribe).is_ok(), fits, "{audience}");
    }
}

#[test]
fn dates_are_checked_and_exp_is_required() {
    let change = |claims: Value| with(v1_claims(), &claims);
    refused(&change(json!({"exp": null})), Check::ClaimMissing, "\"exp\"");
    refused(&change(json!({"exp": NOW})), Check::Expired, "expired");
    refused(&change(json!({"exp": "1"})), Check::ClaimMalformed, "\"exp\"");
    refused(&change(json!({"nbf": NOW + 60})), Check::NotYetValid, "\"nbf\"");
    refused(&change(json!({"iat": "now"})), Check::ClaimMalformed, "\"iat\"");
    accepted(&change(json!({"nbf": NOW - 1})));
}

#[test]
fn other_claims_have_their_shape() {
    for name in ["sub", "client_id", "jti"] {
        refused(&with(v1_claims(), &json!({name: 7})), Check::ClaimMalformed, name);
        accepted(&with(v1_claims(), &json!({name: null})));
    }
}

#[test]
fn details_of_other_types_and_unknown_actions_are_ignored() {
    let verified = accepted(&details(&json!([
        {"type": "payment", "actions": 1, "topics": "x"},
        {"type": DETAIL_TYPE, "actions": ["dance", "subscribe"], "topics": [{"match": "a", "more": 1}], "locations": []},
        {"type": DETAIL_TYPE, "actions": ["dance"], "topics": [{"match": "b"}]},
    ])));
    assert!(verified.grants.publish.is_empty());
    assert!(verified.grants.may_receive(&[topic("a")]));
    assert!(!verified.grants.may_receive(&[topic("b")]));
    assert!(accepted(&details(&json!([]))).grants.subscribe.is_empty());
}

#[test]
fn one_malformed_detail_makes_the_token_invalid() {
    let check = |detail: Value, words: &str| {
        let valid = json!({"type": DETAIL_TYPE, "actions": ["subscribe"], "topics": [{"match": "*"}]});
        refused(&details(&json!([valid, detail])), Check::ClaimMalformed, words);
    };
    let topics = |topics: Value| json!({"type": DETAIL_TYPE, "actions": ["subscribe"], "topics": topics});
    let actions =
        |actions: Value| json!({"type": DETAIL_TYPE, "actions": actions, "topics": [{"match": "*"}]});
    check(json!("x"), "\"authorization_details[1]\" must be an object");
    check(json!({"actions": ["publish"]}), "string \"type\"");
    check(actions(json!([])), "\"authorization_details[1].actions\"");
    check(actions(json!("subscribe")), "actions");
    check(actions(json!(["subscribe", 1])), "actions");
    check(actions(Value::Null), "actions");
    check(topics(json!([])), "\"authorization_details[1].topics\"");
    check(topics(json!({"match": "*"})), "topics");
    check(
        topics(json!(["https://example.com"])),
        "\"authorization_details[1].topics[0]\": must be an object",
    );
    check(topics(json!([null])), "object");
    check(topics(json!([{"match_type": "exact"}])), "\"match\" must be a string");
    check(topics(json!([{"match": 1}])), "\"match\" must be a string");
    check(topics(json!([{"match": ""}])), "empty");
    check(topics(json!([{"match": "a\n"}])), "control");
    check(topics(json!([{"match": "x".repeat(4097)}])), "at most 4096 bytes");
    check(topics(json!([{"match": "a", "match_type": "Exact"}])), "match_type");
    check(topics(json!([{"match": "a", "match_type": null}])), "match_type");
    check(topics(json!([{"match": "/(unclosed", "match_type": "urlpattern"}])), "URL Pattern");
    refused(&details(&json!({})), Check::ClaimMalformed, "must be an array");
    refused(&details(&json!("all")), Check::ClaimMalformed, "must be an array");
}

#[test]
fn details_and_topics_are_limited() {
    let detail = |topics: usize| json!({"type": DETAIL_TYPE, "actions": ["subscribe"], "topics": vec![json!({"match": "a"}); topics]});
    accepted(&details(&json!([detail(60), detail(40)])));
    refused(&details(&json!([detail(60), detail(41)])), Check::ClaimMalformed, "2 with 101");
    let many = vec![json!({"type": DETAIL_TYPE, "actions": ["a"]}); 101];
    refused(&details(&json!(many)), Check::ClaimMalformed, "at most 100 details");
}
