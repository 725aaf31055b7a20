//! Every algorithm with its key, and every key against the other algorithms.

use super::*;

const ALL: [Alg; 12] = [
    Alg::HS256,
    Alg::HS384,
    Alg::HS512,
    Alg::RS256,
    Alg::RS384,
    Alg::RS512,
    Alg::PS256,
    Alg::PS384,
    Alg::PS512,
    Alg::ES256,
    Alg::ES384,
    Alg::EdDSA,
];

/// The configured key that fits an algorithm.
fn source(alg: Alg) -> KeySource {
    let algorithm = Algorithm(alg);
    let pem = match alg {
        Alg::HS256 | Alg::HS384 | Alg::HS512 => {
            return KeySource::Secret { algorithm, secret: PUBLISHER.to_vec() };
        }
        Alg::ES256 => include_str!("keys/ec256.public.pem"),
        Alg::ES384 => include_str!("keys/ec384.public.pem"),
        Alg::EdDSA => include_str!("keys/ed25519.public.pem"),
        Alg::RS256 => include_str!("keys/rsa.pkcs1.pem"),
        _ => include_str!("keys/rsa.public.pem"),
    };
    KeySource::Pem { algorithm, pem: pem.to_owned() }
}

fn hub(keys: KeySource) -> Authorizer {
    let v0 = V0Config { publisher: Some(keys), ..v0_config() };
    Authorizer::new(AuthConfig { v0: Some(v0), ..AuthConfig::default() }).unwrap()
}

fn token(alg: Alg, header: &Value) -> String {
    mint(&with(json!({"alg": Algorithm(alg).to_string()}), header), &v0_claims(), alg, &private_key(alg))
}

#[test]
fn each_algorithm_verifies_its_own_signatures_only() {
    for alg in ALL {
        let hub = hub(source(alg));
        for other in ALL {
            let token = token(other, &json!({}));
            let result = verify(&hub, &token, Purpose::Publish);
            if other == alg {
                assert!(result.is_ok(), "{alg:?}: {result:?}");
            } else {
                check_refused(result, &token, Check::Algorithm, Algorithm(alg).to_string().as_str());
            }
        }
    }
}

#[test]
fn a_header_that_lies_about_its_algorithm_is_refused() {
    // The attack on libraries that let the token choose: HMAC with the public key's text as the secret.
    let public = include_str!("keys/rsa.public.pem");
    let key = EncodingKey::from_secret(public.as_bytes());
    let forged = mint(&json!({"alg": "HS256"}), &v0_claims(), Alg::HS256, &key);
    check_refused(
        verify(&hub(source(Alg::RS256)), &forged, Purpose::Publish),
        &forged,
        Check::Algorithm,
        "HS256",
    );
    let forged = mint(&json!({"alg": "RS256"}), &v0_claims(), Alg::HS256, &key);
    check_refused(verify(&hub(source(Alg::RS256)), &forged, Purpose::Publish), &forged, Check::Signature, "");
    let forged = mint(&json!({"alg": "RS256"}), &v0_claims(), Alg::PS256, &private_key(Alg::PS256));
    check_refused(verify(&hub(source(Alg::RS256)), &forged, Purpose::Publish), &forged, Check::Signature, "");
}

fn key_set(keys: &[Value]) -> (tempfile::NamedTempFile, Authorizer) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), json!({"keys": keys}).to_string()).unwrap();
    let hub = hub(KeySource::JwksFile { path: file.path().to_owned() });
    (file, hub)
}

#[test]
fn a_key_set_verifies_every_algorithm() {
    for alg in ALL {
        let named = [jwk(Alg::HS512, &json!({"kid": "other"})), jwk(alg, &json!({"kid": "it"}))];
        let (_file, hub) = key_set(&named);
        for header in [json!({"kid": "it"}), json!({})] {
            let result = verify(&hub, &token(alg, &header), Purpose::Publish);
            assert!(result.is_ok(), "{alg:?} {header}: {result:?}");
        }
        let unnamed = with(jwk(alg, &json!({"use": "sig", "key_ops": ["verify"]})), &json!({"alg": null}));
        let (_file, hub) = key_set(&[unnamed]);
        let result = verify(&hub, &token(alg, &json!({"kid": "any"})), Purpose::Publish);
        assert!(result.is_ok(), "{alg:?}: {result:?}");
    }
}

#[test]
fn a_key_of_a_set_is_for_its_algorithms_only() {
    let refused = |keys: &[Value], alg: Alg, header: Value, check, words: &str| {
        let (_file, hub) = key_set(keys);
        let token = token(alg, &header);
        check_refused(verify(&hub, &token, Purpose::Publish), &token, check, words);
    };
    let rs256 = jwk(Alg::RS256, &json!({"kid": "r"}));
    let es256 = jwk(Alg::ES256, &json!({"kid": "e"}));
    refused(std::slice::from_ref(&rs256), Alg::PS256, json!({"kid": "r"}), Check::Algorithm, "PS256");
    refused(&[rs256.clone(), es256.clone()], Alg::ES256, json!({"kid": "r"}), Check::Algorithm, "ES256");
    refused(std::slice::from_ref(&rs256), Alg::ES256, json!({}), Check::Algorithm, "ES256");
    refused(&[rs256.clone(), es256], Alg::RS256, json!({"kid": "x"}), Check::KeyUnknown, "\"x\"");
    let stranger =
        mint(&json!({"alg": "HS256"}), &v0_claims(), Alg::HS256, &EncodingKey::from_secret(SUBSCRIBER));
    let (_file, hub) = key_set(&[rs256, jwk(Alg::HS256, &json!({}))]);
    check_refused(verify(&hub, &stranger, Purpose::Publish), &stranger, Check::Signature, "signature");
}

#[test]
fn keys_for_other_things_are_left_out() {
    let useless = [
        jwk(Alg::RS256, &json!({"use": "enc"})),
        jwk(Alg::RS256, &json!({"key_ops": ["sign"]})),
        jwk(Alg::RS256, &json!({"alg": "RSA-OAEP"})),
        jwk(Alg::RS256, &json!({"alg": "HS256"})),
        jwk(Alg::RS256, &json!({"n": "AQAB"})),
        jwk(Alg::RS256, &json!({"n": "!"})),
        jwk(Alg::ES256, &json!({"crv": "P-384"})),
        jwk(Alg::ES256, &json!({"x": "AQAB"})),
        jwk(Alg::EdDSA, &json!({"crv": "Ed448"})),
        jwk(Alg::HS256, &json!({"k": "AQAB"})),
        json!({"kty": "new"}),
        json!({"kty": "RSA"}),
        json!("key"),
        Value::Null,
    ];
    for key in &useless {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), json!({"keys": [key]}).to_string()).unwrap();
        let v0 =
            V0Config { publisher: Some(KeySource::JwksFile { path: file.path().to_owned() }), ..v0_config() };
        let errors = Authorizer::new(AuthConfig { v0: Some(v0), ..AuthConfig::default() }).unwrap_err();
        assert!(errors[0].rule.contains("none of its 1 keys"), "{key}: {errors:?}");
    }
    let (_file, hub) = key_set(&[&useless[..], &[jwk(Alg::ES384, &json!({}))]].concat());
    assert!(verify(&hub, &token(Alg::ES384, &json!({})), Purpose::Publish).is_ok());
}
