//! The keys of a role: one that is configured, or a set that is kept fresh.

use std::{collections::HashMap, sync::Arc};

use super::{
    AuthConfigError, KeySource, Purpose, V1Config,
    bearer::KeyName,
    check_limits_claim,
    error::Refusal,
    kept_fresh::{KeptFresh, NamedSet},
    key::VerificationKey,
    key_cache::{KeyCache, RefreshTiming},
    key_source::{KeySetSource, is_protected, read_file},
    token::Token,
};

/// What verifies the tokens of a role.
#[derive(Clone, Debug)]
pub(super) enum Keys {
    Fixed(Arc<VerificationKey>),
    Cached(Arc<KeyCache>),
}

impl Keys {
    /// Verifies the token's algorithm and signature; answers the name that the key has in its set, if it is of one.
    pub(super) async fn verify(&self, token: &Token<'_>) -> Result<Option<KeyName>, Refusal> {
        match self {
            Self::Fixed(key) => key.verify(token).map(|()| None),
            Self::Cached(cache) => cache.verify(token).await.map(Some),
        }
    }
}

/// The keys of both roles.
#[derive(Clone, Debug)]
pub(super) struct RoleKeys {
    publisher: Option<Keys>,
    subscriber: Option<Keys>,
}

impl RoleKeys {
    /// What verifies the tokens that authorize `purpose`.
    pub(super) fn of(&self, purpose: Purpose) -> Option<&Keys> {
        match purpose {
            Purpose::Publish => self.publisher.as_ref(),
            Purpose::Subscribe => self.subscriber.as_ref(),
        }
    }
}

/// Whose keys are loaded.
#[derive(Clone, Copy, Debug)]
pub(super) enum Owner {
    /// Those of dialect 0.x.
    V0,
    /// Those of the trusted issuer with this place in the list.
    Issuer(usize),
}

impl Owner {
    /// Where it stands in the configuration.
    fn field(self) -> String {
        match self {
            Self::V0 => "v0".to_owned(),
            Self::Issuer(index) => format!("v1.issuers[{index}]"),
        }
    }

    /// How its key set is called in metrics. An issuer has one for both roles.
    fn set(self, role: &str) -> String {
        match self {
            Self::V0 => role.to_owned(),
            Self::Issuer(index) => format!("issuer_{index}"),
        }
    }
}

/// Turns configured sources into keys, each source once, and collects what is wrong with them.
#[derive(Debug, Default)]
pub(super) struct KeyLoader {
    timing: RefreshTiming,
    loaded: HashMap<KeySource, Option<Keys>>,
    /// How a source is called in metrics: after whose it is, and if it is several's, the first.
    names: HashMap<KeySource, String>,
    /// Sets behind URLs that a predecessor keeps fresh: they are not asked for anew.
    known: Vec<Arc<KeptFresh>>,
    /// Those of them that are used.
    taken_over: Vec<Arc<KeptFresh>>,
    errors: Vec<AuthConfigError>,
}

impl KeyLoader {
    pub(super) fn new(timing: RefreshTiming, known: Vec<Arc<KeptFresh>>) -> Self {
        Self { timing, known, ..Self::default() }
    }

    /// Ends loading: every mistake, if there is one.
    pub(super) fn finish(self) -> Result<(), Vec<AuthConfigError>> {
        if self.errors.is_empty() { Ok(()) } else { Err(self.errors) }
    }

    fn reject(&mut self, field: impl Into<String>, rule: impl Into<String>) {
        self.errors.push(AuthConfigError { field: field.into(), rule: rule.into() });
    }

    /// Checks that a cookie's name is a token of RFC 9110 §5.6.2, as RFC 6265 demands.
    pub(super) fn check_cookie_name(&mut self, field: &str, name: &str) {
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty() || !name.bytes().all(is_token) {
            self.reject(field, format!("{name:?} cannot be the name of a cookie"));
        }
    }

    pub(super) fn check_limits_claim(&mut self, name: &str) {
        if let Err(rule) = check_limits_claim(name) {
            self.reject("limits_claim", rule);
        }
    }

