//! Where tokens may stand.

use super::*;

/// What a request carries, and where its token is expected to be found.
#[derive(Default)]
struct Case<'a> {
    headers: &'a [&'a str],
    query: &'a [&'a str],
    cookies: &'a [&'a str],
    dialect: Option<Dialect>,
}

fn find(on: On, case: &Case<'_>) -> Result<Option<Credential>, AuthError> {
    let headers: Vec<&[u8]> = case.headers.iter().map(|text| text.as_bytes()).collect();
    let cookies: Vec<&[u8]> = case.cookies.iter().map(|text| text.as_bytes()).collect();
    authorizer(on).credential(&CredentialParts {
        authorization: &headers,
        query: case.query,
        cookies: &cookies,
        dialect: case.dialect,
    })
}

fn found(on: On, case: &Case<'_>, expected: Option<(&str, CredentialSource, Option<Dialect>)>) {
    let credential = find(on, case).unwrap();
    let found = credential.as_ref().map(|found| (found.token.as_str(), found.source(), found.only));
    assert_eq!(found, expected, "{on:?}");
}

fn refused(on: On, case: &Case<'_>, check: Check, status: u16) {
    let error = find(on, case).unwrap_err();
    assert_eq!((error.check(), error.status()), (check, status), "{on:?}: {error}");
}

#[test]
fn the_header_comes_first_then_the_query_then_the_cookie() {
    use CredentialSource::{Cookie, Header, Query};
    let cookies: &[&str] = &["a=b; mercureAuthorization=c0; x", "__Secure-mercure_access_token=c1"];
    let case = Case { headers: &["Bearer h"], query: &["q"], cookies, ..Case::default() };
    found(On::Both, &case, Some(("h", Header, None)));
    let case = Case { query: &["q"], cookies, ..Case::default() };
    found(On::Both, &case, Some(("q", Query, Some(Dialect::V0))));
    let case = Case { cookies, ..Case::default() };
    found(On::Both, &case, Some(("c1", Cookie, Some(Dialect::V1))));
    found(On::V0, &case, Some(("c0", Cookie, Some(Dialect::V0))));
    found(On::V1, &case, Some(("c1", Cookie, Some(Dialect::V1))));
    let case = Case { cookies, dialect: Some(Dialect::V0), ..Case::default() };
    found(On::Both, &case, Some(("c0", Cookie, Some(Dialect::V0))));
    let case = Case { cookies: &cookies[..1], dialect: Some(Dialect::V1), ..Case::default() };
    found(On::Both, &case, Some(("c0", Cookie, Some(Dialect::V0))));
    found(On::V1, &case, None);
    found(On::Both, &Case::default(), None);
}

#[test]
fn the_header_has_one_form() {
    use CredentialSource::Header;
    let header = |value| [value];
    for (value, only) in
        [("Bearer t", None), ("bearer t", Some(Dialect::V1)), ("BEARER  t ", Some(Dialect::V1))]
    {
        found(On::Both, &Case { headers: &header(value), ..Case::default() }, Some(("t", Header, only)));
    }
    for value in ["", "Bearer", "Bearer ", "Bearer  ", "Basic dTpw", "t", "Bearer\tt", "Béarer t"] {
        let headers = &header(value);
        refused(On::Both, &Case { headers, ..Case::default() }, Check::Request, 400);
        refused(On::V0, &Case { headers, ..Case::default() }, Check::Request, 401);
        refused(
            On::Both,
            &Case { headers, dialect: Some(Dialect::V0), ..Case::default() },
            Check::Request,
            401,
        );
    }
    refused(On::V0, &Case { headers: &["bearer t"], ..Case::default() }, Check::Request, 401);
    refused(On::Both, &Case { headers: &["Bearer t", "Bearer t"], ..Case::default() }, Check::Request, 400);
    refused(On::V0, &Case { headers: &["Bearer t", "Bearer t"], ..Case::default() }, Check::Request, 401);
    let bytes: &[u8] = b"Bearer \xFF";
    let parts = CredentialParts { authorization: &[bytes], ..CredentialParts::default() };
    assert_eq!(authorizer(On::Both).credential(&parts).unwrap_err().check(), Check::Request);
}

#[test]
fn the_query_is_for_0_x_only() {
    refused(On::V1, &Case { query: &["t"], ..Case::default() }, Check::Place, 400);
    refused(On::V0, &Case { query: &[""], ..Case::default() }, Check::Request, 401);
    refused(On::V0, &Case { query: &["a", "b"], ..Case::default() }, Check::Request, 401);
    let token = mint_hs256(&v1_header(), &v1_claims(), SUBSCRIBER);
    let credential = find(On::Both, &Case { query: &[&token], ..Case::default() }).unwrap().unwrap();
    let result = ready(authorizer(On::Both).verify(&credential, Purpose::Subscribe, now()));
    check_refused(result, &token, Check::Place, "must not stand in the query");
}

