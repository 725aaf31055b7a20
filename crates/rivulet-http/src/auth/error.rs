//! Why a request was not authorized, in a form that answers, metrics and people can use.

use std::{borrow::Cow, fmt::Write as _, time::Duration};

use super::Dialect;

/// The check that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Check {
    /// There is no token where one is needed.
    TokenMissing,
    /// The `Authorization` header, or another place where a token may stand, is malformed or repeated.
    Request,
    /// The token stands where tokens of its dialect may not.
    Place,
    /// A cookie authorizes a publication, and neither `Origin` nor `Referer` is an allowed one.
    Origin,
    /// The token is longer than [`super::TOKEN_LEN_MAX`].
    TooLong,
    /// The token is not a compact JWS with JSON objects for header and claims.
    Malformed,
    /// The header's `typ` belongs to a dialect that is off.
    Type,
    /// The header has `crit`: extensions that must be understood, and none are.
    Critical,
    /// The header's `alg` is not one that the key is for.
    Algorithm,
    /// No configured key has the header's `kid`.
    KeyUnknown,
    /// No keys are configured for what the token is to authorize.
    Role,
    /// The signature does not verify.
    Signature,
    /// `iss` is not trusted.
    Issuer,
    /// `aud` does not name this hub.
    Audience,
    /// `exp` is past.
    Expired,
    /// `nbf` is in the future.
    NotYetValid,
    /// A required claim is missing.
    ClaimMissing,
    /// A claim has the wrong shape.
    ClaimMalformed,
    /// The key set could not be read yet: our fault, not the token's.
    KeysUnavailable,
    /// The token is valid and does not grant what was asked.
    InsufficientScope,
}

impl Check {
    /// Every check, for metrics that want to show zeros.
    pub const ALL: [Self; 20] = [
        Self::TokenMissing,
        Self::Request,
        Self::Place,
        Self::Origin,
        Self::TooLong,
        Self::Malformed,
        Self::Type,
        Self::Critical,
        Self::Algorithm,
        Self::KeyUnknown,
        Self::Role,
        Self::Signature,
        Self::Issuer,
        Self::Audience,
        Self::Expired,
        Self::NotYetValid,
        Self::ClaimMissing,
        Self::ClaimMalformed,
        Self::KeysUnavailable,
        Self::InsufficientScope,
    ];

    /// The check's stable name: the last segment of a problem type and a label of metrics.
    pub fn slug(self) -> &'static str {
        match self {
            Self::TokenMissing => "token-missing",
            Self::Request => "token-request",
            Self::Place => "token-place",
            Self::Origin => "origin-not-allowed",
            Self::TooLong => "token-too-long",
            Self::Malformed => "token-malformed",
            Self::Type => "token-type",
            Self::Critical => "token-critical",
            Self::Algorithm => "token-algorithm",
            Self::KeyUnknown => "token-key-unknown",
            Self::Role => "token-role",
            Self::Signature => "token-signature",
            Self::Issuer => "token-issuer",
            Self::Audience => "token-audience",
            Self::Expired => "token-expired",
            Self::NotYetValid => "token-not-yet-valid",
            Self::ClaimMissing => "token-claim-missing",
            Self::ClaimMalformed => "token-claim-malformed",
            Self::KeysUnavailable => "keys-unavailable",
            Self::InsufficientScope => "insufficient-scope",
        }
    }
}

/// A failed check, before it is known which dialect's rules the answer follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    check: Check,
    detail: Cow<'static, str>,
}

impl Refusal {
    pub(super) fn new(check: Check, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { check, detail: detail.into() }
    }

    pub(super) fn check(&self) -> Check {
        self.check
    }

    /// The error that answers it as `dialect` prescribes.
    pub(super) fn by(self, dialect: Dialect) -> AuthError {
        AuthError { dialect, check: self.check, detail: self.detail }
    }
}

