//! Which tokens the hub accepts: keys of 0.x, issuers of 1.0, and what must not be configured.

use rivulet_http::auth::{
    Algorithm, AuthConfig, Authorizer, COOKIE_NAME_V0, COOKIE_NAME_V1, COOKIE_NAME_V1_DEVELOPMENT, KeySource,
    TrustedIssuer, V0Config, V1Config, check_limits_claim,
};
use url::Url;

use super::{Mode, reader::Reader, values};
use crate::{keys, mercure};

impl Reader<'_> {
    /// Both dialects' tokens. `None`: there is a mistake.
    pub(super) fn tokens(&mut self, mode: Mode, hub_url: Option<&Url>) -> Option<Authorizer> {
        let mistakes_before = self.mistakes.len();
        let publisher = self.keys("publisher");
        let subscriber = self.keys("subscriber");
        let issuers = self.issuers();
        if mode == Mode::Production {
            self.refuse_development_key([&publisher, &subscriber], &issuers);
        }
        let resource = self.resource(&issuers, hub_url);
        let cookie_name = self.value("cookie-name", values::cookie_name);
        let limits_claim =
            self.value("limits-claim", |name| check_limits_claim(name).map(|()| name.to_owned()));
        if self.mistakes.len() > mistakes_before {
            return None;
        }
        if publisher.is_none() && subscriber.is_none() && issuers.is_empty() {
            let text = "no keys are configured: say --publisher-jwt-key and --subscriber-jwt-key (0.x tokens) or \
                        --trusted-issuer and --resource (1.0 tokens), or use --dev for development";
            self.mistakes.push(text.to_owned());
            return None;
        }
        let default_v1 = match mode {
            Mode::Development => COOKIE_NAME_V1_DEVELOPMENT,
            Mode::Production => COOKIE_NAME_V1,
        };
        let cookie = |default: &str| cookie_name.clone().unwrap_or_else(|| default.to_owned());
        let v0 = (publisher.is_some() || subscriber.is_some()).then(|| V0Config {
            publisher,
            subscriber,
            cookie_name: cookie(COOKIE_NAME_V0),
        });
        let v1 = resource.filter(|_| !issuers.is_empty()).map(|resource| V1Config {
            resource,
            issuers,
            cookie_name: cookie(default_v1),
        });
        let config = AuthConfig { v0, v1, limits_claim, ..AuthConfig::default() };
        let authorizer = match self.before {
            Some(before) => Authorizer::succeeding(before, config),
            None => Authorizer::new(config),
        };
        authorizer.map_err(|errors| self.mistakes.extend(errors.iter().map(|e| format!("tokens: {e}")))).ok()
    }

    /// What must stand in the `aud` of 1.0 tokens. A default would be the same for all hubs of the world.
    fn resource(&mut self, issuers: &[TrustedIssuer], hub_url: Option<&Url>) -> Option<Url> {
        if self.is_given("resource") {
            return self.value("resource", Url::parse);
        }
        if self.is_given("hub-url") {
            return hub_url.cloned();
        }
        if !issuers.is_empty() {
            let text = "1.0 issuers (--trusted-issuer, MERCURE_TRUSTED_ISSUERS) need --resource or --hub-url: what \
                        must stand in the aud of their tokens";
            self.mistakes.push(text.to_owned());
        }
        None
    }

    /// The keys of one role's 0.x tokens.
    fn keys(&mut self, role: &str) -> Option<KeySource> {
        let [key, algorithm, url, file] =
            ["jwt-key", "jwt-alg", "jwks-url", "jwks-file"].map(|end| format!("{role}-{end}"));
        if [&key, &url, &file].iter().filter(|name| self.is_given(name)).count() > 1 {
            self.mistakes.push(format!("--{key}, --{url} and --{file} exclude each other"));
            return None;
        }
        let algorithm: Algorithm = self.value(&algorithm, str::parse)?;
        self.value(&key, |text| keys::key(algorithm, text))
            .or_else(|| self.value(&url, keys::jwks_url))
            .or_else(|| self.value(&file, |path| Ok::<_, String>(keys::jwks_file(path))))
    }

    fn issuers(&mut self) -> Vec<TrustedIssuer> {
        let layers = self.layers;
        if let Some(given) = &layers.mercure_issuers {
            return self.mercure_issuers(given);
        }
        let mut issuers = Vec::new();
        for text in layers.get("trusted-issuer").map_or(&[][..], |found| &found.values) {
            match keys::issuer(text) {
                Ok(issuer) => issuers.push(issuer),
                Err(rule) => self.wrong("trusted-issuer", text, &rule),
            }
        }
        issuers
    }

    fn mercure_issuers(&mut self, given: &mercure::Issuers) -> Vec<TrustedIssuer> {
        let mut role = |name: &str, key: &Option<(String, String)>| {
            let (key, algorithm) = key.as_ref()?;
            let source = keys::algorithm(algorithm).and_then(|algorithm| keys::key(algorithm, key));
            source.map_err(|rule| self.mistakes.push(format!("MERCURE_{name}_JWT_KEY \"***\": {rule}"))).ok()
        };
        let publisher = role("PUBLISHER", &given.publisher);
        let subscriber = role("SUBSCRIBER", &given.subscriber);
        if given.publisher.is_none() && given.subscriber.is_none() {
            let text = "MERCURE_TRUSTED_ISSUERS needs MERCURE_PUBLISHER_JWT_KEY or MERCURE_SUBSCRIBER_JWT_KEY: \
                        the keys of its issuers";
            self.mistakes.push(text.to_owned());
        }
        let issuer = |name: &String| TrustedIssuer {
            issuer: name.clone(),
            publisher: publisher.clone(),
            subscriber: subscriber.clone(),
        };
        given.names.iter().map(issuer).collect()
    }

    /// Whoever has read any tutorial could publish to this hub.
    fn refuse_development_key(&mut self, roles: [&Option<KeySource>; 2], issuers: &[TrustedIssuer]) {
        let of_issuers = issuers.iter().flat_map(|issuer| [&issuer.publisher, &issuer.subscriber]);
        if roles.into_iter().chain(of_issuers).flatten().any(keys::is_development_key) {
            let text = "the well-known development key is configured, with which everybody can make tokens: it is \
                        accepted with --dev only; make a key of your own, for example with: openssl rand -base64 48";
            self.mistakes.push(text.to_owned());
        }
    }
}
