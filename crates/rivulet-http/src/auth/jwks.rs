//! JSON Web Key Sets (RFC 7517): which keys of a set verify tokens, and with which algorithms.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm as Alg, DecodingKey};
use serde::Deserialize;
use serde_json::Value;

use super::{
    Algorithm, Check,
    bearer::KeyName,
    error::{Refusal, quoted},
    key::VerificationKey,
    token::Token,
};

/// The longest key set that is read, in bytes.
pub(super) const KEY_SET_LEN_MAX: usize = 1024 * 1024;

/// The most keys in a set. Real sets have two to ten.
const KEYS_MAX: usize = 100;

/// How many keys are tried for a token that does not say which one signed it: each costs up to 0.1 ms.
const KEYS_TRIED_MAX: usize = 8;

/// The keys of a set that can verify tokens.
#[derive(Debug)]
pub(super) struct KeySet {
    keys: Vec<VerificationKey>,
    /// How many keys were left out: for encryption, of unknown types, or malformed.
    pub(super) skipped: usize,
}

/// Whether a set may hold shared secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Secrets {
    /// It is a file of ours.
    Allowed,
    /// It is published: a secret in it is none.
    Ignored,
}

#[derive(Deserialize)]
struct JwkSet {
    keys: Vec<Value>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    k: Option<String>,
}

impl KeySet {
    /// Parses a set. Keys that are of no use here are left out, as RFC 7517 §5 demands; `Err` says why it is no set.
    pub(super) fn parse(json: &[u8], secrets: Secrets) -> Result<Self, String> {
        if json.len() > KEY_SET_LEN_MAX {
            return Err(format!("a key set has at most {KEY_SET_LEN_MAX} bytes"));
        }
        let set: JwkSet = serde_json::from_slice(json)
            .map_err(|_| "not a JSON Web Key Set: a JSON object with the array \"keys\"".to_owned())?;
        if set.keys.len() > KEYS_MAX {
            return Err(format!("a key set has at most {KEYS_MAX} keys, this one has {}", set.keys.len()));
        }
        let total = set.keys.len();
        let keys: Vec<_> = set.keys.into_iter().filter_map(|key| read(key, secrets)).collect();
        let skipped = total - keys.len();
        Ok(Self { keys, skipped })
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Verifies the token's signature with the key that its `kid` names; answers the key's id, or its place in the set
    /// where it has none. Keys without an id may be any.
    pub(super) fn verify(&self, token: &Token<'_>) -> Result<KeyName, Refusal> {
        let algorithm = token.algorithm()?;
        if let Some(id) = token.key_id() {
            let mut named =
                self.keys.iter().enumerate().filter(|(_, key)| key.id.as_deref() == Some(id)).peekable();
            if named.peek().is_some() {
                return verify_with_any(named, token, algorithm);
            }
        }
        let unnamed =
            self.keys.iter().enumerate().filter(|(_, key)| token.key_id().is_none() || key.id.is_none());
        match (verify_with_any(unnamed, token, algorithm), token.key_id()) {
            (Ok(name), _) => Ok(name),
            (Err(_), Some(id)) => Err(Refusal::new(
                Check::KeyUnknown,
                format!("the key set has no key with \"kid\" {}", quoted(id)),
            )),
            (Err(refusal), None) => Err(refusal),
        }
    }
}

fn verify_with_any<'k>(
    keys: impl Iterator<Item = (usize, &'k VerificationKey)>,
    token: &Token<'_>,
    algorithm: Algorithm,
) -> Result<KeyName, Refusal> {
    let none = Refusal::new(
        Check::Algorithm,
        format!("\"alg\" is {algorithm}, and the key set has no such key for it"),
    );
    let mut result = Err(none);
    for (place, key) in keys.filter(|(_, key)| key.is_for(algorithm)).take(KEYS_TRIED_MAX) {
        result = key.verify(token).map(|()| key.id.clone().unwrap_or_else(|| place.to_string()));
        if result.is_ok() {
            break;
        }
    }
    result
}

/// One key of a set, if it can verify tokens.
fn read(key: Value, secrets: Secrets) -> Option<VerificationKey> {
    let jwk: Jwk = serde_json::from_value(key).ok()?;
    let for_signatures = jwk.usage.as_deref().is_none_or(|usage| usage == "sig")
        && jwk.key_ops.as_ref().is_none_or(|ops| ops.iter().any(|op| op == "verify"));
    if !for_signatures {
        return None;
    }
    let mut algorithms: Vec<Alg> = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("RSA", _) => vec![Alg::RS256, Alg::RS384, Alg::RS512, Alg::PS256, Alg::PS384, Alg::PS512],
        ("EC", Some("P-256")) => vec![Alg::ES256],
        ("EC", Some("P-384")) => vec![Alg::ES384],
        ("OKP", Some("Ed25519")) => vec![Alg::EdDSA],
        ("oct", _) if secrets == Secrets::Allowed => vec![Alg::HS256, Alg::HS384, Alg::HS512],
        _ => return None,
    };
    if let Some(name) = &jwk.alg {
        let algorithm: Algorithm = name.parse().ok()?;
        algorithms.retain(|fitting| *fitting == algorithm.0);
    }
    if algorithms.is_empty() {
        return None;
    }
    let id = jwk.kid.clone();
    let key = match jwk.kty.as_str() {
        "oct" => return secret_key(id, &algorithms, &URL_SAFE_NO_PAD.decode(jwk.k.as_deref()?).ok()?),
        "RSA" => DecodingKey::from_rsa_components(jwk.n.as_deref()?, jwk.e.as_deref()?),
        "EC" => DecodingKey::from_ec_components(jwk.x.as_deref()?, jwk.y.as_deref()?),
        _ => DecodingKey::from_ed_components(jwk.x.as_deref()?),
    };
    VerificationKey::public(id, algorithms, key.ok()?).ok()
}

/// A shared secret for those of `algorithms` that it is long enough for.
fn secret_key(id: Option<String>, algorithms: &[Alg], secret: &[u8]) -> Option<VerificationKey> {
    let fits = |algorithm: &Alg| VerificationKey::secret(Algorithm(*algorithm), secret).is_ok();
    let fitting: Vec<Alg> = algorithms.iter().copied().filter(fits).collect();
    (!fitting.is_empty()).then(|| VerificationKey::shared(id, fitting, secret))
}
