//! Who may do what: tokens of both dialects, where they stand, and the keys that verify them.
//!
//! It knows headers as bytes and answers as statuses, and of the node the words of limits; it does not know actix-web.

mod algorithm;
mod authorizer;
mod bearer;
mod claims;
mod config;
mod credential;
mod dialect;
mod error;
mod jwks;
mod kept_fresh;
mod key;
mod key_cache;
mod key_source;
mod keys;
mod limits_claim;
mod origin;
mod token;
mod v0;
mod v1;
mod verified;

pub use algorithm::{Algorithm, AlgorithmError};
pub use authorizer::Authorizer;
pub use config::{
    AuthConfig, AuthConfigError, COOKIE_NAME_V0, COOKIE_NAME_V1, COOKIE_NAME_V1_DEVELOPMENT, DEVELOPMENT_KEY,
    KeySource, LEEWAY_DEFAULT, TrustedIssuer, V0Config, V1Config,
};
pub use credential::{Credential, CredentialParts, CredentialSource};
pub use dialect::{Dialect, Purpose};
pub(crate) use error::quoted;
pub use error::{AuthError, Check};
pub use key_cache::KeySetReads;
pub use limits_claim::{LIMITS_CLAIM, check_limits_claim};
pub use origin::{AllowedOrigins, OriginError, check_origin};
pub use v1::{DETAIL_TOPICS_MAX, DETAIL_TYPE, DETAILS_MAX};
pub use verified::{Payload, Verified};

use std::time::Duration;

/// The longest token that is looked at, in bytes. A cookie holds 4 KiB, a proxy's headers rarely more than 16.
pub const TOKEN_LEN_MAX: usize = 16 * 1024;

/// How long a key set is left alone after it was read: unknown key ids, which anybody can send, must not turn the hub
/// into a flood on the issuer.
pub const REFRESH_INTERVAL_MIN: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests;
