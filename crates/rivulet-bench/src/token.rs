//! The token of the bench, which its publishers and its subscribers send: the hub verifies it for every connection.

use anyhow::Context;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

/// The key that everybody's development hub has; Rivulet accepts it only with `--dev`.
const DEV_KEY: &[u8] = b"!ChangeThisMercureHubJWTSecretKey!";

/// A 0.x token that may publish and subscribe to every topic.
pub(crate) fn bench_token() -> anyhow::Result<String> {
    sign(&json!({ "mercure": { "publish": ["*"], "subscribe": ["*"] } }))
}

/// The same for a subject, which is what limits count by.
pub(crate) fn token_of(subject: &str) -> anyhow::Result<String> {
    sign(&json!({ "sub": subject, "mercure": { "publish": ["*"], "subscribe": ["*"] } }))
}

/// The same until a moment, in seconds of Unix time.
pub(crate) fn token_until(subject: &str, expires_unix_s: u64) -> anyhow::Result<String> {
    sign(&json!({ "sub": subject, "exp": expires_unix_s, "mercure": { "subscribe": ["*"] } }))
}

fn sign(claims: &Value) -> anyhow::Result<String> {
    encode(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(DEV_KEY))
        .context("signing the token of the bench")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_has_three_parts_and_always_the_same_text() {
        let token = bench_token().unwrap();
        assert_eq!(token.split('.').count(), 3);
        assert_eq!(token, bench_token().unwrap());
    }
}
