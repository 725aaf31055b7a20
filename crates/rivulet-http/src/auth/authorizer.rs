//! The door: finds a request's token and verifies it.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::runtime::Handle;

use super::{
    AuthConfig, AuthConfigError, AuthError, Check, Credential, CredentialParts, Dialect, Purpose, V1Config,
    Verified, bearer,
    claims::Claims,
    credential::Places,
    error::{Refusal, quoted},
    kept_fresh::{KeptFresh, NamedSet},
    key_cache::{KeySetReads, RefreshTiming},
    keys::{KeyLoader, Keys, Owner, RoleKeys},
    limits_claim,
    token::Token,
    v0, v1,
};

/// Verifies tokens of both dialects. One per process, shared by all workers.
pub struct Authorizer {
    v0: Option<RoleKeys>,
    v1: Option<V1>,
    places: Places,
    leeway: Duration,
    limits_claim: Option<String>,
    pub(super) caches: Vec<NamedSet>,
    /// What was counted under a name by sets that have it no more: what was counted stays counted.
    reads_before: BTreeMap<String, KeySetReads>,
}

/// Dialect 1.0: its configuration, and the keys by issuer.
struct V1 {
    config: V1Config,
    issuers: HashMap<String, RoleKeys>,
}

impl Authorizer {
    /// Checks the configuration and reads the keys that can be read without waiting. Key sets behind URLs are read by
    /// the tasks of [`Authorizer::start`], so that a hub can start while its issuer is down.
    ///
    /// # Errors
    ///
    /// Every mistake there is.
    pub fn new(config: AuthConfig) -> Result<Self, Vec<AuthConfigError>> {
        Self::with_timing(config, RefreshTiming::default(), None)
    }

    /// The same, for one that takes the place of another: it takes over the key sets behind URLs that both have, with what
    /// was read of them, so that issuers are not asked again. The tasks of those that only the other one has end with it.
    ///
    /// # Errors
    ///
    /// Every mistake there is.
    pub fn succeeding(before: &Self, config: AuthConfig) -> Result<Self, Vec<AuthConfigError>> {
        Self::with_timing(config, RefreshTiming::default(), Some(before))
    }

    pub(super) fn with_timing(
        config: AuthConfig,
        timing: RefreshTiming,
        before: Option<&Self>,
    ) -> Result<Self, Vec<AuthConfigError>> {
        let mut loader = KeyLoader::new(timing, before.map_or_else(Vec::new, Self::kept));
        let places = Places {
            v0_cookie: config.v0.as_ref().map(|v0| v0.cookie_name.clone()),
            v1_cookie: config.v1.as_ref().map(|v1| v1.cookie_name.clone()),
        };
        let v0 = config.v0.map(|v0| {
            loader.check_cookie_name("v0.cookie_name", &v0.cookie_name);
            loader.load_roles(Owner::V0, v0.publisher.as_ref(), v0.subscriber.as_ref())
        });
        let v1 = config.v1.map(|config| V1 { issuers: loader.load_issuers(&config), config });
        let limits_claim = config.limits_claim.inspect(|name| loader.check_limits_claim(name));
        let mut caches = loader.caches();
        loader.finish()?;
        let leeway = config.leeway;
        let reads_before = before.map(|before| before.hand_counts_on(&mut caches)).unwrap_or_default();
        Ok(Self { v0, v1, places, leeway, limits_claim, caches, reads_before })
    }

    fn kept(&self) -> Vec<Arc<KeptFresh>> {
        self.caches.iter().map(|set| Arc::clone(&set.kept)).collect()
    }

    /// What its successor, which has these sets, has to count as read before, by name.
    fn hand_counts_on(&self, successors: &mut [NamedSet]) -> BTreeMap<String, KeySetReads> {
        let mut before = self.reads_before.clone();
        for set in &self.caches {
            let reads = set.reads();
            let successor = successors.iter_mut().find(|other| Arc::ptr_eq(&other.kept, &set.kept));
            match successor {
                Some(same) if same.name == set.name => same.counted_elsewhere = set.counted_elsewhere,
                renamed => {
                    *before.entry(set.name.clone()).or_default() += reads;
                    if let Some(renamed) = renamed {
                        renamed.counted_elsewhere = set.counted_elsewhere;
                        renamed.counted_elsewhere += reads;
                    }
                }
            }
        }
        before
    }

