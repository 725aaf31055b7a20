//! Where Redis is: one server, a master that Sentinels know, or a cluster; as a URL says it.

use std::{fmt, path::PathBuf};

use redis::{ConnectionAddr, IntoConnectionInfo, RedisConnectionInfo};

/// The most hosts that a URL may list.
const HOSTS_MAX: usize = 64;
/// Where a Sentinel listens unless the URL says another port.
const SENTINEL_PORT: u16 = 26379;

/// What a URL of a deployment looks like.
pub(crate) const SHAPES: &str = "redis://[user:password@]host[:port][/database], redis+unix:///path, \
    redis+sentinel://[user:password@]host[:port][,host[:port]…]/master[/database] or \
    redis+cluster://[user:password@]host[:port][,host[:port]…]; rediss instead of redis is TLS";

/// One server.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Server {
    /// A host and a port.
    Tcp(String, u16),
    /// The path of a socket.
    Unix(PathBuf),
}

/// How the servers hang together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// One server, which is always the master.
    Standalone(Server),
    /// Sentinels that know which server is the master of this name.
    Sentinel { sentinels: Vec<Server>, master: String },
    /// A cluster, of which these are some nodes.
    Cluster { seeds: Vec<Server> },
}

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Deployment {
    pub(crate) layout: Layout,
    /// User, password and database.
    pub(crate) redis: RedisConnectionInfo,
    pub(crate) tls: bool,
}

impl Deployment {
    /// Reads a URL. The error says what is wrong and never repeats the URL, which may hold a password.
    pub(crate) fn parse(url: &str) -> Result<Self, String> {
        let (scheme, rest) = url.split_once("://").ok_or_else(|| format!("looks like {SHAPES}"))?;
        let (base, kind) = scheme.split_once('+').unwrap_or((scheme, ""));
        let tls = match base {
            "redis" | "valkey" | "unix" => false,
            "rediss" | "valkeys" => true,
            _ => return Err(format!("looks like {SHAPES}")),
        };
        match kind {
            "sentinel" => Self::sentinel(rest, tls),
            "cluster" => Self::cluster(rest, tls),
            _ => {
                let info = url.into_connection_info().map_err(|_| format!("looks like {SHAPES}"))?;
                let redis = info.redis_settings().clone();
                Ok(Self { layout: Layout::Standalone(Server::of(info.addr())?), redis, tls })
            }
        }
    }

    fn sentinel(rest: &str, tls: bool) -> Result<Self, String> {
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (master, database) = path.split_once('/').unwrap_or((path, ""));
        if master.is_empty() {
            return Err("names the master behind the hosts: redis+sentinel://host,host/master".to_owned());
        }
        let (sentinels, redis) = hosts(authority, database, SENTINEL_PORT)?;
        Ok(Self { layout: Layout::Sentinel { sentinels, master: master.to_owned() }, redis, tls })
    }

    fn cluster(rest: &str, tls: bool) -> Result<Self, String> {
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if !matches!(path, "" | "0") {
            return Err("names no database: a cluster has only 0".to_owned());
        }
        let (seeds, redis) = hosts(authority, "", 6379)?;
        Ok(Self { layout: Layout::Cluster { seeds }, redis, tls })
    }

    /// Whether a cluster's rules hold: keys in slots, sharded channels.
    pub(crate) fn is_cluster(&self) -> bool {
        matches!(self.layout, Layout::Cluster { .. })
    }

    /// The command that announces.
    pub(crate) fn publish(&self) -> &'static str {
        if self.is_cluster() { "SPUBLISH" } else { "PUBLISH" }
    }

    /// The servers that the URL names, for messages.
    pub(crate) fn address(&self) -> String {
        let list = |servers: &[Server]| servers.iter().map(Server::to_string).collect::<Vec<_>>().join(",");
        match &self.layout {
            Layout::Standalone(server) => server.to_string(),
            Layout::Sentinel { sentinels, master } => format!("{master} of {}", list(sentinels)),
            Layout::Cluster { seeds } => list(seeds),
        }
    }
}

