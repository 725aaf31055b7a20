//! The checked configuration of `rivulet serve`. One conversion reads all settings and reports every mistake at once.

mod admin;
mod limits;
mod listener;
mod reader;
mod redis;
mod stopping;
#[cfg(test)]
mod tests;
mod tokens;
mod tracing;
mod values;

use std::{net::SocketAddr, num::NonZeroUsize, sync::Arc, time::Duration};

use clap::ArgMatches;
use rivulet_http::{
    CorsPolicy,
    auth::{AllowedOrigins, Authorizer},
};
use rivulet_redis::RedisConfig;
use url::Url;

use self::reader::Reader;
pub(crate) use self::values::address;
pub(crate) use self::{limits::Limits, listener::Listener, stopping::Stopping, tracing::Tracing};
use crate::{
    admin::AdminTls,
    layers::{Environment, Layers},
    memory::MemoryMax,
    settings::{self, Effect},
    telemetry::TelemetryConfig,
};

/// "No limit by age" for transports, whose clocks want a number.
const AGE_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// What `rivulet serve` does, checked.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) mode: Mode,
    pub(crate) listen: SocketAddr,
    pub(crate) admin_listen: SocketAddr,
    /// `None`: the admin listener speaks plain HTTP.
    pub(crate) admin_tls: Option<AdminTls>,
    /// `None`: this node stands alone.
    pub(crate) redis: Option<RedisConfig>,
    /// How long it is waited for at the start.
    pub(crate) redis_start_wait: Duration,
    pub(crate) workers: NonZeroUsize,
    pub(crate) hub_url: Url,
    pub(crate) authorizer: Arc<Authorizer>,
    pub(crate) anonymous: bool,
    pub(crate) cors: CorsPolicy,
    pub(crate) publish_origins: AllowedOrigins,
    pub(crate) heartbeat: Option<Duration>,
    pub(crate) lifetime: Option<Duration>,
    pub(crate) write_deadline: Duration,
    pub(crate) retention_age: Duration,
    pub(crate) retention_count: NonZeroUsize,
    pub(crate) body_limit: usize,
    pub(crate) batch_limit: usize,
    /// `None`: what the limit of open files allows.
    pub(crate) connections_max: Option<usize>,
    pub(crate) memory_max: MemoryMax,
    pub(crate) send_buffer: usize,
    /// Before HTTP.
    pub(crate) listener: Listener,
    pub(crate) limits: Limits,
    pub(crate) stopping: Stopping,
    pub(crate) tracing: Tracing,
    pub(crate) log: LogConfig,
    /// `None`: no spans.
    pub(crate) telemetry: Option<TelemetryConfig>,
    /// What it was made of.
    pub(crate) layers: Layers,
    /// What is to be said at start.
    pub(crate) warnings: Vec<String>,
}

/// What was read by a process that runs.
#[derive(Debug)]
pub(crate) struct Again {
    /// What may be in force from now on.
    pub(crate) config: Config,
    /// The settings that have changed and count at the next start.
    pub(crate) restart_needed: Vec<&'static str>,
}

/// The text of the configuration file, if there is one.
///
/// # Errors
///
/// That it cannot be read.
pub(crate) fn file_text(
    matches: &ArgMatches,
    environment: &Environment,
) -> Result<Option<String>, Vec<String>> {
    let Some(path) = file_path(matches, environment) else { return Ok(None) };
    let text = std::fs::read_to_string(path);
    text.map(Some).map_err(|error| vec![format!("--config {path:?} cannot be read: {error}")])
}

/// Where the configuration file is, if there is one.
pub(crate) fn file_path<'a>(matches: &'a ArgMatches, environment: &'a Environment) -> Option<&'a str> {
    let path = matches.get_one::<String>("config").or_else(|| environment.get("RIVULET_CONFIG"));
    path.map(String::as_str).filter(|path| !path.is_empty())
}

/// Whether it is about real users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// `--dev`.
    Development,
    Production,
}

/// How to log.
#[derive(Clone, Debug)]
pub(crate) struct LogConfig {
    pub(crate) format: LogFormat,
    /// A filter that `tracing_subscriber::EnvFilter` understands.
    pub(crate) filter: String,
}

/// For people or for machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    Pretty,
    Json,
}

impl Config {
    /// Reads flags, environment and file.
    ///
    /// # Errors
    ///
    /// Every mistake, a line each.
    pub(crate) fn read(matches: &ArgMatches, environment: &Environment) -> Result<Self, Vec<String>> {
        let file = file_text(matches, environment)?;
        let config = Self::check(&Layers::resolve(matches, environment, file.as_deref()), None);
        match (config, TelemetryConfig::read(environment)) {
            (Ok(mut config), Ok((telemetry, said))) => {
                config.warnings.extend(said);
                Ok(Self { telemetry, ..config })
            }
            (config, telemetry) => {
                Err([config.err(), telemetry.err()].into_iter().flatten().flatten().collect())
            }
        }
    }

