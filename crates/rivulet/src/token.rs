//! `rivulet token`: makes tokens of either dialect, for development and for trying things out.

use std::{
    io::Write as _,
    time::{SystemTime, UNIX_EPOCH},
};

use clap::{Args, ValueEnum};
use jsonwebtoken::{Algorithm, AlgorithmFamily, EncodingKey, Header};
use serde_json::{Value, json};

use crate::{
    exit::{Code, Failure},
    keys, quantity,
};

/// Makes a token and prints it.
#[derive(Args, Debug)]
#[command(about = "Makes a token for development and prints it")]
pub(crate) struct TokenArgs {
    /// Dialect of the protocol
    #[arg(long, value_enum, default_value = "1.0")]
    dialect: TokenDialect,
    /// Topic that the bearer may publish to, or *; 0.x: also a URI Template; 1.0: urlpattern:PATTERN is a URL Pattern
    #[arg(long, value_name = "SELECTOR")]
    publish: Vec<String>,
    /// Topic whose private updates the bearer may receive, written as for --publish
    #[arg(long, value_name = "SELECTOR")]
    subscribe: Vec<String>,
    /// Key to sign with: the secret, or the PEM text of a private key, or @FILE with either
    #[arg(long, env = "RIVULET_TOKEN_KEY", hide_env_values = true, default_value = rivulet_http::auth::DEVELOPMENT_KEY)]
    key: String,
    /// Algorithm to sign with
    #[arg(long, default_value = "HS256")]
    alg: String,
    /// 1.0: issuer (claim iss)
    #[arg(long, default_value = "https://localhost")]
    issuer: String,
    /// 1.0: the hub's resource identifier (claim aud)
    #[arg(long, default_value = rivulet_http::DEFAULT_HUB_URL)]
    audience: String,
    /// How long it is valid; 0 = for ever (0.x only)
    #[arg(long, value_name = "DURATION", default_value = "1h")]
    ttl: String,
    /// Who it is about (claim sub)
    #[arg(long, default_value = "developer")]
    subject: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum TokenDialect {
    #[value(name = "0.x")]
    V0,
    #[value(name = "1.0")]
    V1,
}

/// Runs the command.
pub(crate) fn run(args: &TokenArgs) -> Result<(), Failure> {
    let token = make(args, SystemTime::now())?;
    let result = writeln!(std::io::stdout(), "{token}");
    result.map_err(|error| Failure::new(Code::Io, format!("standard output: {error}")))
}

fn make(args: &TokenArgs, now: SystemTime) -> Result<String, Failure> {
    if args.publish.is_empty() && args.subscribe.is_empty() {
        return Err(Failure::usage(
            "say what the token allows: --publish and --subscribe, both may be repeated",
        ));
    }
    let ttl = quantity::duration(&args.ttl)
        .map_err(|rule| Failure::usage(format!("--ttl {:?} {rule}", args.ttl)))?;
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let expiry = (!ttl.is_zero()).then(|| (now + ttl).as_secs());
    let algorithm: Algorithm = args
        .alg
        .parse()
        .map_err(|_| Failure::usage(format!("--alg {:?} is not an algorithm for tokens", args.alg)))?;
    let mut header = Header::new(algorithm);
    let claims = match (args.dialect, expiry) {
        (TokenDialect::V0, expiry) => v0_claims(args, now.as_secs(), expiry),
        (TokenDialect::V1, Some(expiry)) => {
            header.typ = Some("at+jwt".to_owned());
            v1_claims(args, now.as_secs(), expiry)
        }
        (TokenDialect::V1, None) => return Err(Failure::usage("--ttl 0: tokens of dialect 1.0 must expire")),
    };
    let key = signing_key(algorithm, &args.key)?;
    jsonwebtoken::encode(&header, &claims, &key)
        .map_err(|error| Failure::usage(format!("--key does not sign with {}: {error}", args.alg)))
}

fn v0_claims(args: &TokenArgs, now: u64, expiry: Option<u64>) -> Value {
    let mut claims = json!({
        "sub": args.subject,
        "iat": now,
        "mercure": { "publish": args.publish, "subscribe": args.subscribe },
    });
    if let Some(expiry) = expiry {
        claims["exp"] = expiry.into();
    }
    claims
}

/// An access token as RFC 9068 wants it, with RFC 9396 details.
fn v1_claims(args: &TokenArgs, now: u64, expiry: u64) -> Value {
    let details = [("publish", &args.publish), ("subscribe", &args.subscribe)].into_iter();
    let details = details.filter(|(_, selectors)| !selectors.is_empty()).map(|(action, selectors)| {
        let topics: Vec<_> = selectors.iter().map(|selector| topic(selector)).collect();
        json!({ "type": "https://mercure.rocks/authorization-detail", "actions": [action], "topics": topics })
    });
    json!({
        "iss": args.issuer,
        "aud": args.audience,
        "sub": args.subject,
        "client_id": "rivulet",
        "iat": now,
        "exp": expiry,
        "jti": format!("{:032x}", rand::random::<u128>()),
        "authorization_details": details.collect::<Vec<_>>(),
    })
}

fn topic(selector: &str) -> Value {
    match selector.strip_prefix("urlpattern:") {
        Some(pattern) => json!({ "match": pattern, "match_type": "urlpattern" }),
        None => json!({ "match": selector }),
    }
}

fn signing_key(algorithm: Algorithm, text: &str) -> Result<EncodingKey, Failure> {
    let text = match text.strip_prefix('@') {
        Some(path) => keys::read(path).map_err(|rule| Failure::usage(format!("--key {rule}")))?,
        None => text.to_owned(),
    };
    let key = match algorithm.family() {
        AlgorithmFamily::Hmac => Ok(EncodingKey::from_secret(text.as_bytes())),
        AlgorithmFamily::Rsa => EncodingKey::from_rsa_pem(text.as_bytes()),
        AlgorithmFamily::Ec => EncodingKey::from_ec_pem(text.as_bytes()),
        AlgorithmFamily::Ed => EncodingKey::from_ed_pem(text.as_bytes()),
    };
    key.map_err(|_| Failure::usage(format!("--key is not a private key in PEM form for {algorithm:?}")))
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches as _;
    use jsonwebtoken::{DecodingKey, Validation};

    use super::*;
    use crate::cli;

    fn make_with(arguments: &[&str]) -> Result<(Header, Value), Failure> {
        let matches =
            cli::command().try_get_matches_from([&["rivulet", "token"], arguments].concat()).unwrap();
        let args = TokenArgs::from_arg_matches(matches.subcommand_matches("token").unwrap()).unwrap();
        let token = make(&args, SystemTime::now())?;
        let mut validation = Validation::new(args.alg.parse().unwrap());
        validation.required_spec_claims.clear();
        validation.validate_aud = false;
        let key = DecodingKey::from_secret(args.key.as_bytes());
        let data = jsonwebtoken::decode::<Value>(&token, &key, &validation).unwrap();
        Ok((data.header, data.claims))
    }

    #[test]
    fn a_1_0_token_is_an_access_token_of_the_development_issuer() {
        let arguments = ["--publish=https://a.example/1", "--subscribe=urlpattern:/b/:id", "--ttl=10m"];
        let (header, claims) = make_with(&arguments).unwrap();
        assert_eq!(header.typ.as_deref(), Some("at+jwt"));
        assert_eq!(claims["iss"], "https://localhost");
        assert_eq!(claims["aud"], "https://localhost/.well-known/mercure");
        assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 600);
        let details = &claims["authorization_details"];
        assert_eq!(details[0]["actions"], json!(["publish"]));
        assert_eq!(details[0]["topics"], json!([{ "match": "https://a.example/1" }]));
        assert_eq!(details[1]["topics"], json!([{ "match": "/b/:id", "match_type": "urlpattern" }]));
    }

    #[test]
    fn a_0_x_token_has_the_mercure_claim_and_may_be_valid_for_ever() {
        let arguments = ["--dialect=0.x", "--subscribe=/b/{id}", "--ttl=0", "--alg=HS512", "--key=secret"];
        let (header, claims) = make_with(&arguments).unwrap();
        assert_eq!((header.typ.as_deref(), header.alg), (Some("JWT"), Algorithm::HS512));
        assert_eq!(claims["mercure"], json!({ "publish": [], "subscribe": ["/b/{id}"] }));
        assert_eq!(claims.get("exp"), None);
    }

    #[test]
    fn what_cannot_be_a_token_is_refused() {
        let check = |arguments: &[&str], rule: &str| {
            let failure = make_with(arguments).unwrap_err();
            assert!(
                failure.code == Code::Usage && failure.message.contains(rule),
                "{arguments:?}: {failure}"
            );
        };
        check(&[], "--publish and --subscribe");
        check(&["--publish=*", "--ttl=0"], "must expire");
        check(&["--publish=*", "--ttl=1"], "--ttl");
        check(&["--publish=*", "--alg=none"], "--alg");
        check(&["--publish=*", "--alg=RS256"], "private key");
    }
}
