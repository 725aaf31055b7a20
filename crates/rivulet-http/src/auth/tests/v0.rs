//! The rules of 0.x tokens, one row per check.

use rivulet_core::Matcher;

use super::*;

fn accepted(claims: &Value, purpose: Purpose) -> Verified {
    let secret = if purpose == Purpose::Publish { PUBLISHER } else { SUBSCRIBER };
    let token = mint_hs256(&v0_header(), claims, secret);
    verify(&authorizer(On::Both), &token, purpose).unwrap_or_else(|error| panic!("{claims}: {error}"))
}

fn refused(header: &Value, claims: &Value, check: Check, words: &str) {
    let token = mint_hs256(header, claims, SUBSCRIBER);
    check_refused(verify(&authorizer(On::Both), &token, Purpose::Subscribe), &token, check, words);
}

#[test]
fn a_token_grants_what_its_selectors_match() {
    let verified = accepted(&with(v0_claims(), &json!({"sub": "me", "exp": NOW + 5})), Purpose::Subscribe);
    assert_eq!(verified.dialect, Dialect::V0);
    assert!(verified.grants.may_publish(&[topic("anything")]));
    assert!(verified.grants.may_receive(&[topic("https://example.com/1")]));
    assert!(!verified.grants.may_receive(&[topic("https://example.com/1/2")]));
    assert_eq!(verified.subject.as_deref(), Some("me"));
    assert_eq!(verified.expires_at, Some(now() + Duration::from_secs(5)));
    assert_eq!(verified.payload_for(&Matcher::exact("x").unwrap()), Some(&json!({"user": 1})));
}

#[test]
fn a_token_needs_neither_exp_nor_typ_nor_claim() {
    let verified = accepted(&v0_claims(), Purpose::Publish);
    assert_eq!((verified.expires_at, verified.subject), (None, None));
    for claims in
        [json!({}), json!({"mercure": {}}), json!({"mercure": null}), json!({"mercure": {"subscribe": null}})]
    {
        let verified = accepted(&claims, Purpose::Subscribe);
        assert!(verified.grants.publish.is_empty() && verified.grants.subscribe.is_empty(), "{claims}");
        assert!(verified.payloads.is_empty(), "{claims}");
    }
    let token = mint_hs256(&json!({"alg": "HS256"}), &v0_claims(), SUBSCRIBER);
    assert!(verify(&authorizer(On::V0), &token, Purpose::Subscribe).is_ok());
}

#[test]
fn the_claim_may_stand_under_its_url() {
    let claims = json!({"https://mercure.rocks/": {"subscribe": ["a"]}, "mercure": {"subscribe": ["b"]}});
    let verified = accepted(&claims, Purpose::Subscribe);
    assert!(verified.grants.may_receive(&[topic("a")]));
    assert!(!verified.grants.may_receive(&[topic("b")]));
}

#[test]
fn a_selector_that_is_no_template_selects_its_own_text() {
    let verified = accepted(&json!({"mercure": {"subscribe": ["a{", "", "b\u{0}"]}}), Purpose::Subscribe);
    assert!(verified.grants.may_receive(&[topic("a{")]));
    assert_eq!(verified.grants.subscribe.len(), 1);
}

#[test]
fn dates_are_checked() {
    let ok = |claims: Value| drop(accepted(&with(v0_claims(), &claims), Purpose::Subscribe));
    ok(json!({"exp": NOW + 1}));
    ok(json!({"exp": f64::from(u32::try_from(NOW).unwrap()) + 0.25}));
    ok(json!({"nbf": NOW}));
    ok(json!({"nbf": NOW + LEEWAY_DEFAULT.as_secs()}));
    ok(json!({"iat": NOW + 1000}));
    let no = |claims: Value, check, words| refused(&v0_header(), &with(v0_claims(), &claims), check, words);
    no(json!({"exp": NOW}), Check::Expired, "expired 0 s ago");
    no(json!({"exp": NOW - 30}), Check::Expired, "expired 30 s ago");
    no(json!({"exp": 0}), Check::Expired, "\"exp\"");
    no(json!({"nbf": NOW + 60}), Check::NotYetValid, "in 60 s");
    no(json!({"exp": "tomorrow"}), Check::ClaimMalformed, "\"exp\" must be a number");
    no(json!({"exp": -1}), Check::ClaimMalformed, "\"exp\" must be a number");
    no(json!({"exp": 1e300}), Check::ClaimMalformed, "\"exp\" must be a number");
    no(json!({"exp": u64::MAX}), Check::ClaimMalformed, "\"exp\" must be a number");
    no(json!({"nbf": [1]}), Check::ClaimMalformed, "\"nbf\" must be a number");
    no(json!({"iat": {}}), Check::ClaimMalformed, "\"iat\" must be a number");
    // `with` removes nulls, so this one is written out.
    refused(&v0_header(), &json!({"exp": null}), Check::ClaimMalformed, "\"exp\" must be a number");
}

