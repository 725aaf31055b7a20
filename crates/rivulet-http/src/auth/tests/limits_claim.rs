//! The claim that changes its bearer's limits: every shape, and every mistake.

use rivulet_node::{Overrides, Pace};

use super::*;

fn with_limits(claims: Value, name: &str, limits: &Value) -> Value {
    let mut claims = claims;
    claims[name] = limits.clone();
    claims
}

fn read(limits: &Value) -> Result<Overrides, AuthError> {
    let v1 = mint_hs256(&v1_header(), &with_limits(v1_claims(), LIMITS_CLAIM, limits), SUBSCRIBER);
    let v0 = mint_hs256(&v0_header(), &with_limits(v0_claims(), LIMITS_CLAIM, limits), SUBSCRIBER);
    let hub = authorizer(On::Both);
    let overrides = |token| verify(&hub, token, Purpose::Subscribe).map(|verified| verified.overrides);
    let (of_v0, of_v1) = (overrides(&v0), overrides(&v1));
    match (&of_v0, &of_v1) {
        (Ok(of_v0), Ok(of_v1)) => assert_eq!(of_v0, of_v1),
        (Err(of_v0), Err(of_v1)) => assert_eq!(of_v0.detail(), of_v1.detail()),
        _ => panic!("{limits}: {of_v0:?} and {of_v1:?}"),
    }
    of_v1
}

#[test]
fn a_plan_may_have_limits_of_its_own() {
    let pace = |text: &str| Some(text.parse::<Pace>().unwrap());
    let check = |limits: Value, connections, subscribes, publishes| {
        let expected = Overrides {
            connections_per_subject: connections,
            subscribes_per_subject: subscribes,
            publishes_per_subject: publishes,
        };
        assert_eq!(read(&limits).unwrap(), expected, "{limits}");
    };
    check(json!({}), None, None, None);
    check(json!({"connections_per_subject": 1}), Some(1), None, None);
    check(json!({"connections_per_subject": 1_000_000}), Some(1_000_000), None, None);
    check(json!({"subscribes_per_subject": "10/1m30s"}), None, pace("10/90s"), None);
    check(
        json!({"publishes_per_subject": "100/s,burst=200", "connections_per_subject": 7}),
        Some(7),
        None,
        pace("100/s,burst=200"),
    );
    check(json!({"publishes_per_subject": {"count": 5, "period": 60}}), None, None, pace("5/m"));
    let of_object = json!({"subscribes_per_subject": {"count": 5, "period": "1h", "burst": 2}});
    check(of_object, None, pace("5/h,burst=2"), None);
}

#[test]
fn a_mistake_in_the_claim_makes_the_token_invalid() {
    let check = |limits: Value, words: &[&str]| {
        let error = read(&limits).expect_err(words[0]);
        assert_eq!((error.check(), error.status()), (Check::ClaimMalformed, 401), "{limits}");
        for word in words {
            assert!(error.detail().contains(word), "{word:?} is not in {error}");
        }
    };
    for (limits, found) in [
        (json!(null), "null"),
        (json!(true), "a boolean"),
        (json!("10"), "a text"),
        (json!([]), "an array"),
        (json!(5), "5"),
    ] {
        check(limits, &[&format!("\"rivulet_limits\" is {found}, it must be an object")]);
    }
    check(
        json!({"connections_per_ip": 3}),
        &["unknown member \"connections_per_ip\"", "publishes_per_subject"],
    );
    check(json!({"Connections_per_subject": 3}), &["unknown member \"Connections_per_subject\""]);
    for (count, found) in [
        (json!(0), "0"),
        (json!(-1), "-1"),
        (json!(1.5), "1.5"),
        (json!(1_000_001), "1000001"),
        (json!(4_294_967_297_u64), "4294967297"),
        (json!("3"), "a text"),
        (json!(null), "null"),
    ] {
        let words =
            format!("\"rivulet_limits.connections_per_subject\" is {found}, it must be a whole number");
        check(json!({"connections_per_subject": count}), &[&words, "from 1 to 1000000"]);
    }
    let rate = |rate: Value, words: &[&str]| check(json!({"publishes_per_subject": rate}), words);
    rate(json!(100), &["\"rivulet_limits.publishes_per_subject\" is 100", "a text like \"100/s\""]);
    rate(json!("100"), &["publishes_per_subject\" is \"100\": must be COUNT/PERIOD"]);
    rate(json!("0/s"), &["is \"0/s\": the count must be"]);
    rate(json!("1/2d"), &["is \"1/2d\": the period must be"]);
    rate(json!("1/s,burst=0"), &["the burst must be"]);
    rate(json!({}), &["\"rivulet_limits.publishes_per_subject\" lacks \"count\""]);
    rate(json!({"count": 1}), &["lacks \"period\""]);
    rate(json!({"count": 1, "period": 1, "bursts": 1}), &["unknown member \"bursts\""]);
    rate(json!({"count": "1", "period": 1}), &["\"rivulet_limits.publishes_per_subject.count\" is a text"]);
    rate(json!({"count": 1, "period": 0}), &["publishes_per_subject\": the period must be"]);
    rate(json!({"count": 1, "period": true}), &["publishes_per_subject.period\" is a boolean"]);
    rate(json!({"count": 1, "period": "soon"}), &["publishes_per_subject.period\" is \"soon\": the period"]);
    rate(json!({"count": 1, "period": 1, "burst": null}), &["publishes_per_subject.burst\" is null"]);
}

#[test]
fn the_claim_has_the_configured_name_or_none() {
    let hub = |name: Option<&str>| {
        let config = AuthConfig { limits_claim: name.map(str::to_owned), ..AuthConfig::default() };
        Authorizer::new(AuthConfig { v0: Some(v0_config()), ..config })
    };
    let limits = json!({"connections_per_subject": 9});
    let claims = with_limits(v0_claims(), "https://example.com/plan", &limits);
    let token = mint_hs256(&v0_header(), &with_limits(claims, LIMITS_CLAIM, &json!("not read")), SUBSCRIBER);
    for (name, expected) in
        [(Some("https://example.com/plan"), Some(9)), (None, None), (Some("absent"), None)]
    {
        let verified = verify(&hub(name).unwrap(), &token, Purpose::Subscribe).unwrap();
        assert_eq!(verified.overrides.connections_per_subject, expected, "{name:?}");
    }
    for (name, words) in [
        ("", "must not be empty"),
        ("sub", "\"sub\" is a registered claim"),
        ("mercure", "registered"),
        ("https://mercure.rocks/", "registered"),
        ("authorization_details", "registered"),
        ("a b", "spaces"),
        ("a\n", "spaces"),
        (&"x".repeat(129), "at most 128 bytes, this one has 129"),
    ] {
        let errors = hub(Some(name)).expect_err(name);
        assert_eq!((errors.len(), errors[0].field.as_str()), (1, "limits_claim"), "{errors:?}");
        assert!(errors[0].rule.contains(words), "{errors:?}");
        assert_eq!(check_limits_claim(name), Err(errors[0].rule.clone()));
    }
    assert_eq!(check_limits_claim(LIMITS_CLAIM), Ok(()));
}
