//! The `MERCURE_*` variables of existing deployments, translated to settings. `settings::HELP` documents them.
//!
//! They are the environment of the reference hub's container image: its Caddyfile puts `MERCURE_EXTRA_DIRECTIVES` into
//! the hub's block, line by line, and binds the issuers of `MERCURE_TRUSTED_ISSUERS` to the two keys.

use std::collections::BTreeMap;

use crate::layers::{Environment, Found, Origin};

/// What a Mercure deployment's environment says.
#[derive(Debug, Default)]
pub(crate) struct Deployment {
    pub(crate) values: BTreeMap<&'static str, Found>,
    pub(crate) issuers: Option<Issuers>,
    pub(crate) mistakes: Vec<Mistake>,
    pub(crate) warnings: Vec<String>,
}

/// A mistake in that environment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    pub(crate) text: String,
    /// Whether it does not matter when another layer says where to listen.
    pub(crate) about_listen: bool,
}

/// 1.0 issuers that sign with the deployment's keys.
#[derive(Clone, Debug)]
pub(crate) struct Issuers {
    /// What `iss` may be.
    pub(crate) names: Vec<String>,
    /// Key and algorithm of those who publish.
    pub(crate) publisher: Option<(String, String)>,
    /// Key and algorithm of those who subscribe.
    pub(crate) subscriber: Option<(String, String)>,
}

const TRUSTED_ISSUERS: &str = "MERCURE_TRUSTED_ISSUERS";
const EXTRA_DIRECTIVES: &str = "MERCURE_EXTRA_DIRECTIVES";
const SERVER_NAME: &str = "SERVER_NAME";

/// Reads the variables. Empty ones count as not set: compose files pass them on like that.
pub(crate) fn read(environment: &Environment) -> Deployment {
    let given = |name: &str| environment.get(name).map(|text| text.trim()).filter(|text| !text.is_empty());
    let mut deployment = Deployment::default();
    let key = |role: &str| {
        let key = given(&format!("MERCURE_{role}_JWT_KEY"))?;
        let algorithm = given(&format!("MERCURE_{role}_JWT_ALG")).unwrap_or("HS256");
        Some((key.to_owned(), algorithm.to_owned()))
    };
    if let Some(names) = given(TRUSTED_ISSUERS) {
        deployment.issuers = Some(Issuers {
            names: names.split_whitespace().map(str::to_owned).collect(),
            publisher: key("PUBLISHER"),
            subscriber: key("SUBSCRIBER"),
        });
    } else {
        for (variable, name) in [
            ("MERCURE_PUBLISHER_JWT_KEY", "publisher-jwt-key"),
            ("MERCURE_PUBLISHER_JWT_ALG", "publisher-jwt-alg"),
            ("MERCURE_SUBSCRIBER_JWT_KEY", "subscriber-jwt-key"),
            ("MERCURE_SUBSCRIBER_JWT_ALG", "subscriber-jwt-alg"),
        ] {
            if let Some(text) = given(variable) {
                deployment.put(name, vec![text.to_owned()], variable);
            }
        }
    }
    if let Some(text) = given("MERCURE_RESOURCE_IDENTIFIER") {
        deployment.put("resource", vec![text.to_owned()], "MERCURE_RESOURCE_IDENTIFIER");
    }
    if let Some(text) = given(SERVER_NAME) {
        deployment.server_name(text);
    }
    if let Some(text) = given(EXTRA_DIRECTIVES) {
        for line in text.lines() {
            deployment.directive(line);
        }
    }
    deployment
}

impl Deployment {
    fn put(&mut self, name: &'static str, values: Vec<String>, variable: &str) {
        self.values.insert(name, Found { values, origin: Origin::Variable(variable.to_owned()) });
    }

    fn mistake(&mut self, text: String) {
        self.mistakes.push(Mistake { text, about_listen: false });
    }

    /// One line of the extra directives: a name and its arguments, a comment, or nothing.
    fn directive(&mut self, line: &str) {
        let mut words = words(line).into_iter();
        let Some(name) = words.next() else { return };
        let arguments: Vec<String> = words.collect();
        let (setting, arity) = match name.as_str() {
            "anonymous" => ("anonymous", Arity::None),
            "cors_origins" => ("cors-origin", Arity::Some),
            "publish_origins" => ("publish-origin", Arity::Some),
            "heartbeat" => ("heartbeat", Arity::One),
            "write_timeout" => ("lifetime", Arity::One),
            "dispatch_timeout" => ("write-deadline", Arity::One),
            "cookie_name" => ("cookie-name", Arity::One),
            "resource_identifier" => ("resource", Arity::One),
            "public_url" => ("hub-url", Arity::One),
            "subscriptions" => {
                let text = "the directive \"subscriptions\" of MERCURE_EXTRA_DIRECTIVES has no effect: \
                            this version has no subscription API and sends no subscription events";
                return self.warnings.push(text.to_owned());
            }
            _ => return self.mistake(format!("{EXTRA_DIRECTIVES}: the directive {name:?} is not known")),
        };
        match (arity, arguments.len()) {
            (Arity::None, 0) => self.put(setting, vec!["true".to_owned()], EXTRA_DIRECTIVES),
            (Arity::One, 1) | (Arity::Some, 1..) => self.put(setting, arguments, EXTRA_DIRECTIVES),
            (Arity::None, _) => self.mistake(format!("{EXTRA_DIRECTIVES}: {name} takes no argument")),
            (Arity::One, _) => self.mistake(format!("{EXTRA_DIRECTIVES}: {name} takes exactly one argument")),
            (Arity::Some, _) => {
                self.mistake(format!("{EXTRA_DIRECTIVES}: {name} takes at least one argument"))
            }
        }
    }