#[test]
fn claims_of_the_wrong_shape_are_refused() {
    let no = |claims: Value, words| refused(&v0_header(), &claims, Check::ClaimMalformed, words);
    no(json!({"mercure": "all"}), "\"mercure\" must be an object");
    no(json!({"mercure": {"subscribe": "*"}}), "\"mercure.subscribe\" must be an array");
    no(json!({"mercure": {"publish": [1]}}), "\"mercure.publish\" must be an array");
    no(json!({"mercure": {"publish": vec!["a"; 501]}}), "at most 500 strings");
    no(json!({"sub": 1}), "\"sub\" must be a string");
    refused(&v0_header(), &json!([1]), Check::Malformed, "not a JSON object");
}

#[test]
fn headers_are_checked() {
    let no = |header: Value, check, words| refused(&header, &v0_claims(), check, words);
    no(json!({"alg": "none"}), Check::Algorithm, "\"none\"");
    no(json!({"alg": "NONE"}), Check::Algorithm, "not accepted");
    no(
        json!({"alg": "HS512"}),
        Check::Algorithm,
        "\"alg\" is HS512, and the key that is configured is for HS256",
    );
    no(json!({"alg": "RS256"}), Check::Algorithm, "for HS256");
    no(json!({"alg": "hs256"}), Check::Algorithm, "not accepted");
    no(json!({"typ": "JWT"}), Check::Malformed, "header");
    no(json!({"alg": 1}), Check::Malformed, "header");
    no(json!({"alg": "HS256", "kid": 1}), Check::Malformed, "header");
    no(json!(["HS256"]), Check::Malformed, "header");
    no(json!({"alg": "HS256", "crit": ["exp"]}), Check::Critical, "\"crit\"");
    no(json!({"alg": "HS256", "crit": null}), Check::Critical, "\"crit\"");
    no(json!({"alg": "HS256", "b64": false, "crit": ["b64"]}), Check::Critical, "\"crit\"");
}

#[test]
fn keys_in_the_header_are_ignored() {
    let foreign = b"a secret that only an attacker knows, of sufficient length";
    let jwk = json!({"kty": "oct", "k": URL_SAFE_NO_PAD.encode(foreign)});
    let header = with(v0_header(), &json!({"jwk": jwk, "jku": "https://evil.example", "x5u": 1, "x5c": {}}));
    refused_with(&mint_hs256(&header, &v0_claims(), foreign), Check::Signature);
    let token = mint_hs256(&header, &v0_claims(), SUBSCRIBER);
    assert!(verify(&authorizer(On::Both), &token, Purpose::Subscribe).is_ok());
}

fn refused_with(token: &str, check: Check) {
    check_refused(verify(&authorizer(On::Both), token, Purpose::Subscribe), token, check, "");
}

#[test]
fn signatures_are_checked() {
    let token = mint_hs256(&v0_header(), &v0_claims(), SUBSCRIBER);
    let [header, claims, signature] = token.split('.').collect::<Vec<_>>()[..] else { panic!("{token}") };
    let other = URL_SAFE_NO_PAD.encode(json!({"mercure": {"subscribe": ["*"]}}).to_string());
    refused_with(&format!("{header}.{other}.{signature}"), Check::Signature);
    refused_with(&format!("{header}.{claims}."), Check::Signature);
    refused_with(&format!("{header}.{claims}.{}", &signature[..40]), Check::Signature);
    refused_with(&format!("{header}.{claims}.{signature}="), Check::Malformed);
    refused_with(&format!("{header}.{claims}.{signature}.x"), Check::Malformed);
    refused_with(&format!("{header}.{claims}"), Check::Malformed);
    refused_with(&format!("{header}.!.{signature}"), Check::Malformed);
    refused_with("x", Check::Malformed);
    refused_with("..", Check::Malformed);
    refused_with(&"a".repeat(TOKEN_LEN_MAX + 1), Check::TooLong);
}

#[test]
fn each_role_has_its_own_key() {
    let hub = authorizer(On::V0);
    let token = mint_hs256(&v0_header(), &v0_claims(), SUBSCRIBER);
    check_refused(verify(&hub, &token, Purpose::Publish), &token, Check::Signature, "signature");
    let config = V0Config { publisher: None, ..v0_config() };
    let hub = Authorizer::new(AuthConfig { v0: Some(config), ..AuthConfig::default() }).unwrap();
    check_refused(verify(&hub, &token, Purpose::Publish), &token, Check::Role, "publishers");
    assert!(!hub.can_authorize(Purpose::Publish) && hub.can_authorize(Purpose::Subscribe));
}

#[test]
fn a_hub_of_1_0_only_refuses_0_x_tokens() {
    let token = mint_hs256(&v0_header(), &v0_claims(), SUBSCRIBER);
    let refused = verify(&authorizer(On::V1), &token, Purpose::Subscribe);
    assert_eq!(refused.as_ref().unwrap_err().dialect(), Dialect::V1);
    check_refused(refused, &token, Check::Type, "must be \"at+jwt\", it is \"JWT\"");
    // Not even one whose claims are those of 1.0.
    let token = mint_hs256(&v0_header(), &v1_claims(), SUBSCRIBER);
    check_refused(verify(&authorizer(On::V1), &token, Purpose::Subscribe), &token, Check::Type, "\"typ\"");
    let verified = verify(&authorizer(On::Both), &token, Purpose::Subscribe).unwrap();
    assert!(verified.grants.subscribe.is_empty(), "0.x rules do not read authorization_details");
}