#[test]
fn cookies_are_found_among_others() {
    use CredentialSource::Cookie;
    for header in [
        "mercureAuthorization=t",
        " x=y;mercureAuthorization=\"t\" ;",
        "mercureAuthorization=; mercureAuthorization=t",
    ] {
        let case = Case { cookies: &[header], ..Case::default() };
        found(On::V0, &case, Some(("t", Cookie, Some(Dialect::V0))));
    }
    for header in [
        "",
        ";;",
        "mercureAuthorization",
        "mercureAuthorization=",
        "MercureAuthorization=t",
        "xmercureAuthorization=t",
    ] {
        found(On::V0, &Case { cookies: &[header], ..Case::default() }, None);
    }
    let bytes: &[u8] = b"a=\xFF; mercureAuthorization=t";
    let parts = CredentialParts { cookies: &[bytes], ..CredentialParts::default() };
    assert!(authorizer(On::V0).credential(&parts).unwrap().is_some());
}

#[test]
fn a_place_of_one_dialect_does_not_take_tokens_of_the_other() {
    let hub = authorizer(On::Both);
    let (v0, v1) = (
        mint_hs256(&v0_header(), &v0_claims(), SUBSCRIBER),
        mint_hs256(&v1_header(), &v1_claims(), SUBSCRIBER),
    );
    let check = |case: Case<'_>, words: &str| {
        let credential = find(On::Both, &case).unwrap().unwrap();
        let result = ready(hub.verify(&credential, Purpose::Subscribe, now()));
        if words.is_empty() {
            assert!(result.is_ok(), "{result:?}");
        } else {
            check_refused(result, "", Check::Place, words);
        }
    };
    check(
        Case { cookies: &[&format!("mercureAuthorization={v1}")], ..Case::default() },
        "cookie of dialect 0.x",
    );
    check(Case { cookies: &[&format!("mercureAuthorization={v0}")], ..Case::default() }, "");
    check(Case { cookies: &[&format!("__Secure-mercure_access_token={v0}")], ..Case::default() }, "at+jwt");
    check(Case { cookies: &[&format!("__Secure-mercure_access_token={v1}")], ..Case::default() }, "");
    check(Case { headers: &[&format!("bearer {v0}")], ..Case::default() }, "this spelling");
    check(Case { headers: &[&format!("bearer {v1}")], ..Case::default() }, "");
}

#[test]
fn one_cookie_may_serve_both_dialects() {
    let cookie_name = "token".to_owned();
    let config = AuthConfig {
        v0: Some(V0Config { cookie_name: cookie_name.clone(), ..v0_config() }),
        v1: Some(V1Config { cookie_name, ..v1_config() }),
        ..AuthConfig::default()
    };
    let hub = Authorizer::new(config).unwrap();
    for token in [
        mint_hs256(&v0_header(), &v0_claims(), SUBSCRIBER),
        mint_hs256(&v1_header(), &v1_claims(), SUBSCRIBER),
    ] {
        let cookie = format!("token={token}");
        let parts = CredentialParts { cookies: &[cookie.as_bytes()], ..CredentialParts::default() };
        let credential = hub.credential(&parts).unwrap().unwrap();
        assert!(ready(hub.verify(&credential, Purpose::Subscribe, now())).is_ok());
    }
}

#[test]
fn a_credential_does_not_show_its_token() {
    let credential =
        find(On::Both, &Case { headers: &["Bearer very.secret.token"], ..Case::default() }).unwrap();
    assert!(!format!("{credential:?}").contains("secret"));
}

proptest::proptest! {
    #[test]
    fn no_token_panics(text in "\\PC*", parts in proptest::collection::vec("[-_A-Za-z0-9]{0,40}", 0..5)) {
        let hub = authorizer(On::Both);
        for token in [text.clone(), parts.join(".")] {
            proptest::prop_assert!(verify(&hub, &token, Purpose::Publish).is_err());
        }
        let parts = CredentialParts {
            authorization: &[],
            query: &[],
            cookies: &[text.as_bytes()],
            dialect: None,
        };
        let _ = hub.credential(&parts);
    }

    #[test]
    fn no_signed_json_panics(header in "\\PC{0,60}", claims in "\\PC{0,60}", typ in "(application/)?(at\\+)?\\PC{0,9}") {
        let hub = authorizer(On::Both);
        for header in [json!(header), json!({"alg": "HS256", "typ": typ, "kid": header}), json!({"alg": header})] {
            for claims in [json!(claims), json!({"iss": ISSUER, "exp": claims, "mercure": claims}),
                json!({"mercure": {"subscribe": [claims]}}), details(&claims)] {
                let token = mint_hs256(&header, &claims, SUBSCRIBER);
                let _ = verify(&hub, &token, Purpose::Subscribe);
            }
        }
    }
}

fn details(text: &str) -> Value {
    let topics = json!([{"match": text, "match_type": "urlpattern"}, {"match": text}]);
    let detail = json!({"type": DETAIL_TYPE, "actions": [text, "subscribe"], "topics": topics});
    with(v1_claims(), &json!({"authorization_details": [detail]}))
}
