//! What is accepted, what is refused, and that every mistake is told at once.

mod limits;

use std::io::Write as _;

use super::*;
use crate::cli;

const SECRET: &str = "--publisher-jwt-key=aKeyThatIsLongEnoughForEveryHmac-0123456789abcdefghijklmnopqrst";

fn read(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Config, Vec<String>> {
    let matches = cli::command().try_get_matches_from([&["rivulet"], arguments].concat()).unwrap();
    let environment = environment.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    Config::read(&matches, &environment)
}

fn mistakes(arguments: &[&str], environment: &[(&str, &str)]) -> Vec<String> {
    read(arguments, environment).err().unwrap_or_default()
}

#[test]
fn development_mode_needs_nothing() {
    let config = read(&["--dev"], &[]).unwrap();
    assert_eq!(config.mode, Mode::Development);
    assert_eq!(config.listen.to_string(), "127.0.0.1:3000");
    assert_eq!(config.admin_listen.to_string(), "127.0.0.1:9180");
    assert_eq!(config.heartbeat, Some(Duration::from_secs(15)));
    assert_eq!(config.lifetime, Some(Duration::from_secs(600)));
    assert_eq!(config.write_deadline, Duration::from_secs(20));
    assert_eq!(config.body_limit, 1 << 20);
    assert_eq!(config.memory_max, MemoryMax::Auto);
    let tracing = Tracing { updates: rivulet_node::TraceUpdates::Child, expose: false };
    assert_eq!(config.tracing, tracing);
    assert!(config.admin_tls.is_none());
    assert_eq!(config.cors, CorsPolicy::AnyWithoutCredentials);
    assert!(config.anonymous);
    let v1 = config.authorizer.v1().unwrap();
    assert_eq!(v1.resource.as_str(), "https://localhost/.well-known/mercure");
    assert_eq!(v1.issuers[0].issuer, "https://localhost");
    assert_eq!(v1.cookie_name, "mercure_access_token");
}

#[test]
fn without_keys_it_says_what_to_configure() {
    let mistakes = mistakes(&[], &[]);
    assert_eq!(mistakes.len(), 1, "{mistakes:?}");
    for part in ["--publisher-jwt-key", "--subscriber-jwt-key", "--trusted-issuer", "--dev"] {
        assert!(mistakes[0].contains(part), "{mistakes:?}");
    }
}

#[test]
fn the_development_key_is_refused_wherever_it_comes_from() {
    let key = "!ChangeThisMercureHubJWTSecretKey!";
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "{key}").unwrap();
    let in_file = format!("--publisher-jwt-key=@{}", file.path().display());
    let flag = format!("--subscriber-jwt-key={key}");
    let issuer = format!("--trusted-issuer=https://a.example=HS256:{key}");
    let resource = "--resource=https://hub.example/";
    let check = |arguments: &[&str], environment: &[(&str, &str)]| {
        let mistakes = mistakes(arguments, environment);
        assert!(
            mistakes.len() == 1 && mistakes[0].contains("development key"),
            "{arguments:?}: {mistakes:?}"
        );
        assert!(!mistakes[0].contains(key));
    };
    check(&[SECRET, &flag], &[]);
    check(&[&in_file], &[]);
    check(&[&issuer, resource], &[]);
    check(&[], &[("MERCURE_PUBLISHER_JWT_KEY", key)]);
    check(
        &[resource],
        &[("MERCURE_SUBSCRIBER_JWT_KEY", key), ("MERCURE_TRUSTED_ISSUERS", "https://a.example")],
    );
}

#[test]
fn every_wrong_value_is_named_with_its_rule() {
    let check = |argument: &str, rule: &str| {
        let mistakes = mistakes(&[SECRET, argument], &[]);
        let name = argument.split('=').next().unwrap();
        assert_eq!(mistakes.len(), 1, "{argument}: {mistakes:?}");
        assert!(mistakes[0].contains(name) && mistakes[0].contains(rule), "{argument}: {mistakes:?}");
    };
    check("--listen=3000", "an IP address and a port");
    check("--admin-listen=", "an IP address and a port");
    check("--redis-url=redis:6379", "looks like redis://");
    check("--redis-partitions=129", "must be auto or 1 to 128");
    check("--redis-wait-replicas=-1", "must be 0 to 16");
    check("--redis-wait-timeout=0", "must be 1ms to 1m");
    check("--redis-ca-file=/nowhere", "cannot be read");
    check("--redis-ca-file=Cargo.toml", "holds no CERTIFICATE");
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"-----BEGIN PRIVATE KEY-----\n").unwrap();
    check(&format!("--redis-key-file={}", file.path().display()), "go together");
    check("--redis-prefix={a}", "letters, digits");
    check("--workers=0", "must be auto or 1 to 64");
    check("--workers=65", "must be auto or 1 to 64");
    check("--hub-url=hub.example", "http or https");
    check("--subscriber-jwt-alg=none", "not an algorithm");
    check("--publisher-jwks-url=https://a.example/k", "exclude each other");
    check("--trusted-issuer=https://a.example", "must be ISSUER=");
    check("--resource=hub", "relative URL");
    check("--anonymous=perhaps", "true or false");
    check("--cors-origin=https://a.example/path", "not an origin");
    check("--publish-origin=null", "not an origin");
    check("--cookie-name=a b", "RFC 6265");
    check("--trace-updates=both", "must be child or link");
    check("--expose-trace=perhaps", "true or false");
    check("--heartbeat=15", "numbers with units");
    check("--lifetime=10ms", "must be 0 (off) or at least 1s");
    check("--write-deadline=0", "must be 1s to 10m");
    check("--retention-age=-1s", "");
    check("--retention-count=0", "at least 1");
    check("--body-limit=1.5MiB", "number of bytes");
    check("--body-limit=2GiB", "bytes");
    check("--connections-max=0", "auto or a whole number");
    check("--memory-max=half", "must be auto, 0 (no limit) or a number of bytes");
    check("--memory-max=63MiB", "from 64MiB on");
    check("--send-buffer=1KiB", "bytes");
    check("--log-format=xml", "pretty or json");
    check("--log-level=a=b=c", "must be error, warn");
    check("--config=/nonexistent/rivulet.toml", "cannot be read");
}