    /// `SERVER_NAME` holds site addresses of the reference hub's web server. Those without TLS are what we can serve: it
    /// binds them on all interfaces, and so do we. Host names are not checked, as behind any proxy.
    fn server_name(&mut self, text: &str) {
        let addresses = text.split([',', ' ', '\t']).filter(|address| !address.is_empty());
        let ports: Vec<_> = addresses.map(plain_port).collect();
        match ports.first() {
            Some(Some(port)) if ports.iter().all(|other| other == &Some(*port)) => {
                self.put("listen", vec![format!("0.0.0.0:{port}")], SERVER_NAME);
            }
            _ => self.mistakes.push(Mistake {
                text: format!(
                    "{SERVER_NAME} {text:?} must be :PORT or http://HOST[:PORT], all with one port: Rivulet gets \
                     no certificates by itself; put a proxy in front of it, or say --listen, --tls-cert-file and \
                     --tls-key-file"
                ),
                about_listen: true,
            }),
        }
    }
}

/// How many arguments a directive takes.
#[derive(Clone, Copy)]
enum Arity {
    None,
    One,
    Some,
}

/// The port of a site address without TLS: `:80`, `:3000`, `http://host`, `http://host:3000`, `host:80`.
fn plain_port(address: &str) -> Option<u16> {
    let (plain, rest) = match address.split_once("://") {
        Some(("http", rest)) => (true, rest),
        Some(_) => return None,
        None => (address.starts_with(':'), address),
    };
    let rest = rest.trim_end_matches('/');
    let port = match rest.rsplit_once(':') {
        Some((_, port)) => port.parse().ok()?,
        None if plain => 80,
        None => return None,
    };
    (port != 443 && (plain || port == 80)).then_some(port)
}

/// Splits a line as a Caddyfile is split: by white space, with quotes, up to a comment.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next() {
        let (word, after) = match first {
            '#' => break,
            '"' | '`' => rest[1..].split_once(first).unwrap_or((&rest[1..], "")),
            _ => rest.split_once(char::is_whitespace).unwrap_or((rest, "")),
        };
        words.push(word.to_owned());
        rest = after.trim_start();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Deployment {
        read(&variables.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect())
    }

    #[test]
    fn directives_become_settings() {
        let text = "\n anonymous # for all\n cors_origins https://a.example \"https://b.example\"\n \
                    publish_origins *\n \
                    heartbeat 40s\n write_timeout 600s\ndispatch_timeout 5s\ncookie_name `c`\n";
        let deployment = of(&[(EXTRA_DIRECTIVES, text)]);
        assert!(deployment.mistakes.is_empty(), "{:?}", deployment.mistakes);
        let check =
            |name: &str, values: &[&str]| assert_eq!(deployment.values[name].values, values, "{name}");
        check("anonymous", &["true"]);
        check("cors-origin", &["https://a.example", "https://b.example"]);
        check("publish-origin", &["*"]);
        check("heartbeat", &["40s"]);
        check("lifetime", &["600s"]);
        check("write-deadline", &["5s"]);
        check("cookie-name", &["c"]);
    }

    #[test]
    fn unknown_directives_and_wrong_arguments_are_all_named() {
        let deployment = of(&[(
            EXTRA_DIRECTIVES,
            "transport bolt\nheartbeat\nanonymous yes\ncors_origins\nsubscriptions",
        )]);
        let texts: Vec<_> = deployment.mistakes.iter().map(|mistake| mistake.text.as_str()).collect();
        assert_eq!(texts.len(), 4, "{texts:?}");
        assert!(texts[0].contains("\"transport\""), "{texts:?}");
        assert!(deployment.warnings[0].contains("subscription API"));
    }

    #[test]
    fn the_server_name_is_an_address_to_listen_on() {
        let check = |text: &str, listen: Option<&str>| {
            let deployment = of(&[(SERVER_NAME, text)]);
            let found = deployment.values.get("listen").map(|found| found.values[0].as_str());
            assert_eq!(found, listen, "{text}");
            assert_eq!(deployment.mistakes.len(), usize::from(listen.is_none()), "{text}");
        };
        check(":80", Some("0.0.0.0:80"));
        check(":3000", Some("0.0.0.0:3000"));
        check("http://localhost", Some("0.0.0.0:80"));
        check("http://localhost:3000", Some("0.0.0.0:3000"));
        check("http://localhost http://mercure", Some("0.0.0.0:80"));
        check("hub.example:80", Some("0.0.0.0:80"));
        check("localhost", None);
        check("https://hub.example", None);
        check(":443", None);
        check(":80, :81", None);
        check(":x", None);
    }

    #[test]
    fn with_trusted_issuers_the_keys_are_theirs() {
        let keys = [
            ("MERCURE_PUBLISHER_JWT_KEY", "p"),
            ("MERCURE_SUBSCRIBER_JWT_KEY", "s"),
            ("MERCURE_SUBSCRIBER_JWT_ALG", "HS512"),
        ];
        let deployment = of(&keys);
        assert_eq!(deployment.values["publisher-jwt-key"].values, ["p"]);
        assert!(deployment.issuers.is_none());
        let deployment =
            of(&[&keys[..], &[(TRUSTED_ISSUERS, "https://a.example https://b.example")]].concat());
        let issuers = deployment.issuers.unwrap();
        assert!(!deployment.values.contains_key("publisher-jwt-key"));
        assert_eq!(issuers.names, ["https://a.example", "https://b.example"]);
        assert_eq!(issuers.publisher, Some(("p".into(), "HS256".into())));
        assert_eq!(issuers.subscriber, Some(("s".into(), "HS512".into())));
    }
}
