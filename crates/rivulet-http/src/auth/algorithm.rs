//! The signature algorithms that tokens may use.

use std::{fmt, str::FromStr};

use jsonwebtoken::AlgorithmFamily;

/// A signature algorithm of RFC 7518. There is no `none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Algorithm(pub(super) jsonwebtoken::Algorithm);

/// A name that is not the name of an algorithm that is accepted here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not an algorithm for tokens; there are HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, \
     ES256, ES384 and EdDSA"
)]
pub struct AlgorithmError(pub String);

impl Algorithm {
    /// HMAC with SHA-256, what most hubs are configured with.
    pub const HS256: Self = Self(jsonwebtoken::Algorithm::HS256);

    /// Whether it takes a shared secret.
    pub fn is_symmetric(self) -> bool {
        self.0.family() == AlgorithmFamily::Hmac
    }

    /// The fewest bytes that a secret for it should have (RFC 7518 §3.2: as long as the hash); 0 for other families.
    pub fn secret_len_min(self) -> usize {
        match self.0 {
            jsonwebtoken::Algorithm::HS256 => 32,
            jsonwebtoken::Algorithm::HS384 => 48,
            jsonwebtoken::Algorithm::HS512 => 64,
            _ => 0,
        }
    }
}

impl FromStr for Algorithm {
    type Err = AlgorithmError;

    /// Parses the name as JWS headers spell it; case matters.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        name.parse().map(Self).map_err(|_| AlgorithmError(name.chars().take(32).collect()))
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}