#[test]
fn memory_is_limited_by_the_container_or_by_a_size_or_not_at_all() {
    let check = |text: &str, expected: MemoryMax| {
        let config = read(&[SECRET, &format!("--memory-max={text}")], &[]).unwrap();
        assert_eq!(config.memory_max, expected, "{text}");
    };
    check("auto", MemoryMax::Auto);
    check("0", MemoryMax::Unlimited);
    check("64MiB", MemoryMax::Bytes(64 << 20));
    check("2GB", MemoryMax::Bytes(2_000_000_000));
}

#[test]
fn all_mistakes_are_told_at_once_with_their_origin() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "lifetime = '5'\nretention = 5").unwrap();
    let path = file.path().display().to_string();
    let environment = [
        ("RIVULET_HEARTBEAT", "5"),
        ("MERCURE_EXTRA_DIRECTIVES", "frobnicate\ndispatch_timeout x"),
        ("SERVER_NAME", "localhost"),
    ];
    let mistakes = mistakes(&["--body-limit=x", "--config", &path], &environment);
    for part in [
        "--body-limit \"x\" must",
        "--heartbeat \"5\" (from RIVULET_HEARTBEAT)",
        "--write-deadline \"x\" (from MERCURE_EXTRA_DIRECTIVES)",
        "--lifetime \"5\" (from configuration file)",
        "no setting named \"retention\"",
        "\"frobnicate\"",
        "SERVER_NAME \"localhost\"",
        "no keys are configured",
    ] {
        assert!(mistakes.iter().any(|mistake| mistake.contains(part)), "{part} is not in {mistakes:#?}");
    }
    assert_eq!(mistakes.len(), 8, "{mistakes:#?}");
}

#[test]
fn secrets_are_not_in_messages() {
    let arguments = [
        "--publisher-jwt-key=aVerySecretKey",
        "--publisher-jwt-alg=RS256",
        "--trusted-issuer=a=aVerySecretKey",
    ];
    let mistakes = mistakes(&arguments, &[]);
    assert!(mistakes.len() >= 2 && !mistakes.concat().contains("aVerySecretKey"), "{mistakes:?}");
}

#[test]
fn a_mercure_deployment_starts_as_it_is() {
    let key = "aKeyThatIsLongEnoughForEveryHmac-0123456789abcdefghijklmnopqrst";
    let keys =
        [("MERCURE_PUBLISHER_JWT_KEY", key), ("MERCURE_SUBSCRIBER_JWT_KEY", key), ("SERVER_NAME", ":80")];
    let extra = (
        "MERCURE_EXTRA_DIRECTIVES",
        "anonymous\ncors_origins http://localhost:8000\nsubscriptions\nheartbeat 40s",
    );
    let config = read(&[], &[&keys[..], &[extra]].concat()).unwrap();
    assert_eq!(config.listen.to_string(), "0.0.0.0:80");
    assert_eq!(config.heartbeat, Some(Duration::from_secs(40)));
    assert_eq!(config.cors, CorsPolicy::Listed(vec!["http://localhost:8000".to_owned()]));
    assert!(config.anonymous && config.authorizer.v1().is_none());
    assert_eq!(config.warnings.len(), 1);

    let v1 = [
        ("MERCURE_TRUSTED_ISSUERS", "https://app.example"),
        ("MERCURE_RESOURCE_IDENTIFIER", "https://hub.example/m"),
    ];
    let config =
        read(&["--listen=127.0.0.1:0"], &[&keys[..2], &v1, &[("SERVER_NAME", "localhost")]].concat())
            .unwrap();
    let found = config.authorizer.v1().unwrap();
    assert_eq!(
        (found.resource.as_str(), found.issuers[0].issuer.as_str()),
        ("https://hub.example/m", "https://app.example")
    );
    let mistakes = mistakes(&[], &[&keys[..2], &v1[..1]].concat());
    assert!(mistakes.len() == 1 && mistakes[0].contains("--resource"), "{mistakes:?}");
}

#[test]
fn a_small_quota_that_goes_on_in_shares_is_warned_of() {
    let warnings = |given: &[&str]| {
        let given = [&["--dev"][..], given].concat();
        read(&given, &[]).unwrap().warnings
    };
    let redis = "--redis-url=redis://127.0.0.1:6379";
    let found = warnings(&[redis, "--limit-connections-per-subject=9", "--limit-connections-per-ip=10"]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("--limit-connections-per-subject is 9: while Redis is away"), "{found:?}");
    let closed = ["--limit-connections-per-subject=9", "--limit-closed=connections-per-subject"];
    assert_eq!(warnings(&[&[redis][..], &closed].concat()), Vec::<String>::new());
    assert_eq!(warnings(&["--limit-connections-per-subject=9"]), Vec::<String>::new(), "alone it is exact");
}
