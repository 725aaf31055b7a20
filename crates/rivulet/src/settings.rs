//! The table of all settings of `rivulet serve`: one row is a flag, a `RIVULET_*` environment variable and a key of
//! the configuration file at once. What the values mean is checked in `config`.

mod limits;
mod listener;
mod stopping;
mod tracing;

/// One setting.
#[derive(Debug)]
pub(crate) struct Setting {
    /// The long flag and the key in the file. The variable is `RIVULET_` and this in capitals with underscores.
    pub(crate) name: &'static str,
    /// What `--help` calls the value.
    pub(crate) value: &'static str,
    /// The value when nobody gives one.
    pub(crate) default: Option<&'static str>,
    /// How many values it takes.
    pub(crate) kind: Kind,
    /// Whether its value may be logged.
    pub(crate) exposure: Exposure,
    /// When a change of it counts.
    pub(crate) effect: Effect,
    /// For `--help`.
    pub(crate) help: &'static str,
}

/// When a change of a setting counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// At the next start.
    Restart,
    /// When the configuration is read again.
    Reload,
}

/// How many values a setting takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `true` or `false`; the flag alone means `true`.
    Switch,
    /// One value.
    One,
    /// Any number: a repeated flag, an array in the file, separated by white space in the environment.
    Many,
}

/// Whether a value may be logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exposure {
    /// It may.
    Open,
    /// Never.
    Secret,
    /// A URL, logged without its user name and password.
    Url,
    /// `ISSUER=SOURCE`, logged without the source unless it is a URL or a file.
    Issuer,
}

/// Whether a switch is on.
pub(crate) fn is_on(text: &str) -> Result<bool, &'static str> {
    match text {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err("must be true or false"),
    }
}

impl Setting {
    /// The name of its environment variable.
    pub(crate) fn variable(&self) -> String {
        format!("RIVULET_{}", self.name.to_ascii_uppercase().replace('-', "_"))
    }
}

/// Settings that `--help` shows together.
#[derive(Debug)]
pub(crate) struct Group {
    /// What stands above them in `--help`; `None`: the usual.
    pub(crate) heading: Option<&'static str>,
    /// The settings, in the order of `--help`.
    pub(crate) settings: &'static [Setting],
}

/// All settings, in the order of `--help`.
pub(crate) const GROUPS: &[Group] = &[
    Group { heading: None, settings: SETTINGS },
    Group { heading: Some("TLS and proxies"), settings: listener::SETTINGS },
    Group { heading: Some("Limits of the hub"), settings: limits::HUB },
    Group { heading: Some("Limits of this node"), settings: limits::NODE },
    Group { heading: Some("Stopping and rebalancing"), settings: stopping::SETTINGS },
    Group { heading: Some("Traces"), settings: tracing::SETTINGS },
];

/// All settings, in the order of `--help`.
pub(crate) fn settings() -> impl Iterator<Item = &'static Setting> {
    GROUPS.iter().flat_map(|group| group.settings)
}

/// The row with this name.
pub(crate) fn setting(name: &str) -> Option<&'static Setting> {
    settings().find(|setting| setting.name == name)
}

const fn one(name: &'static str, value: &'static str, help: &'static str) -> Setting {
    Setting {
        name,
        value,
        default: None,
        kind: Kind::One,
        exposure: Exposure::Open,
        effect: Effect::Restart,
        help,
    }
}

const fn many(name: &'static str, value: &'static str, help: &'static str) -> Setting {
    Setting {
        name,
        value,
        default: None,
        kind: Kind::Many,
        exposure: Exposure::Open,
        effect: Effect::Restart,
        help,
    }
}

const fn switch(name: &'static str, help: &'static str) -> Setting {
    Setting {
        name,
        value: "BOOL",
        default: Some("false"),
        kind: Kind::Switch,
        exposure: Exposure::Open,
        effect: Effect::Restart,
        help,
    }
}

impl Setting {
    const fn default(self, text: &'static str) -> Self {
        Self { default: Some(text), ..self }
    }

    const fn reloaded(self) -> Self {
        Self { effect: Effect::Reload, ..self }
    }

    const fn exposed(self, exposure: Exposure) -> Self {
        Self { exposure, ..self }
    }
}

