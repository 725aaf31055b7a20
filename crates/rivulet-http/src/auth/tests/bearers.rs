//! Whose limits a token counts for, and as whom it publishes.

use std::io::Write as _;

use super::*;

/// A hub of both dialects whose keys are a set with a named and a nameless secret.
fn of_key_set() -> (tempfile::NamedTempFile, Authorizer) {
    let set = json!({"keys": [
        {"kty": "oct", "kid": "2026-a", "k": URL_SAFE_NO_PAD.encode(PUBLISHER)},
        {"kty": "oct", "k": URL_SAFE_NO_PAD.encode(SUBSCRIBER)},
    ]});
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(set.to_string().as_bytes()).unwrap();
    let keys = KeySource::JwksFile { path: file.path().to_owned() };
    let v0 = V0Config { publisher: Some(keys.clone()), subscriber: Some(keys.clone()), ..v0_config() };
    let v1 = V1Config { issuers: vec![TrustedIssuer::new(ISSUER, keys)], ..v1_config() };
    let hub = Authorizer::new(AuthConfig { v0: Some(v0), v1: Some(v1), ..AuthConfig::default() });
    (file, hub.unwrap())
}

#[test]
fn a_token_counts_for_its_subject_and_without_one_for_its_key() {
    let configured = authorizer(On::Both);
    let (_file, listed) = of_key_set();
    let check = |hub: &Authorizer, header: Value, claims: Value, purpose, expected: &str| {
        let secret = if purpose == Purpose::Publish { PUBLISHER } else { SUBSCRIBER };
        let verified = verify(hub, &mint_hs256(&header, &claims, secret), purpose).unwrap();
        assert_eq!(&*verified.bearer, expected);
    };
    use Purpose::{Publish, Subscribe};
    let named = |claims: Value| with(claims, &json!({"sub": "alice"}));
    let nameless = |claims: Value| with(claims, &json!({"sub": null}));
    for hub in [&configured, &listed] {
        check(hub, v0_header(), named(v0_claims()), Publish, "sub:alice");
        check(hub, v1_header(), named(v1_claims()), Subscribe, "sub:https://issuer.example alice");
    }
    check(&configured, v0_header(), nameless(v0_claims()), Publish, "key:publisher");
    check(&configured, v0_header(), nameless(v0_claims()), Subscribe, "key:subscriber");
    check(&configured, v0_header(), with(v0_claims(), &json!({"sub": ""})), Subscribe, "key:subscriber");
    check(
        &configured,
        v1_header(),
        nameless(v1_claims()),
        Subscribe,
        "key:https://issuer.example subscriber",
    );
    check(&listed, v0_header(), nameless(v0_claims()), Publish, "key:2026-a");
    check(&listed, v0_header(), nameless(v0_claims()), Subscribe, "key:1");
    let header = with(v1_header(), &json!({"kid": "2026-a"}));
    check(&listed, header, nameless(v1_claims()), Publish, "key:https://issuer.example 2026-a");
}

#[test]
fn publishers_are_told_apart_by_issuer_and_subject_and_survive_a_new_key() {
    let publisher = |hub: &Authorizer, header: Value, claims: &Value| {
        verify(hub, &mint_hs256(&header, claims, PUBLISHER), Purpose::Publish).unwrap().publisher()
    };
    let (_file, listed) = of_key_set();
    let configured = authorizer(On::Both);
    let nameless = with(v0_claims(), &json!({"sub": null}));
    let as_configured = publisher(&configured, v0_header(), &nameless);
    assert_eq!(publisher(&listed, v0_header(), &nameless), as_configured);
    let mut issuers = v1_config();
    issuers.issuers.push(TrustedIssuer::new("https://b.example", secret(PUBLISHER)));
    let two = Authorizer::new(AuthConfig { v1: Some(issuers), ..AuthConfig::default() }).unwrap();
    let alice = with(v1_claims(), &json!({"sub": "alice"}));
    let one = publisher(&two, v1_header(), &alice);
    assert_ne!(publisher(&two, v1_header(), &with(alice, &json!({"iss": "https://b.example"}))), one);
}
