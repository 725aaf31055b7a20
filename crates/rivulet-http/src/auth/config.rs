//! What an operator configures about tokens: dialects, trusted issuers and their keys.
//!
//! Nothing here is checked until [`super::Authorizer::new`], which reports every mistake at once.

use std::{fmt, path::PathBuf, time::Duration};

use url::Url;

use super::{Algorithm, LIMITS_CLAIM};

/// The key that the documentation of every Mercure hub uses. Whoever reads it can forge tokens with it, so it is for
/// development only: a hub that is not in development mode must refuse it.
pub const DEVELOPMENT_KEY: &str = "!ChangeThisMercureHubJWTSecretKey!";

/// The default name of the cookie that carries a token of dialect 0.x.
pub const COOKIE_NAME_V0: &str = "mercureAuthorization";

/// The default name of the cookie that carries a token of dialect 1.0. Browsers accept it over TLS only.
pub const COOKIE_NAME_V1: &str = "__Secure-mercure_access_token";

/// The name of the 1.0 cookie where there is no TLS: development.
pub const COOKIE_NAME_V1_DEVELOPMENT: &str = "mercure_access_token";

/// How far the clock of an issuer may run ahead of ours, by default, before its `nbf` makes a fresh token useless.
pub const LEEWAY_DEFAULT: Duration = Duration::from_secs(5);

/// Which dialects accept tokens, and with which keys. A dialect that is `None` is off: its tokens are refused.
#[derive(Clone, Debug)]
pub struct AuthConfig {
    /// Dialect 0.x.
    pub v0: Option<V0Config>,
    /// Dialect 1.0.
    pub v1: Option<V1Config>,
    /// How far in the future `nbf` may lie. `exp` gets no leeway: streams end at it.
    pub leeway: Duration,
    /// The claim by which a token changes its bearer's limits. Issuers are trusted, so it is on unless it is `None`.
    pub limits_claim: Option<String>,
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self { v0: None, v1: None, leeway: LEEWAY_DEFAULT, limits_claim: Some(LIMITS_CLAIM.to_owned()) }
    }
}

/// Tokens of dialect 0.x. A role without keys cannot be authorized by a 0.x token.
#[derive(Clone, Debug)]
pub struct V0Config {
    /// Keys of those who publish.
    pub publisher: Option<KeySource>,
    /// Keys of those who subscribe.
    pub subscriber: Option<KeySource>,
    /// The cookie's name, [`COOKIE_NAME_V0`] by default.
    pub cookie_name: String,
}

/// Tokens of dialect 1.0.
#[derive(Clone, Debug)]
pub struct V1Config {
    /// The hub's resource identifier: what `aud` must hold, and the base that relative URL Patterns are resolved
    /// against. `http` or `https`, without a fragment.
    pub resource: Url,
    /// Whose tokens are accepted.
    pub issuers: Vec<TrustedIssuer>,
    /// The cookie's name, [`COOKIE_NAME_V1`] by default.
    pub cookie_name: String,
}

/// An issuer and the keys that only it uses. A role without keys cannot be authorized by this issuer.
#[derive(Clone, Debug)]
pub struct TrustedIssuer {
    /// What `iss` must be, byte for byte.
    pub issuer: String,
    /// Keys of its tokens when they authorize publishing.
    pub publisher: Option<KeySource>,
    /// Keys of its tokens when they authorize subscribing.
    pub subscriber: Option<KeySource>,
}

impl TrustedIssuer {
    /// An issuer that signs for both roles with the same keys.
    pub fn new(issuer: impl Into<String>, keys: KeySource) -> Self {
        Self { issuer: issuer.into(), publisher: Some(keys.clone()), subscriber: Some(keys) }
    }
}

/// Where verification keys come from. Never from a token.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum KeySource {
    /// A shared secret, for an HMAC algorithm.
    Secret {
        /// The one algorithm that is accepted.
        algorithm: Algorithm,
        /// The secret's bytes, not encoded.
        secret: Vec<u8>,
    },
    /// A public key, for an asymmetric algorithm.
    Pem {
        /// The one algorithm that is accepted.
        algorithm: Algorithm,
        /// The PEM text: one block, `PUBLIC KEY` or `RSA PUBLIC KEY`.
        pem: String,
    },
    /// A file with a JSON Web Key Set, read again when it may have changed.
    JwksFile {
        /// The file.
        path: PathBuf,
    },
    /// A JSON Web Key Set behind a URL, read again when it may have changed.
    JwksUrl {
        /// `https`, or `http` on a loopback address.
        url: Url,
    },
}

impl fmt::Debug for KeySource {
    /// Shows what the source is, never the key: configurations are logged.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret { algorithm, .. } => write!(f, "Secret({algorithm}, ***)"),
            Self::Pem { algorithm, .. } => write!(f, "Pem({algorithm}, ***)"),
            Self::JwksFile { path } => write!(f, "JwksFile({})", path.display()),
            Self::JwksUrl { url } => write!(f, "JwksUrl({})", shown(url)),
        }
    }
}

/// A URL as logs may show it: without credentials and query.
pub(super) fn shown(url: &Url) -> String {
    format!("{}{}", url.origin().ascii_serialization(), url.path())
}

/// One mistake in the configuration of tokens.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {rule}")]
pub struct AuthConfigError {
    /// Which part of the configuration, such as `v1.issuers[0].publisher`.
    pub field: String,
    /// What is wrong with it and what would be right. Never holds a key.
    pub rule: String,
}
