//! Keys as they are written in the configuration: the secret or PEM text itself, `@FILE` with either, a JWK Set.

use std::{fs, path::PathBuf};

use rivulet_http::auth::{Algorithm, AlgorithmError, KeySource, TrustedIssuer};
use url::Url;

/// Longer files are no keys.
const KEY_LEN_MAX: u64 = 64 * 1024;

/// A key for one algorithm: the secret, PEM text, or `@FILE` with either.
pub(crate) fn key(algorithm: Algorithm, text: &str) -> Result<KeySource, String> {
    let text = match text.strip_prefix('@') {
        Some(path) => read(path)?,
        None => text.to_owned(),
    };
    let is_pem = text.trim_start().starts_with("-----BEGIN ");
    match (algorithm.is_symmetric(), is_pem) {
        (true, true) => {
            Err(format!("is a PEM key, but {algorithm} takes a secret: name the key's algorithm"))
        }
        (false, false) => Err(format!("is not a PEM key (-----BEGIN …), which {algorithm} takes")),
        (true, false) if text.is_empty() => Err("is empty".to_owned()),
        (true, false) => Ok(KeySource::Secret { algorithm, secret: text.into_bytes() }),
        // In environment variables line ends are often written as \n.
        (false, true) => Ok(KeySource::Pem { algorithm, pem: text.replace("\\n", "\n") }),
    }
}

/// `ISSUER=jwks:URL`, `ISSUER=jwks:@FILE` or `ISSUER=ALG:KEY`.
pub(crate) fn issuer(text: &str) -> Result<TrustedIssuer, String> {
    const RULE: &str = "must be ISSUER=jwks:URL, ISSUER=jwks:@FILE or ISSUER=ALG:KEY";
    let (name, source) = text.split_once('=').ok_or(RULE)?;
    let (kind, place) = source.split_once(':').ok_or(RULE)?;
    if name.is_empty() || place.is_empty() {
        return Err(RULE.to_owned());
    }
    let keys = match (kind, place.strip_prefix('@')) {
        ("jwks", Some(path)) => jwks_file(path),
        ("jwks", None) => jwks_url(place)?,
        (name, _) => key(algorithm(name)?, place)?,
    };
    Ok(TrustedIssuer::new(name, keys))
}

/// The algorithm of this name.
pub(crate) fn algorithm(name: &str) -> Result<Algorithm, String> {
    name.parse().map_err(|error: AlgorithmError| error.to_string())
}

/// A JWK Set behind a URL.
pub(crate) fn jwks_url(text: &str) -> Result<KeySource, String> {
    let url = Url::parse(text).map_err(|error| format!("is not a URL: {error}"))?;
    if url.scheme() == "file" {
        return url
            .to_file_path()
            .map(|path| KeySource::JwksFile { path })
            .map_err(|()| "is not a file: URL".to_owned());
    }
    Ok(KeySource::JwksUrl { url })
}

/// A JWK Set in a file. It is read by those who use it, since it may change.
pub(crate) fn jwks_file(path: &str) -> KeySource {
    KeySource::JwksFile { path: PathBuf::from(path) }
}

/// Whether this is the key that everybody knows.
pub(crate) fn is_development_key(source: &KeySource) -> bool {
    matches!(source, KeySource::Secret { secret, .. } if secret == rivulet_http::auth::DEVELOPMENT_KEY.as_bytes())
}

/// The text of a key file, without the line end that editors and `echo` leave there.
pub(crate) fn read(path: &str) -> Result<String, String> {
    let length = fs::metadata(path).map_err(|error| format!("cannot be read from {path:?}: {error}"))?.len();
    if length > KEY_LEN_MAX {
        return Err(format!("cannot be read from {path:?}: a key has at most {KEY_LEN_MAX} bytes"));
    }
    let text = fs::read_to_string(path).map_err(|error| format!("cannot be read from {path:?}: {error}"))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn keys_must_fit_their_algorithm() {
        let check = |name: &str, text: &str, rule: &str| {
            let error = key(algorithm(name).unwrap(), text).unwrap_err();
            assert!(error.contains(rule), "{name} {text}: {error}");
        };
        assert!(algorithm("none").is_err());
        check("HS256", "-----BEGIN PUBLIC KEY-----", "takes a secret");
        check("RS256", "secret", "not a PEM key");
        check("HS256", "", "empty");
        check("HS256", "@/nonexistent/key", "cannot be read");
        let source = key(algorithm("HS512").unwrap(), "secret").unwrap();
        assert!(matches!(source, KeySource::Secret { secret, .. } if secret == b"secret"));
    }

    #[test]
    fn keys_are_read_from_files() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, "from a file").unwrap();
        let source = key(Algorithm::HS256, &format!("@{}", file.path().display())).unwrap();
        assert!(matches!(source, KeySource::Secret { secret, .. } if secret == b"from a file"));
    }

    #[test]
    fn issuers_name_their_keys() {
        let check = |text: &str, shown: Option<&str>| {
            let shown_now =
                issuer(text).ok().map(|issuer| format!("{} {:?}", issuer.issuer, issuer.publisher.unwrap()));
            assert_eq!(shown_now.as_deref(), shown, "{text}");
        };
        check(
            "https://a.example=jwks:https://a.example/k",
            Some("https://a.example JwksUrl(https://a.example/k)"),
        );
        check("https://a.example=jwks:@/k.json", Some("https://a.example JwksFile(/k.json)"));
        check("https://a.example=jwks:file:///k.json", Some("https://a.example JwksFile(/k.json)"));
        check("https://a.example=HS256:a=b:c", Some("https://a.example Secret(HS256, ***)"));
        check("https://a.example", None);
        check("https://a.example=secret", None);
        check("=HS256:secret", None);
        check("https://a.example=HS256:", None);
        check("https://a.example=XX:secret", None);
        check("https://a.example=jwks:nowhere", None);
    }
}
