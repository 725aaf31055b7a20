//! Cross-origin rules: which web pages may read the hub's answers.
//!
//! Credentials are only ever combined with an origin of an explicit list: `*` or a reflected origin together with
//! cookies would let every page on the web read what its visitors may read.

use actix_web::http::header::HeaderValue;
use url::Url;

/// What pages may send.
pub(crate) const ALLOWED_METHODS: &str = "GET, HEAD, QUERY, POST";
/// Which headers of requests pages may set.
pub(crate) const ALLOWED_HEADERS: &str =
    "authorization, cache-control, last-event-id, content-type, idempotency-key, traceparent, tracestate";
/// Which headers of answers pages may read.
pub(crate) const EXPOSED_HEADERS: &str =
    "Link, Last-Event-ID, Mercure-Last-Event-ID, Retry-After, RateLimit, RateLimit-Policy, traceresponse";
/// How long browsers may remember a preflight's answer, in seconds: what Chromium allows at most.
pub(crate) const PREFLIGHT_AGE_SECS: &str = "7200";

/// Which pages may read answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CorsPolicy {
    /// Only pages of the hub's own origin.
    #[default]
    SameOrigin,
    /// Pages of these origins too, with their visitors' cookies.
    Listed(Vec<String>),
    /// Pages of every origin, never with cookies.
    AnyWithoutCredentials,
}

/// Why a list of origins is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CorsPolicyError {
    /// An entry is not an origin.
    #[error("{0:?} is not an origin: write scheme://host or scheme://host:port, without a path")]
    NotAnOrigin(String),
    /// `*` does not stand alone.
    #[error("\"*\" allows every origin, without credentials, and must stand alone")]
    WildcardNotAlone,
}

impl CorsPolicy {
    /// Parses a list of origins; `*`, alone, means every origin without credentials.
    ///
    /// # Errors
    ///
    /// See [`CorsPolicyError`].
    pub fn parse<S: AsRef<str>>(list: &[S]) -> Result<Self, CorsPolicyError> {
        if list.is_empty() {
            return Ok(Self::SameOrigin);
        }
        if list.iter().any(|entry| entry.as_ref() == "*") {
            let alone = list.len() == 1;
            return if alone {
                Ok(Self::AnyWithoutCredentials)
            } else {
                Err(CorsPolicyError::WildcardNotAlone)
            };
        }
        let parsed = list.iter().map(|entry| {
            let text = entry.as_ref();
            origin(text).ok_or_else(|| CorsPolicyError::NotAnOrigin(text.to_owned()))
        });
        parsed.collect::<Result<_, _>>().map(Self::Listed)
    }

    /// The headers that the answer to a request with this `Origin` carries.
    pub(crate) fn headers(&self, origin: Option<&HeaderValue>) -> Vec<(&'static str, HeaderValue)> {
        let allowed = match self {
            Self::SameOrigin => return Vec::new(),
            Self::AnyWithoutCredentials => origin.map(|_| HeaderValue::from_static("*")),
            Self::Listed(list) => origin
                .filter(|origin| list.iter().any(|listed| listed.as_bytes() == origin.as_bytes()))
                .cloned(),
        };
        // Also where nothing is allowed: a cache must not give this answer to a page of another origin.
        let mut headers = vec![("Vary", HeaderValue::from_static("Origin"))];
        if let Some(allowed) = allowed {
            headers.push(("Access-Control-Allow-Origin", allowed));
            headers.push(("Access-Control-Expose-Headers", HeaderValue::from_static(EXPOSED_HEADERS)));
            if matches!(self, Self::Listed(_)) {
                headers.push(("Access-Control-Allow-Credentials", HeaderValue::from_static("true")));
            }
        }
        headers
    }
}

/// The serialized origin that `text` is; `None` if it is anything else, `null` included: sandboxed frames of every
/// site send that one.
fn origin(text: &str) -> Option<String> {
    let url = Url::parse(text).ok()?;
    let bare = url.path().trim_matches('/').is_empty()
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none()
        && !text.ends_with('/');
    let origin = url.origin();
    (bare && origin.is_tuple()).then(|| origin.ascii_serialization())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(list: &[&str], expected: &Result<CorsPolicy, CorsPolicyError>) {
        assert_eq!(&CorsPolicy::parse(list), expected, "{list:?}");
    }

    #[test]
    fn lists_of_origins_are_read() {
        check(&[], &Ok(CorsPolicy::SameOrigin));
        check(&["*"], &Ok(CorsPolicy::AnyWithoutCredentials));
        check(&["*", "https://a.example"], &Err(CorsPolicyError::WildcardNotAlone));
        check(
            &["HTTPS://A.example:443", "http://b.example:8080"],
            &Ok(CorsPolicy::Listed(vec!["https://a.example".into(), "http://b.example:8080".into()])),
        );
        for wrong in
            ["null", "a.example", "https://a.example/", "https://a.example/x", "https://u@a.example", ""]
        {
            check(&[wrong], &Err(CorsPolicyError::NotAnOrigin(wrong.into())));
        }
    }

    #[test]
    fn credentials_never_meet_a_wildcard_or_a_stranger() {
        let allows = |policy: &CorsPolicy, origin: &'static str, name: &str| {
            let headers = policy.headers(Some(&HeaderValue::from_static(origin)));
            headers.into_iter().find(|(found, _)| *found == name).map(|(_, value)| value)
        };
        let listed = CorsPolicy::parse(&["https://a.example"]).unwrap();
        let (origin, credentials) = ("Access-Control-Allow-Origin", "Access-Control-Allow-Credentials");
        assert_eq!(allows(&listed, "https://a.example", origin).unwrap(), "https://a.example");
        assert_eq!(allows(&listed, "https://a.example", credentials).unwrap(), "true");
        assert_eq!(allows(&listed, "https://evil.example", origin), None);
        assert_eq!(allows(&listed, "https://evil.example", credentials), None);
        let any = CorsPolicy::AnyWithoutCredentials;
        assert_eq!(allows(&any, "https://evil.example", origin).unwrap(), "*");
        assert_eq!(allows(&any, "https://evil.example", credentials), None);
    }
}
