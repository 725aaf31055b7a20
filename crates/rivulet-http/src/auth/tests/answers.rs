//! How refusals are answered: statuses, challenges, names; and the pages that may publish.

use super::*;

#[test]
fn statuses_follow_the_dialect() {
    use Dialect::{V0, V1};
    let check = |error: AuthError, status: u16, challenge: Option<&str>| {
        assert_eq!(error.status(), status, "{error:?}");
        assert_eq!(error.challenge(None).as_deref(), challenge, "{error:?}");
    };
    let refusal = |check, dialect| error::Refusal::new(check, "x").by(dialect);
    check(AuthError::token_missing(V0), 401, Some("Bearer"));
    check(AuthError::token_missing(V1), 401, Some("Bearer"));
    check(AuthError::insufficient_scope(V0, "x"), 401, Some("Bearer error=\"insufficient_scope\""));
    check(AuthError::insufficient_scope(V1, "x"), 403, Some("Bearer error=\"insufficient_scope\""));
    for of_request in [Check::Request, Check::Place, Check::Origin] {
        check(refusal(of_request, V0), 401, Some("Bearer error=\"invalid_request\""));
        check(refusal(of_request, V1), 400, Some("Bearer error=\"invalid_request\""));
    }
    for of_token in [Check::Expired, Check::Signature, Check::Type, Check::ClaimMalformed, Check::TooLong] {
        check(refusal(of_token, V0), 401, Some("Bearer error=\"invalid_token\""));
        check(refusal(of_token, V1), 401, Some("Bearer error=\"invalid_token\""));
    }
    check(refusal(Check::KeysUnavailable, V0), 503, None);
    check(refusal(Check::KeysUnavailable, V1), 503, None);
    assert_eq!(refusal(Check::KeysUnavailable, V1).retry_after(), Some(REFRESH_INTERVAL_MIN));
    assert_eq!(refusal(Check::Expired, V1).retry_after(), None);
}

#[test]
fn challenges_name_the_metadata() {
    let url = "https://hub.example/.well-known/oauth-protected-resource/.well-known/mercure";
    let challenge = AuthError::token_missing(Dialect::V1).challenge(Some(url)).unwrap();
    assert_eq!(challenge, format!("Bearer resource_metadata=\"{url}\""));
    let challenge = AuthError::insufficient_scope(Dialect::V1, "x").challenge(Some(url)).unwrap();
    assert_eq!(challenge, format!("Bearer error=\"insufficient_scope\", resource_metadata=\"{url}\""));
}

#[test]
fn every_check_has_a_name_of_its_own() {
    let mut slugs: Vec<&str> = Check::ALL.iter().map(|check| check.slug()).collect();
    assert!(slugs.iter().all(|slug| slug.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')));
    slugs.sort_unstable();
    slugs.dedup();
    assert_eq!(slugs.len(), Check::ALL.len());
}

#[test]
fn what_a_token_says_is_quoted_short_and_escaped() {
    assert_eq!(error::quoted("a\"\n\u{202E}"), r#""a\"\n\u{202e}""#);
    assert_eq!(error::quoted(&"é".repeat(65)), format!("\"{}…\"", "é".repeat(64)));
}

#[test]
fn pages_publish_with_cookies_only_if_they_are_allowed() {
    use CredentialSource::{Cookie, Header, Query};
    let allowed = AllowedOrigins::parse(&["https://app.example", "http://localhost:8000"]).unwrap();
    let check = |source, origin: Option<&str>, referer: Option<&str>, expected: bool| {
        let (origin_bytes, referer_bytes) = (origin.map(str::as_bytes), referer.map(str::as_bytes));
        let result = check_origin(Dialect::V1, source, origin_bytes, referer_bytes, &allowed);
        assert_eq!(result.is_ok(), expected, "{source:?} {origin:?} {referer:?}");
    };
    check(Header, None, None, true);
    check(Query, Some("https://evil.example"), None, true);
    check(Cookie, Some("https://app.example"), None, true);
    check(Cookie, Some("HTTPS://App.Example:443"), None, true);
    check(Cookie, Some("http://localhost:8000"), None, true);
    check(Cookie, None, Some("https://app.example/page?x#y"), true);
    check(Cookie, None, None, false);
    check(Cookie, Some("https://evil.example"), Some("https://app.example/"), false);
    check(Cookie, Some("null"), Some("https://app.example/"), false);
    check(Cookie, Some(""), Some("https://app.example/"), false);
    check(Cookie, Some("https://app.example.evil.example"), None, false);
    check(Cookie, Some("https://app.example/x"), None, false);
    check(Cookie, Some("http://app.example"), None, false);
    check(Cookie, Some("https://app.example:8443"), None, false);
    check(Cookie, None, Some("https://evil.example/?https://app.example"), false);
    check(Cookie, None, Some("https://app.example@evil.example/"), false);
    check(Cookie, None, Some("/relative"), false);
    let invalid: &[u8] = b"https://app.example\xFF";
    let error = check_origin(Dialect::V0, Cookie, Some(invalid), None, &allowed).unwrap_err();
    assert_eq!((error.check(), error.status()), (Check::Origin, 401));
}

#[test]
fn a_star_allows_every_page_and_no_origin_none() {
    let any = AllowedOrigins::parse(&["*"]).unwrap();
    let none = AllowedOrigins::default();
    let check = |allowed, origin: Option<&[u8]>| {
        check_origin(Dialect::V1, CredentialSource::Cookie, origin, None, allowed).is_ok()
    };
    assert!(check(&any, Some(b"https://any.example")));
    assert!(!check(&any, None));
    assert!(!check(&none, Some(b"https://any.example")));
    for text in [
        "app.example",
        "https://app.example/",
        "https://app.example/x",
        "https://a@b",
        "null",
        "",
        "https://*.example x",
    ] {
        assert_eq!(AllowedOrigins::parse(&[text]), Err(OriginError(text.to_owned())));
    }
}