    /// Reads the file anew in a process that runs with `self`. What counts at a start only is checked, named, and left as
    /// it was.
    ///
    /// # Errors
    ///
    /// Every mistake, in the words of [`Config::read`].
    pub(crate) fn read_again(
        &self,
        matches: &ArgMatches,
        environment: &Environment,
    ) -> Result<Again, Vec<String>> {
        let file = file_text(matches, environment)?;
        let written = Layers::resolve(matches, environment, file.as_deref());
        let mut config = Self::check(&written, Some(&self.authorizer))?;
        let restart_needed = written.differing(&self.layers, Effect::Restart);
        if !restart_needed.is_empty() {
            let layers = Layers::resolve_under(&self.layers, matches, environment, file.as_deref());
            config = Self::check(&layers, Some(&self.authorizer))?;
        }
        Ok(Again { config: Self { telemetry: self.telemetry.clone(), ..config }, restart_needed })
    }

    /// `before`: verifies tokens until this is in force.
    fn check(layers: &Layers, before: Option<&Authorizer>) -> Result<Self, Vec<String>> {
        let mut reader = Reader { layers, before, mistakes: layers.mistakes.clone() };
        // `None` only beside a mistake: every setting that must be there has a default.
        match Self::from_settings(&mut reader) {
            Some(mut config) if reader.mistakes.is_empty() => {
                if config.redis.is_some() {
                    config.warnings.extend(config.limits.warnings());
                }
                Ok(config)
            }
            _ => Err(reader.mistakes),
        }
    }

    fn from_settings(reader: &mut Reader<'_>) -> Option<Self> {
        let dev = reader.value("dev", settings::is_on);
        let mode = if dev == Some(true) { Mode::Development } else { Mode::Production };
        let listen = reader.value("listen", values::address);
        let admin_listen = reader.value("admin-listen", values::address);
        let admin_tls = reader.admin_tls();
        let workers = reader.value("workers", values::workers);
        let hub_url = reader.value("hub-url", values::hub_url);
        let authorizer = reader.tokens(mode, hub_url.as_ref());
        let anonymous = reader.value("anonymous", settings::is_on);
        let cors = reader.list("cors-origin", CorsPolicy::parse);
        let publish_origins = reader.list("publish-origin", AllowedOrigins::parse);
        let heartbeat = reader.value("heartbeat", values::duration_or_off);
        let lifetime = reader.value("lifetime", values::duration_or_off);
        let write_deadline = reader.value("write-deadline", values::write_deadline);
        let retention_age = reader.value("retention-age", values::duration_or_off);
        let retention_count = reader.value("retention-count", values::count);
        let retention = retention_age.zip(retention_count);
        let redis_start_wait = reader.value("redis-start-wait", values::start_wait);
        let redis = reader.redis(retention.map(|(age, count)| (age.unwrap_or(AGE_MAX), count.get())));
        let body_limit = reader.value("body-limit", |text| values::sized(text, 1, 1 << 30));
        let batch_limit = reader.value("batch-limit", |text| values::sized(text, 1, 1 << 30));
        let connections_max = reader.value("connections-max", values::connections_max);
        let memory_max = reader.value("memory-max", values::memory_max);
        let send_buffer = reader.value("send-buffer", |text| values::sized(text, 4 << 10, 16 << 20));
        let listener = reader.listener();
        let limits = reader.limits(body_limit.max(batch_limit));
        let stopping = reader.stopping();
        let tracing = reader.tracing();
        let log_format = reader.value("log-format", values::log_format);
        let log_filter = reader.value("log-level", values::log_filter);
        let mut warnings = reader.layers.warnings.clone();
        if let (Some(None), Some(limits), Some(stopping)) = (&redis, &limits, &stopping) {
            warnings.extend(idle_without_redis(limits, stopping));
        }
        Some(Self {
            mode,
            listen: listen?,
            admin_listen: admin_listen?,
            admin_tls: admin_tls?,
            redis: redis?,
            redis_start_wait: redis_start_wait?,
            workers: workers?,
            hub_url: hub_url?,
            authorizer: Arc::new(authorizer?),
            anonymous: anonymous?,
            cors: cors?,
            publish_origins: publish_origins?,
            heartbeat: heartbeat?,
            lifetime: lifetime?,
            write_deadline: write_deadline?,
            retention_age: retention_age?.unwrap_or(AGE_MAX),
            retention_count: retention_count?,
            body_limit: body_limit?,
            batch_limit: batch_limit?,
            connections_max: connections_max?,
            memory_max: memory_max?,
            send_buffer: send_buffer?,
            listener: listener?,
            limits: limits?,
            stopping: stopping?,
            tracing: tracing?,
            log: LogConfig { format: log_format?, filter: log_filter? },
            telemetry: None,
            layers: reader.layers.clone(),
            warnings,
        })
    }
}

/// What does nothing as long as there is one node only, without being wrong.
fn idle_without_redis(limits: &Limits, stopping: &Stopping) -> impl Iterator<Item = String> {
    let closed =
        "--limit-closed does nothing without --redis-url: the node counts for itself, and is never away";
    let shed = "--shed does nothing without --redis-url: there are no other nodes that streams could find";
    let idle = [(!limits.hub.closed_when_away.is_empty(), closed), (stopping.shed.is_some(), shed)];
    idle.into_iter().filter(|(is_given, _)| *is_given).map(|(_, warning)| warning.to_owned())
}