    /// Starts the tasks that keep key sets fresh on `runtime`, each once; they end when the last authorizer that has the set
    /// is dropped. Without it, sets behind URLs are never read, and those in files never again.
    pub fn start(&self, runtime: &Handle) {
        self.caches.iter().for_each(|set| set.kept.start(runtime));
    }

    /// Whether tokens of `dialect` are accepted at all.
    pub fn speaks(&self, dialect: Dialect) -> bool {
        match dialect {
            Dialect::V0 => self.v0.is_some(),
            Dialect::V1 => self.v1.is_some(),
        }
    }

    /// Whether any key could authorize `purpose`. Without a publisher key there is no publish route.
    pub fn can_authorize(&self, purpose: Purpose) -> bool {
        let issuers = self.v1.iter().flat_map(|v1| v1.issuers.values());
        self.v0.iter().chain(issuers).any(|keys| keys.of(purpose).is_some())
    }

    /// The 1.0 configuration, for RFC 9728 metadata.
    pub fn v1(&self) -> Option<&V1Config> {
        self.v1.as_ref().map(|v1| &v1.config)
    }

    /// What has become of the reads of each key set. They are named by whose they are: `publisher`, `subscriber`, `issuer_0`
    /// for the first trusted issuer; one that is several's has the name of the first.
    pub fn key_set_reads(&self) -> BTreeMap<String, KeySetReads> {
        let mut reads = self.reads_before.clone();
        for set in &self.caches {
            *reads.entry(set.name.clone()).or_default() += set.reads();
        }
        reads
    }

    /// Finds the request's token: header, else query (0.x), else cookie. `None`: the request is anonymous.
    ///
    /// # Errors
    ///
    /// [`Check::Request`] or [`Check::Place`].
    pub fn credential(&self, parts: &CredentialParts<'_>) -> Result<Option<Credential>, AuthError> {
        let dialect = parts.dialect.unwrap_or_else(|| self.answering());
        self.places.find(parts).map_err(|refusal| refusal.by(dialect))
    }

    /// Verifies a token. Waits only if its key is unknown and the key set may be read again, and then for some seconds
    /// at most.
    ///
    /// # Errors
    ///
    /// The first check that failed.
    pub async fn verify(
        &self,
        credential: &Credential,
        purpose: Purpose,
        now: SystemTime,
    ) -> Result<Verified, AuthError> {
        let unknown = credential.only.unwrap_or_else(|| self.answering());
        let token = Token::parse(&credential.token).map_err(|refusal| refusal.by(unknown))?;
        let dialect = token.dialect();
        if credential.only.is_some_and(|only| only != dialect) {
            return Err(misplaced(credential, dialect).by(dialect));
        }
        let result = match (dialect, &self.v0, &self.v1) {
            (Dialect::V0, Some(keys), _) => self.verify_v0(keys, &token, purpose, now).await,
            (Dialect::V1, _, Some(v1)) => self.verify_v1(v1, &token, purpose, now).await,
            (Dialect::V0, None, _) | (Dialect::V1, _, None) => {
                return Err(wrong_dialect(&token).by(self.answering()));
            }
        };
        result.map_err(|refusal| refusal.by(dialect))
    }

    async fn verify_v0(
        &self,
        keys: &RoleKeys,
        token: &Token<'_>,
        purpose: Purpose,
        now: SystemTime,
    ) -> Result<Verified, Refusal> {
        let key = role(keys, purpose)?.verify(token).await?;
        let claims = Claims::parse(token.claims())?;
        let expires_at = claims.check_dates(now, self.leeway)?;
        let (grants, payloads) = v0::grants(&claims)?;
        let subject = claims.string("sub")?.map(str::to_owned);
        let bearer = bearer::text(None, subject.as_deref(), key.as_deref().unwrap_or(role_name(purpose)));
        let overrides = limits_claim::overrides(&claims, self.limits_claim.as_deref())?;
        Ok(Verified { dialect: Dialect::V0, grants, subject, bearer, overrides, expires_at, payloads })
    }

