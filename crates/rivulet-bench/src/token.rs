//! The token of the bench, which its publishers and its subscribers send: the hub verifies it for every connection.

use anyhow::Context;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::json;

/// The key that everybody's development hub has; Rivulet accepts it only with `--dev`.
const DEV_KEY: &[u8] = b"!ChangeThisMercureHubJWTSecretKey!";

/// A 0.x token that may publish and subscribe to every topic.
pub(crate) fn bench_token() -> anyhow::Result<String> {
    let claims = json!({ "mercure": { "publish": ["*"], "subscribe": ["*"] } });
    encode(&Header::new(Algorithm::HS256), &claims, &EncodingKey::from_secret(DEV_KEY))
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
