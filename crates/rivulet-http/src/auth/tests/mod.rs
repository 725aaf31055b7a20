//! Tests of tokens, and the workshop that makes every kind of them.

mod algorithms;
mod answers;
mod bearers;
mod configuration;
mod limits_claim;
mod places;
mod refresh;
mod v0;
mod v1;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm as Alg, EncodingKey, crypto::sign, jwk::Jwk};
use rivulet_core::Topic;
use serde_json::{Value, json};

use super::*;

pub(super) const RSA: &str = include_str!("keys/rsa.private.pem");
pub(super) const EC256: &str = include_str!("keys/ec256.private.pem");
pub(super) const EC384: &str = include_str!("keys/ec384.private.pem");
pub(super) const ED25519: &str = include_str!("keys/ed25519.private.pem");

pub(super) const PUBLISHER: &[u8] = b"a secret of publishers, made for tests only, long enough for HS512";
pub(super) const SUBSCRIBER: &[u8] = b"a secret of subscribers, made for tests only, long enough for HS512";
pub(super) const RESOURCE: &str = "https://hub.example/.well-known/mercure";
pub(super) const ISSUER: &str = "https://issuer.example";

/// The moment at which all tokens are verified.
pub(super) const NOW: u64 = 1_800_000_000;

pub(super) fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NOW)
}

pub(super) fn url(text: &str) -> url::Url {
    url::Url::parse(text).unwrap()
}

pub(super) fn topic(text: &str) -> Topic {
    Topic::parse(text).unwrap()
}

pub(super) fn algorithm(name: &str) -> Algorithm {
    name.parse().unwrap()
}

pub(super) fn secret(bytes: &[u8]) -> KeySource {
    KeySource::Secret { algorithm: Algorithm::HS256, secret: bytes.to_vec() }
}

/// The private key of a fixture for an algorithm.
pub(super) fn private_key(alg: Alg) -> EncodingKey {
    match alg {
        Alg::HS256 | Alg::HS384 | Alg::HS512 => EncodingKey::from_secret(PUBLISHER),
        Alg::ES256 => EncodingKey::from_ec_pem(EC256.as_bytes()).unwrap(),
        Alg::ES384 => EncodingKey::from_ec_pem(EC384.as_bytes()).unwrap(),
        Alg::EdDSA => EncodingKey::from_ed_pem(ED25519.as_bytes()).unwrap(),
        _ => EncodingKey::from_rsa_pem(RSA.as_bytes()).unwrap(),
    }
}

/// The public JWK of a fixture, with members added.
pub(super) fn jwk(alg: Alg, members: &Value) -> Value {
    let mut jwk = serde_json::to_value(Jwk::from_encoding_key(&private_key(alg), alg).unwrap()).unwrap();
    for (name, value) in members.as_object().unwrap() {
        jwk[name] = value.clone();
    }
    jwk
}

/// A token of any header and claims, signed with any key.
pub(super) fn mint(header: &Value, claims: &Value, alg: Alg, key: &EncodingKey) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(header), part(claims));
    let signature = sign(signed.as_bytes(), key, alg).unwrap();
    format!("{signed}.{signature}")
}

/// An HS256 token.
pub(super) fn mint_hs256(header: &Value, claims: &Value, secret: &[u8]) -> String {
    mint(header, claims, Alg::HS256, &EncodingKey::from_secret(secret))
}

/// The header and claims of a valid 0.x token.
pub(super) fn v0_header() -> Value {
    json!({"alg": "HS256", "typ": "JWT"})
}

pub(super) fn v0_claims() -> Value {
    json!({"mercure": {"publish": ["*"], "subscribe": ["https://example.com/{id}"], "payload": {"user": 1}}})
}

/// The header and claims of a valid 1.0 token.
pub(super) fn v1_header() -> Value {
    json!({"alg": "HS256", "typ": "at+jwt"})
}

pub(super) fn v1_claims() -> Value {
    json!({
        "iss": ISSUER, "aud": RESOURCE, "exp": NOW + 60, "iat": NOW, "sub": "user:1", "client_id": "app", "jti": "1",
        "authorization_details": [
            {"type": DETAIL_TYPE, "actions": ["publish"], "topics": [{"match": "*"}]},
            {"type": DETAIL_TYPE, "actions": ["subscribe"],
             "topics": [{"match": "https://example.com/a"}, {"match": "/books/:id", "match_type": "urlpattern"}],
             "payload": {"user": 1}},
        ],
    })
}

/// `value` with some members set; those set to null are removed.
pub(super) fn with(mut value: Value, members: &Value) -> Value {
    for (name, member) in members.as_object().unwrap() {
        if member.is_null() {
            value.as_object_mut().unwrap().remove(name);
        } else {
            value[name] = member.clone();
        }
    }
    value
}

pub(super) fn v0_config() -> V0Config {
    V0Config {
        publisher: Some(secret(PUBLISHER)),
        subscriber: Some(secret(SUBSCRIBER)),
        cookie_name: COOKIE_NAME_V0.to_owned(),
    }
}

pub(super) fn v1_config() -> V1Config {
    V1Config {
        resource: url(RESOURCE),
        issuers: vec![TrustedIssuer {
            issuer: ISSUER.to_owned(),
            publisher: Some(secret(PUBLISHER)),
            subscriber: Some(secret(SUBSCRIBER)),
        }],
        cookie_name: COOKIE_NAME_V1.to_owned(),
    }
}

/// Which dialects are on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum On {
    V0,
    V1,
    Both,
}

pub(super) fn authorizer(on: On) -> Authorizer {
    let v0 = (on != On::V1).then(v0_config);
    let v1 = (on != On::V0).then(v1_config);
    Authorizer::new(AuthConfig { v0, v1, ..AuthConfig::default() }).unwrap()
}

/// Waits for a future that has nothing to wait for.
pub(super) fn ready<T>(future: impl Future<Output = T>) -> T {
    futures_util::FutureExt::now_or_never(future).expect("no key set has to be read")
}

/// Verifies a token that stood in the `Authorization` header.
pub(super) fn verify(authorizer: &Authorizer, token: &str, purpose: Purpose) -> Result<Verified, AuthError> {
    let header = format!("Bearer {token}");
    let parts = CredentialParts { authorization: &[header.as_bytes()], ..CredentialParts::default() };
    let credential = authorizer.credential(&parts)?.expect("there is a header");
    ready(authorizer.verify(&credential, purpose, now()))
}

/// Checks which check refuses, and that the answer does not repeat the token.
pub(super) fn check_refused(result: Result<Verified, AuthError>, token: &str, check: Check, words: &str) {
    let error = result.expect_err(words);
    assert_eq!(error.check(), check, "{error}");
    assert!(error.detail().contains(words), "{words:?} is not in {error}");
    assert!(token.len() < 16 || !error.detail().contains(token), "{error}");
}