/// What somebody says, as far as an answer quotes it: short, and with everything unprintable escaped. Of tokens only
/// names (`alg`, `typ`, `kid`, `iss`) and limits are quoted, never the token itself.
pub(crate) fn quoted(text: &str) -> String {
    const CHARS_MAX: usize = 64;
    let mut short: String = text.chars().take(CHARS_MAX).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    format!("{short:?}")
}

/// The codes of RFC 6750 §3.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BearerCode {
    InvalidRequest,
    InvalidToken,
    InsufficientScope,
}

/// Why a request was not authorized. Displays as a sentence for the client; never holds the token or a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct AuthError {
    dialect: Dialect,
    check: Check,
    detail: Cow<'static, str>,
}

impl AuthError {
    /// For a request that needs a token and has none.
    pub fn token_missing(dialect: Dialect) -> Self {
        let detail = match dialect {
            Dialect::V0 => {
                "this needs a token: send \"Authorization: Bearer <token>\", the query parameter \"authorization\" \
                 or the cookie"
            }
            Dialect::V1 => "this needs a token: send \"Authorization: Bearer <token>\" or the cookie",
        };
        Refusal::new(Check::TokenMissing, detail).by(dialect)
    }

    /// For a token that was valid when its request came, and expired before the stream could begin.
    pub fn token_expired(dialect: Dialect) -> Self {
        Refusal::new(Check::Expired, "the token expired (\"exp\") before the stream began").by(dialect)
    }

    /// For a valid token of `dialect` that does not grant what was asked; `detail` says what that was.
    pub fn insufficient_scope(dialect: Dialect, detail: impl Into<Cow<'static, str>>) -> Self {
        Refusal::new(Check::InsufficientScope, detail).by(dialect)
    }

    /// The dialect whose rules the answer follows.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The check that failed.
    pub fn check(&self) -> Check {
        self.check
    }

    /// What was wrong and what would be right.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The status of the answer: 401 for everything in dialect 0.x, as deployed hubs answer; RFC 6750 §3.1 in 1.0. A
    /// token that cannot be verified because **we** have no keys yet is 503 in both.
    pub fn status(&self) -> u16 {
        if self.check == Check::KeysUnavailable {
            return 503;
        }
        match (self.dialect, self.code()) {
            (Dialect::V1, Some(BearerCode::InvalidRequest)) => 400,
            (Dialect::V1, Some(BearerCode::InsufficientScope)) => 403,
            _ => 401,
        }
    }

    /// When to try again, if that can help.
    pub fn retry_after(&self) -> Option<Duration> {
        (self.check == Check::KeysUnavailable).then_some(super::REFRESH_INTERVAL_MIN)
    }

    /// The value of `WWW-Authenticate` (RFC 6750 §3), with the address of the RFC 9728 document if there is one. It
    /// names the code only; the body tells the rest.
    pub fn challenge(&self, resource_metadata: Option<&str>) -> Option<String> {
        if self.check == Check::KeysUnavailable {
            return None;
        }
        let mut challenge = String::from("Bearer");
        let mut separator = " ";
        if let Some(code) = self.code() {
            let code = match code {
                BearerCode::InvalidRequest => "invalid_request",
                BearerCode::InvalidToken => "invalid_token",
                BearerCode::InsufficientScope => "insufficient_scope",
            };
            write!(challenge, "{separator}error=\"{code}\"").expect("a String takes everything");
            separator = ", ";
        }
        if let Some(url) = resource_metadata {
            write!(challenge, "{separator}resource_metadata=\"{url}\"").expect("a String takes everything");
        }
        Some(challenge)
    }

    fn code(&self) -> Option<BearerCode> {
        match self.check {
            Check::TokenMissing | Check::KeysUnavailable => None,
            // Nothing was said about the token yet: the request is at fault.
            Check::Request | Check::Place | Check::Origin => Some(BearerCode::InvalidRequest),
            Check::InsufficientScope => Some(BearerCode::InsufficientScope),
            _ => Some(BearerCode::InvalidToken),
        }
    }
}