/// The settings without a group of their own.
const SETTINGS: &[Setting] = &[
    switch(
        "dev",
        "Development mode, not for production: anonymous subscribers, any origin (without credentials), the \
         well-known development key for 0.x tokens and for 1.0 tokens of the issuer https://localhost",
    ),
    one(
        "config",
        "FILE",
        "TOML file with settings; its keys are the names of these flags without the dashes",
    ),
    one("listen", "ADDR", "Address and port of the hub").default("127.0.0.1:3000"),
    one(
        "admin-listen",
        "ADDR",
        "Address and port of /live, /ready, /metrics and /debug; keep it private",
    )
    .default("127.0.0.1:9180"),
    one("admin-tls-cert-file", "FILE", "PEM file of the admin listener's certificates, for TLS there"),
    one("admin-tls-key-file", "FILE", "PEM file of their key"),
    one(
        "admin-tls-client-ca-file",
        "FILE",
        "PEM file of the authorities whose certificates every client of the admin listener must then show. Probes of \
         Kubernetes have none: let them open the port only (tcpSocket), or run a command that has one (exec)",
    ),
    one(
        "redis-url",
        "URL",
        "Redis behind all nodes: redis://[USER:PASSWORD@]HOST[:PORT][/DB], redis+unix:///PATH, \
         redis+sentinel://[USER:PASSWORD@]HOST[:PORT],…/MASTER[/DB] or redis+cluster://[USER:PASSWORD@]HOST[:PORT],…; \
         rediss instead of redis is TLS. Without it, this node stands alone and keeps its log in memory",
    )
    .exposed(Exposure::Url),
    one(
        "redis-prefix",
        "TEXT",
        "What all keys and channels in Redis begin with (followed by @N in a database N other than 0)",
    )
    .default("rivulet"),
    one(
        "redis-partitions",
        "COUNT",
        "Parts into which topics are hashed, 1 to 128; auto = 64 on a cluster, else 1. Never changes below a prefix",
    )
    .default("auto"),
    one(
        "redis-start-wait",
        "DURATION",
        "How long a node that starts waits for a Redis that cannot be reached (up to 1d): it is alive and not ready \
         meanwhile, and exits with 69 afterwards; 0 = it exits at once",
    )
    .default("0s"),
    one(
        "redis-wait-replicas",
        "COUNT",
        "Replicas of Redis that must have an update before its publisher gets the 200, 0 to 16 (WAIT): what an \
         acknowledged update needs to survive a failover",
    )
    .default("0"),
    one(
        "redis-wait-timeout",
        "DURATION",
        "How long they may take for it (1ms to 1m); then the publisher gets a 503 and cannot know",
    )
    .default("1s"),
    one("redis-ca-file", "FILE", "PEM file of the authority that signed Redis' certificates, instead of the system's"),
    one("redis-cert-file", "FILE", "PEM file of our certificate, for a Redis that asks for one"),
    one("redis-key-file", "FILE", "PEM file of its key"),
    one("workers", "COUNT", "Threads that serve connections; auto = one per CPU").default("auto"),
    one(
        "hub-url",
        "URL",
        "Public URL of the hub, the same for all nodes: relative topics and patterns are resolved against it, and \
         it is the resource identifier of 1.0 tokens unless --resource says another",
    )
    .default(rivulet_http::DEFAULT_HUB_URL),
    one(
        "publisher-jwt-key",
        "KEY",
        "0.x: key of publishers' tokens: the secret, or the PEM text of a public key, or @FILE with either",
    ).reloaded()
        .exposed(Exposure::Secret),
    one(
        "publisher-jwt-alg",
        "ALG",
        "0.x: algorithm of publishers' tokens: HS256, HS384, HS512, RS*, PS*, ES256, ES384, EdDSA",
    ).reloaded()
    .default("HS256"),
    one(
        "publisher-jwks-url",
        "URL",
        "0.x: JWK Set with the keys of publishers' tokens, instead of a key",
    ).reloaded()
    .exposed(Exposure::Url),
    one("publisher-jwks-file", "FILE", "0.x: the same in a file").reloaded(),
    one(
        "subscriber-jwt-key",
        "KEY",
        "0.x: key of subscribers' tokens, as --publisher-jwt-key",
    ).reloaded()
    .exposed(Exposure::Secret),
    one("subscriber-jwt-alg", "ALG", "0.x: algorithm of subscribers' tokens").reloaded().default("HS256"),
    one(
        "subscriber-jwks-url",
        "URL",
        "0.x: JWK Set with the keys of subscribers' tokens",
    ).reloaded()
    .exposed(Exposure::Url),
    one("subscriber-jwks-file", "FILE", "0.x: the same in a file").reloaded(),
    many(
        "trusted-issuer",
        "ISSUER=SOURCE",
        "1.0: an issuer of access tokens (claim iss) and its keys. SOURCE is jwks:URL, jwks:@FILE, or ALG:KEY, \
         where KEY is the secret, or the PEM text of a public key, or @FILE with either",
    ).reloaded()
    .exposed(Exposure::Issuer),
    one(
        "resource",
        "ID",
        "1.0: this hub's resource identifier, which their aud must hold; without it, --hub-url",
    ).reloaded(),
    switch("anonymous", "Let subscribers without a token receive public updates").reloaded(),
    many(
        "cors-origin",
        "ORIGIN",
        "Origin whose pages may subscribe and publish (scheme://host[:port]); * = any, without credentials",
    ).reloaded(),
    many("publish-origin", "ORIGIN", "Origin whose pages may publish with a cookie").reloaded(),
    one(
        "cookie-name",
        "NAME",
        "Cookie that may carry the token, in both dialects. Without it: mercureAuthorization in 0.x, \
         __Secure-mercure_access_token in 1.0 (mercure_access_token with --dev)",
    ).reloaded(),
    one("heartbeat", "DURATION", "How often an idle stream gets a heartbeat; 0 = never").reloaded().default("15s"),
    one(
        "lifetime",
        "DURATION",
        "Longest life of a stream; each is ended at a random 80–100 % of it; 0 = no end",
    ).reloaded()
    .default("600s"),
    one(
        "write-deadline",
        "DURATION",
        "How long a subscriber may take nothing before its stream is ended (1s to 10m)",
    ).reloaded()
    .default("20s"),
    one(
        "retention-age",
        "DURATION",
        "How long updates are kept for clients that come back; 0 = no limit by age",
    )
    .default("24h"),
    one("retention-count", "COUNT", "How many updates are kept per topic").default("1000"),
    one("body-limit", "SIZE", "Longest update, and longest body of a request").reloaded().default("1MiB"),
    one("batch-limit", "SIZE", "Longest body of a batch of updates").reloaded().default("8MiB"),
    one(
        "connections-max",
        "COUNT",
        "Most streams that this node holds; auto = three quarters of the limit of open files",
    )
    .default("auto"),
    one(
        "memory-max",
        "SIZE",
        "Memory that this node may take: from 90 % of it on it takes nobody new and is not ready, until it is below \
         80 %. auto = 90 % of what its container may take, if that is limited; 0 = no limit",
    )
    .default("auto"),
    one(
        "send-buffer",
        "SIZE",
        "Kernel send buffer per connection (SO_SNDBUF, 4KiB to 16MiB): what a reader that stops costs",
    )
    .default("32KiB"),
    one("log-format", "FORMAT", "pretty or json, on standard error").default("pretty"),
    one("log-level", "FILTER", "error, warn, info, debug, trace, or per module: info,rivulet_redis=debug").reloaded()
        .default("info,actix_server=warn,actix_http::h1=off"),
];