/// Reads `[user:password@]host[:port],…`, each host as the client library reads it.
fn hosts(authority: &str, database: &str, port: u16) -> Result<(Vec<Server>, RedisConnectionInfo), String> {
    let (user, hosts) = authority.rsplit_once('@').map_or(("", authority), |(user, hosts)| (user, hosts));
    let at = if user.is_empty() { "" } else { "@" };
    let mut servers = Vec::new();
    let mut redis = None;
    for host in hosts.split(',') {
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let port = if has_port { String::new() } else { format!(":{port}") };
        let info = format!("redis://{user}{at}{host}{port}/{database}")
            .into_connection_info()
            .map_err(|_| format!("lists hosts as host[:port],host[:port]: {SHAPES}"))?;
        servers.push(Server::of(info.addr())?);
        redis = Some(info.redis_settings().clone());
    }
    let redis = redis.filter(|_| servers.len() <= HOSTS_MAX);
    redis.map(|redis| (servers, redis)).ok_or_else(|| format!("lists 1 to {HOSTS_MAX} hosts"))
}

impl Server {
    fn of(address: &ConnectionAddr) -> Result<Self, String> {
        match address {
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. }
                if !host.is_empty() =>
            {
                Ok(Self::Tcp(host.clone(), *port))
            }
            ConnectionAddr::Unix(path) => Ok(Self::Unix(path.clone())),
            _ => Err(format!("looks like {SHAPES}")),
        }
    }

    /// Reads `host:port` as Redis writes it: `MOVED`, `ASK`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        (!host.is_empty()).then_some(Self::Tcp(host.to_owned(), port.parse().ok()?))
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16) -> Server {
        Server::Tcp(host.to_owned(), port)
    }

    #[test]
    fn urls_of_each_layout_are_read() {
        let check = |url: &str, layout: Layout, tls: bool| {
            let deployment = Deployment::parse(url).unwrap();
            assert_eq!((&deployment.layout, deployment.tls), (&layout, tls), "{url}");
        };
        check("redis://h", Layout::Standalone(tcp("h", 6379)), false);
        check("rediss://u:p@h:1/2", Layout::Standalone(tcp("h", 1)), true);
        check(
            "redis+unix:///run/redis.sock",
            Layout::Standalone(Server::Unix("/run/redis.sock".into())),
            false,
        );
        let sentinels = vec![tcp("a", 26379), tcp("b", 5)];
        let sentinel = Layout::Sentinel { sentinels, master: "mymaster".to_owned() };
        check("redis+sentinel://u:p@a,b:5/mymaster/3", sentinel.clone(), false);
        check("rediss+sentinel://a,b:5/mymaster", sentinel, true);
        let seeds = vec![tcp("a", 7000), tcp("::1", 7001)];
        check("redis+cluster://a:7000,[::1]:7001", Layout::Cluster { seeds }, false);
        check("rediss+cluster://a/0", Layout::Cluster { seeds: vec![tcp("a", 6379)] }, true);
    }

    #[test]
    fn user_password_and_database_are_read_from_all_of_them() {
        for url in ["redis://u:p%40@a/3", "redis+sentinel://u:p%40@a,b/m/3"] {
            let redis = Deployment::parse(url).unwrap().redis;
            assert_eq!((redis.username(), redis.password(), redis.db()), (Some("u"), Some("p@"), 3), "{url}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        let check = |url: &str, expected: &str| {
            let error = Deployment::parse(url).unwrap_err();
            assert!(error.contains(expected) && !error.contains("secret"), "{url}: {error}");
        };
        check("http://:secret@x", "looks like");
        check("redis://:secret@", "looks like");
        check("secret", "looks like");
        check("redis+sentinel://:secret@a,b", "names the master");
        check("redis+sentinel://:secret@a,,b/m", "lists hosts");
        check("redis+sentinel://:secret@a/m/x", "lists hosts");
        check("redis+cluster://:secret@a/1", "a cluster has only 0");
        check("redis+http://:secret@a", "looks like");
    }
}
