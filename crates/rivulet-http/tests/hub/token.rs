//! Tokens of both dialects.

use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

pub(crate) const SECRET: &[u8] = b"a secret that only these tests have and use";
pub(crate) const RESOURCE: &str = "https://localhost/.well-known/mercure";
pub(crate) const ISSUER: &str = "https://issuer.example";

/// A 0.x token with these selectors.
pub(crate) fn v0(publish: &[&str], subscribe: &[&str]) -> String {
    sign("JWT", &json!({"mercure": {"publish": publish, "subscribe": subscribe}}))
}

/// A 0.x token of this subject, which may publish to these topics.
pub(crate) fn v0_of(subject: &str, publish: &[&str]) -> String {
    sign("JWT", &json!({"sub": subject, "mercure": {"publish": publish}}))
}

/// A 1.0 token that allows to publish to and to receive exactly these topics (`*`: all).
pub(crate) fn v1(publish: &[&str], subscribe: &[&str]) -> String {
    sign("at+jwt", &v1_claims(publish, subscribe))
}

pub(crate) fn v1_claims(publish: &[&str], subscribe: &[&str]) -> Value {
    let details: Vec<Value> = [("publish", publish), ("subscribe", subscribe)]
        .into_iter()
        .filter(|(_, topics)| !topics.is_empty())
        .map(|(action, topics)| {
            let topics: Vec<Value> = topics.iter().map(|topic| json!({"match": topic})).collect();
            json!({"type": "https://mercure.rocks/authorization-detail", "actions": [action], "topics": topics})
        })
        .collect();
    json!({
        "iss": ISSUER, "aud": RESOURCE, "exp": now() + 600, "iat": now(), "sub": "user:1", "client_id": "tests",
        "jti": "1", "authorization_details": details,
    })
}

pub(crate) fn sign(typ: &str, claims: &Value) -> String {
    let header = Header { typ: Some(typ.into()), ..Header::new(Algorithm::HS256) };
    encode(&header, claims, &EncodingKey::from_secret(SECRET)).unwrap()
}

pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}