/// For the end of `--help`.
pub(crate) const HELP: &str = "\
A value is looked for in this order: flag, RIVULET_* variable, MERCURE_* variable, configuration file, what --dev
stands for, default. A list from one of them hides those below it. An empty variable counts as not set; lists in
variables are separated by white space. The MERCURE_* variables of existing deployments are:
  MERCURE_PUBLISHER_JWT_KEY, MERCURE_PUBLISHER_JWT_ALG     --publisher-jwt-key, --publisher-jwt-alg
  MERCURE_SUBSCRIBER_JWT_KEY, MERCURE_SUBSCRIBER_JWT_ALG   --subscriber-jwt-key, --subscriber-jwt-alg
  MERCURE_TRUSTED_ISSUERS      issuers of 1.0 tokens; the keys above are then theirs, as in the reference hub 1.0,
                               and 0.x is on only with RIVULET_* keys or flags. Not used beside --trusted-issuer
  MERCURE_RESOURCE_IDENTIFIER  --resource
  SERVER_NAME                  --listen: :PORT or http://HOST[:PORT], on all interfaces; no TLS is ended here
  MERCURE_EXTRA_DIRECTIVES     one per line: anonymous, cors_origins, publish_origins, heartbeat, cookie_name,
                               write_timeout (--lifetime), dispatch_timeout (--write-deadline), public_url
                               (--hub-url), resource_identifier (--resource), subscriptions (accepted with a
                               warning: this version has no subscription API). Any other directive is an error

With [reloaded] a setting counts anew when the configuration file, or a file that a setting names, changes, and on
SIGHUP; others count at the next start. rivulet check-config says what is wrong with a configuration.

Durations: 250ms, 15s, 10m, 1h30m, 7d, or 0. Sizes: 32768, 64KiB, 1MiB (KB, MB: powers of ten).
Rates: 100/s, 6000/m, 10/1m30s, evenly spread; with ,burst=N so many at once after a pause: 100/s,burst=200.";
