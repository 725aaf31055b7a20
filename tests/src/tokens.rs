//! Tokens of both dialects, signed with the keys that the tests configure.

use std::time::{Duration, SystemTime};

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

/// The 0.x key of publishers.
pub const PUBLISHER_KEY: &str = "publisher-key-of-the-tests-0123456789abcdef";
/// The 0.x key of subscribers.
pub const SUBSCRIBER_KEY: &str = "subscriber-key-of-the-tests-0123456789abcdef";
/// The key of the 1.0 issuer.
pub const ISSUER_KEY: &str = "issuer-key-of-the-tests-0123456789abcdefghij";
/// A JWK Set with the key of the issuer.
pub const KEY_SET: &str = r#"{"keys":[{"kty":"oct","alg":"HS256","k":"aXNzdWVyLWtleS1vZi10aGUtdGVzdHMtMDEyMzQ1Njc4OWFiY2RlZmdoaWo"}]}"#;
/// The trusted 1.0 issuer.
pub const ISSUER: &str = "https://issuer.example.com";
/// The hub's 1.0 resource identifier.
pub const RESOURCE: &str = "https://hub.example.com/.well-known/mercure";
/// The type of the authorization details that a hub reads.
pub const DETAIL_TYPE: &str = "https://mercure.rocks/authorization-detail";

/// A 0.x token that may publish to these selectors.
pub fn publisher(selectors: &[&str]) -> String {
    sign(&Header::new(Algorithm::HS256), &json!({"mercure": {"publish": selectors}}), PUBLISHER_KEY)
}

/// A 0.x token that may receive private updates on these selectors.
pub fn subscriber(selectors: &[&str]) -> String {
    sign(&Header::new(Algorithm::HS256), &json!({"mercure": {"subscribe": selectors}}), SUBSCRIBER_KEY)
}

/// A 1.0 access token, good for five minutes, with one detail for each `(action, match_type, match)`.
pub fn access(details: &[(&str, &str, &str)]) -> String {
    sign(&access_header(), &access_claims(details), ISSUER_KEY)
}

/// The claims of [`access`], for tests that break one of them.
pub fn access_claims(details: &[(&str, &str, &str)]) -> Value {
    let details: Vec<Value> = details
        .iter()
        .map(|(action, match_type, matcher)| {
            json!({
                "type": DETAIL_TYPE,
                "actions": [action],
                "topics": [{"match": matcher, "match_type": match_type}],
            })
        })
        .collect();
    json!({
        "iss": ISSUER,
        "aud": RESOURCE,
        "sub": "tests",
        "client_id": "tests",
        "iat": unix_time(),
        "exp": unix_time() + 300,
        "jti": format!("{:x}", rand::random::<u128>()),
        "authorization_details": details,
    })
}

/// The header of a 1.0 access token.
pub fn access_header() -> Header {
    let mut header = Header::new(Algorithm::HS256);
    header.typ = Some("at+jwt".to_owned());
    header
}

/// Signs any claims.
pub fn sign(header: &Header, claims: &Value, key: &str) -> String {
    encode(header, claims, &EncodingKey::from_secret(key.as_bytes())).expect("claims can be signed")
}

/// Seconds since the Unix epoch.
pub fn unix_time() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or(Duration::ZERO).as_secs()
}

/// A file with [`KEY_SET`].
///
/// # Panics
/// If it cannot be written.
pub fn key_set_file() -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), KEY_SET).expect("a file of ours");
    file
}