    /// Checks dialect 1.0 and loads the keys of its issuers.
    pub(super) fn load_issuers(&mut self, config: &V1Config) -> HashMap<String, RoleKeys> {
        self.check_cookie_name("v1.cookie_name", &config.cookie_name);
        let resource = &config.resource;
        if !matches!(resource.scheme(), "http" | "https") || resource.fragment().is_some() {
            let rule =
                format!("the resource identifier must be an http(s) URL without a fragment, not {resource}");
            self.reject("v1.resource", rule);
        }
        if config.issuers.is_empty() {
            self.reject("v1.issuers", "dialect 1.0 needs at least one trusted issuer");
        }
        let mut issuers = HashMap::new();
        for (index, trusted) in config.issuers.iter().enumerate() {
            let owner = Owner::Issuer(index);
            let field = owner.field();
            if trusted.issuer.is_empty() {
                self.reject(format!("{field}.issuer"), "must not be empty");
            }
            let keys = self.load_roles(owner, trusted.publisher.as_ref(), trusted.subscriber.as_ref());
            if issuers.insert(trusted.issuer.clone(), keys).is_some() {
                self.reject(format!("{field}.issuer"), format!("{:?} is listed twice", trusted.issuer));
            }
        }
        issuers
    }

    /// The keys of a dialect or an issuer.
    pub(super) fn load_roles(
        &mut self,
        owner: Owner,
        publisher: Option<&KeySource>,
        subscriber: Option<&KeySource>,
    ) -> RoleKeys {
        if publisher.is_none() && subscriber.is_none() {
            self.reject(owner.field(), "needs keys for publishers, for subscribers, or for both");
        }
        RoleKeys {
            publisher: publisher.and_then(|source| self.load(owner, "publisher", source)),
            subscriber: subscriber.and_then(|source| self.load(owner, "subscriber", source)),
        }
    }

    fn load(&mut self, owner: Owner, role: &str, source: &KeySource) -> Option<Keys> {
        self.names.entry(source.clone()).or_insert_with(|| owner.set(role));
        if let Some(keys) = self.loaded.get(source) {
            return keys.clone();
        }
        if let Some(kept) = self.known(source) {
            return Some(Keys::Cached(Arc::clone(&kept.cache)));
        }
        let read = read(source, self.timing);
        let keys = read.map_err(|rule| self.reject(format!("{}.{role}", owner.field()), rule)).ok();
        self.loaded.insert(source.clone(), keys.clone());
        keys
    }

    /// What a predecessor has of a source. A file is read again all the same: that costs little, and it may have changed.
    fn known(&mut self, source: &KeySource) -> Option<Arc<KeptFresh>> {
        if !matches!(source, KeySource::JwksUrl { .. }) {
            return None;
        }
        let kept = self.known.iter().find(|kept| kept.source == *source).cloned()?;
        if !self.taken_over.iter().any(|taken| Arc::ptr_eq(taken, &kept)) {
            self.taken_over.push(Arc::clone(&kept));
        }
        Some(kept)
    }

    /// The key sets that have to be kept fresh, with their names.
    pub(super) fn caches(&self) -> Vec<NamedSet> {
        let cached = |(source, keys): (&KeySource, &Option<Keys>)| match keys {
            Some(Keys::Cached(cache)) => Some(KeptFresh::new(source.clone(), Arc::clone(cache))),
            _ => None,
        };
        let kept = self.loaded.iter().filter_map(cached).chain(self.taken_over.iter().cloned());
        kept.map(|kept| NamedSet::new(self.names[&kept.source].clone(), kept)).collect()
    }
}

fn read(source: &KeySource, timing: RefreshTiming) -> Result<Keys, String> {
    match source {
        KeySource::Secret { algorithm, secret } => {
            VerificationKey::secret(*algorithm, secret).map(|key| Keys::Fixed(Arc::new(key)))
        }
        KeySource::Pem { algorithm, pem } => {
            VerificationKey::pem(*algorithm, pem).map(|key| Keys::Fixed(Arc::new(key)))
        }
        KeySource::JwksFile { path } => {
            let keys = read_file(path).map_err(|rule| format!("{}: {rule}", path.display()))?;
            if keys.len() == 0 {
                return Err(format!(
                    "{}: none of its {} keys verifies signatures of a known algorithm",
                    path.display(),
                    keys.skipped
                ));
            }
            Ok(Keys::Cached(Arc::new(KeyCache::new(KeySetSource::File(path.clone()), Some(keys), timing))))
        }
        KeySource::JwksUrl { url } => {
            if !is_protected(url) {
                return Err("a key set's URL must be https, or http on a loopback address".to_owned());
            }
            Ok(Keys::Cached(Arc::new(KeyCache::new(KeySetSource::Url(url.clone()), None, timing))))
        }
    }
}
