//! Mistakes in the configuration: each is found, and all at once.

use super::*;

fn errors(config: AuthConfig) -> Vec<String> {
    Authorizer::new(config).err().unwrap_or_default().iter().map(ToString::to_string).collect()
}

fn of_key(source: KeySource) -> Vec<String> {
    let v0 = V0Config { publisher: Some(source), subscriber: None, ..v0_config() };
    errors(AuthConfig { v0: Some(v0), ..AuthConfig::default() })
}

fn check_key(source: &KeySource, words: &str) {
    let errors = of_key(source.clone());
    assert_eq!(errors.len(), 1, "{source:?}: {errors:?}");
    assert!(errors[0].starts_with("v0.publisher: "), "{errors:?}");
    assert!(errors[0].contains(words), "{words:?} is not in {errors:?}");
}

fn pem(name: &str, pem: &str) -> KeySource {
    KeySource::Pem { algorithm: algorithm(name), pem: pem.to_owned() }
}

#[test]
fn keys_fit_their_algorithm() {
    let secret =
        |name: &str, secret: &[u8]| KeySource::Secret { algorithm: algorithm(name), secret: secret.to_vec() };
    check_key(&secret("HS256", b""), "at least 32 bytes");
    check_key(&secret("HS256", &[7; 31]), "this one has 31");
    check_key(&secret("HS384", &[7; 47]), "at least 48 bytes");
    check_key(&secret("HS512", &[7; 63]), "at least 64 bytes");
    check_key(&secret("RS256", PUBLISHER), "needs a public key");
    check_key(&secret("HS256", include_bytes!("keys/rsa.public.pem")), "is a PEM key");
    assert!(of_key(secret("HS256", DEVELOPMENT_KEY.as_bytes())).is_empty(), "the binary refuses it, not we");
    let (rsa, ec256) = (include_str!("keys/rsa.public.pem"), include_str!("keys/ec256.public.pem"));
    check_key(&pem("HS256", rsa), "needs a shared secret");
    check_key(&pem("ES256", rsa), "no public key for ES256");
    check_key(&pem("RS256", ec256), "no public key for RS256");
    check_key(&pem("EdDSA", ec256), "no public key for EdDSA");
    check_key(&pem("ES384", ec256), "ES384 one on P-384");
    check_key(&pem("ES256", include_str!("keys/ec384.public.pem")), "P-256");
    check_key(&pem("PS512", include_str!("keys/rsa1024.public.pem")), "this one has 1024");
    check_key(&pem("RS256", RSA), "private key");
    check_key(&pem("RS256", "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"), "\"PUBLIC KEY\"");
    check_key(&pem("RS256", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"), "no public key");
    check_key(&pem("RS256", ""), "\"PUBLIC KEY\"");
}

#[test]
fn key_sets_are_readable() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &[u8]| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        KeySource::JwksFile { path }
    };
    check_key(&KeySource::JwksFile { path: directory.path().join("missing") }, "cannot be opened");
    check_key(&file("text", b"keys"), "not a JSON Web Key Set");
    check_key(&file("array", b"[]"), "not a JSON Web Key Set");
    check_key(&file("empty", b"{\"keys\": []}"), "none of its 0 keys");
    check_key(&file("many", json!({"keys": vec![0; 101]}).to_string().as_bytes()), "at most 100 keys");
    check_key(&file("long", &vec![b' '; 1024 * 1024 + 1]), "at most 1048576 bytes");
    let at = |text: &str| KeySource::JwksUrl { url: url(text) };
    check_key(&at("http://issuer.example/keys"), "must be https");
    check_key(&at("ftp://localhost/keys"), "must be https");
    check_key(&at("http://localhost.evil.example/"), "must be https");
    for text in
        ["https://issuer.example/keys", "http://127.0.0.1:9/k", "http://[::1]/k", "http://localhost/k"]
    {
        assert!(of_key(at(text)).is_empty(), "{text}");
    }
}

#[test]
fn every_mistake_is_reported_at_once() {
    let v0 = V0Config { publisher: None, subscriber: None, cookie_name: "a b".to_owned() };
    let issuer = |name: &str, source: Option<KeySource>| TrustedIssuer {
        issuer: name.to_owned(),
        publisher: source,
        subscriber: None,
    };
    let v1 = V1Config {
        resource: url("ftp://hub.example"),
        issuers: vec![
            issuer("", Some(secret(b"short"))),
            issuer("a", None),
            issuer("a", Some(secret(PUBLISHER))),
        ],
        cookie_name: String::new(),
    };
    let errors = errors(AuthConfig { v0: Some(v0), v1: Some(v1), ..AuthConfig::default() });
    let fields: Vec<&str> = errors.iter().map(|error| error.split_once(": ").unwrap().0).collect();
    assert_eq!(
        fields,
        [
            "v0.cookie_name",
            "v0",
            "v1.cookie_name",
            "v1.resource",
            "v1.issuers[0].issuer",
            "v1.issuers[0].publisher",
            "v1.issuers[1]",
            "v1.issuers[2].issuer"
        ]
    );
    let none = V1Config { issuers: Vec::new(), resource: url("https://hub.example/#a"), ..v1_config() };
    let errors = super::configuration::errors(AuthConfig { v1: Some(none), ..AuthConfig::default() });
    assert_eq!(errors.len(), 2, "{errors:?}");
}

#[test]
fn a_configuration_never_shows_its_keys() {
    let config = AuthConfig { v0: Some(v0_config()), v1: Some(v1_config()), ..AuthConfig::default() };
    let with_user = KeySource::JwksUrl { url: url("https://user:hunter2@issuer.example/keys?token=1") };
    let authorizer = Authorizer::new(config.clone()).unwrap();
    for shown in [format!("{config:?}"), format!("{authorizer:?}"), format!("{with_user:?}")] {
        for word in ["made for tests", "97, 32", "hunter2", "token=1"] {
            assert!(!shown.contains(word), "{shown}");
        }
    }
}

#[test]
fn algorithms_have_names() {
    for name in [
        "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384",
        "EdDSA",
    ] {
        assert_eq!(algorithm(name).to_string(), name);
    }
    for name in ["none", "", "hs256", "ES512", "ES256K", "A128KW"] {
        assert_eq!(name.parse::<Algorithm>(), Err(AlgorithmError(name.to_owned())));
    }
}
