//! Where a token may stand in a request, and finding it there.

use std::fmt;

use super::{Check, Dialect, error::Refusal};

/// The parts of a request that may carry a token.
#[derive(Clone, Copy, Debug, Default)]
pub struct CredentialParts<'a> {
    /// The value of every `Authorization` header.
    pub authorization: &'a [&'a [u8]],
    /// Every value of the query parameter `authorization`, decoded.
    pub query: &'a [&'a str],
    /// The value of every `Cookie` header.
    pub cookies: &'a [&'a [u8]],
    /// The dialect that the request's other parameters speak, if they tell. It decides which cookie is looked at
    /// first, and how a request whose token cannot be found is answered.
    pub dialect: Option<Dialect>,
}

/// Where a token was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CredentialSource {
    /// The `Authorization` header.
    Header,
    /// The query parameter `authorization` (dialect 0.x only).
    Query,
    /// A cookie: browsers attach it by themselves, so publications need [`super::check_origin`].
    Cookie,
}

/// A token that a request carries; nothing about it is verified.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    pub(super) token: String,
    pub(super) source: CredentialSource,
    /// The one dialect whose tokens may stand where this was found; `None` if either may.
    pub(super) only: Option<Dialect>,
}

impl Credential {
    /// Where it was found.
    pub fn source(&self) -> CredentialSource {
        self.source
    }
}

impl fmt::Debug for Credential {
    /// Without the token: it must not reach a log by accident.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential")
            .field("source", &self.source)
            .field("only", &self.only)
            .finish_non_exhaustive()
    }
}

/// The places where tokens may stand, as the configuration names them. A dialect that is off has none.
#[derive(Clone, Debug)]
pub(super) struct Places {
    pub(super) v0_cookie: Option<String>,
    pub(super) v1_cookie: Option<String>,
}

impl Places {
    /// Finds the token: the header decides if it is there, else the query, else a cookie. Whatever stands in a place
    /// of higher rank and is malformed is refused, never passed over: that would turn a mistake into another identity.
    pub(super) fn find(&self, parts: &CredentialParts<'_>) -> Result<Option<Credential>, Refusal> {
        match parts.authorization {
            [] => {}
            [value] => return self.in_header(value).map(Some),
            _ => return Err(Refusal::new(Check::Request, "there is more than one \"Authorization\" header")),
        }
        match parts.query {
            [] => {}
            [token] => return self.in_query(token).map(Some),
            _ => {
                return Err(Refusal::new(
                    Check::Request,
                    "the parameter \"authorization\" stands more than once",
                ));
            }
        }
        Ok(self.in_cookies(parts))
    }

    fn in_header(&self, value: &[u8]) -> Result<Credential, Refusal> {
        const SCHEME: &str = "Bearer ";
        let rule = match self.v1_cookie {
            Some(_) => "the \"Authorization\" header must be \"Bearer <token>\"",
            None => "the \"Authorization\" header must be \"Bearer <token>\" with this spelling",
        };
        let malformed = || Refusal::new(Check::Request, rule);
        let text = std::str::from_utf8(value).map_err(|_| malformed())?;
        let (scheme, token) = text.split_at_checked(SCHEME.len()).ok_or_else(malformed)?;
        let token = token.trim_matches(' ');
        if !scheme.eq_ignore_ascii_case(SCHEME) || token.is_empty() {
            return Err(malformed());
        }
        // Deployed 0.x hubs know the one spelling only; a token of 1.0 may come under any.
        let only = (scheme != SCHEME).then_some(Dialect::V1);
        if only.is_some() && self.v1_cookie.is_none() {
            return Err(malformed());
        }
        Ok(Credential { token: token.to_owned(), source: CredentialSource::Header, only })
    }

    fn in_query(&self, token: &str) -> Result<Credential, Refusal> {
        if self.v0_cookie.is_none() {
            let detail =
                "a token must not stand in the query (RFC 9700): send it in the header or the cookie";
            return Err(Refusal::new(Check::Place, detail));
        }
        if token.is_empty() {
            return Err(Refusal::new(Check::Request, "the parameter \"authorization\" is empty"));
        }
        Ok(Credential { token: token.to_owned(), source: CredentialSource::Query, only: Some(Dialect::V0) })
    }

    fn in_cookies(&self, parts: &CredentialParts<'_>) -> Option<Credential> {
        let v0 = (self.v0_cookie.as_deref(), Dialect::V0);
        let v1 = (self.v1_cookie.as_deref(), Dialect::V1);
        let order = if parts.dialect == Some(Dialect::V0) { [v0, v1] } else { [v1, v0] };
        order.into_iter().find_map(|(name, dialect)| {
            let token = cookie(parts.cookies, name?)?;
            let only = (self.v0_cookie != self.v1_cookie).then_some(dialect);
            Some(Credential { token, source: CredentialSource::Cookie, only })
        })
    }
}

/// The first cookie of this name that has a value: an empty one is what a logout leaves behind.
fn cookie(headers: &[&[u8]], name: &str) -> Option<String> {
    let pairs = headers.iter().flat_map(|header| header.split(|byte| *byte == b';'));
    pairs.filter_map(|pair| std::str::from_utf8(pair).ok()?.trim().split_once('=')).find_map(
        |(found, value)| {
            let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
            (found == name && !value.is_empty()).then(|| value.to_owned())
        },
    )
}