    async fn verify_v1(
        &self,
        v1: &V1,
        token: &Token<'_>,
        purpose: Purpose,
        now: SystemTime,
    ) -> Result<Verified, Refusal> {
        let claims = Claims::parse(token.claims())?;
        let issuer = v1::issuer(&claims)?;
        let keys = v1.issuers.get(issuer).ok_or_else(|| {
            let detail = format!("the issuer {} is not trusted here (\"iss\")", quoted(issuer));
            Refusal::new(Check::Issuer, detail)
        })?;
        let key = role(keys, purpose)?.verify(token).await?;
        let expires_at = v1::check(&claims, &v1.config.resource, now, self.leeway)?;
        let (grants, payloads) = v1::grants(&claims, &v1.config.resource)?;
        let subject = claims.string("sub")?.map(str::to_owned);
        let key = key.as_deref().unwrap_or(role_name(purpose));
        let bearer = bearer::text(Some(issuer), subject.as_deref(), key);
        let overrides = limits_claim::overrides(&claims, self.limits_claim.as_deref())?;
        let expires_at = Some(expires_at);
        Ok(Verified { dialect: Dialect::V1, grants, subject, bearer, overrides, expires_at, payloads })
    }

    /// The dialect whose rules an answer follows as long as nothing tells: the newer one that is on.
    fn answering(&self) -> Dialect {
        if self.v1.is_some() { Dialect::V1 } else { Dialect::V0 }
    }
}

impl fmt::Debug for Authorizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authorizer")
            .field("v0", &self.v0.is_some())
            .field("v1", &self.v1())
            .field("key_sets", &self.caches.len())
            .finish_non_exhaustive()
    }
}

fn role(keys: &RoleKeys, purpose: Purpose) -> Result<&Keys, Refusal> {
    keys.of(purpose).ok_or_else(|| {
        let role = match purpose {
            Purpose::Publish => "publishers",
            Purpose::Subscribe => "subscribers",
        };
        Refusal::new(Check::Role, format!("no key is configured that could verify such a token of {role}"))
    })
}

/// The name of a key that is configured, and so has none of its own.
fn role_name(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Publish => "publisher",
        Purpose::Subscribe => "subscriber",
    }
}

fn misplaced(credential: &Credential, dialect: Dialect) -> Refusal {
    let detail = match (dialect, credential.source()) {
        (Dialect::V1, super::CredentialSource::Query) => {
            "an access token of dialect 1.0 must not stand in the query (RFC 9700): send it in the header or the cookie"
        }
        (Dialect::V1, _) => "an access token of dialect 1.0 must not stand in the cookie of dialect 0.x",
        (Dialect::V0, super::CredentialSource::Header) => {
            "a token of dialect 0.x needs the header \"Authorization: Bearer <token>\" with this spelling"
        }
        (Dialect::V0, _) => {
            "the cookie of dialect 1.0 must hold an access token whose header has \"typ\": \"at+jwt\" (RFC 9068)"
        }
    };
    Refusal::new(Check::Place, detail)
}

fn wrong_dialect(token: &Token<'_>) -> Refusal {
    let typ = token.typ_quoted();
    let detail = match token.dialect() {
        Dialect::V0 => format!(
            "only access tokens of dialect 1.0 are accepted here: the header's \"typ\" must be \"at+jwt\", it is {typ}"
        ),
        Dialect::V1 => format!(
            "only tokens of dialect 0.x are accepted here (claim \"mercure\"), and the header's \"typ\" {typ} tells \
             that this is an access token of dialect 1.0"
        ),
    };
    Refusal::new(Check::Type, detail)
}
