//! The servers of a measurement: Rivulet with its Redis, and the floor, started afresh for every run.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};

use crate::{
    args::{ProgramArgs, ServerKind, Transport},
    binary,
    cores::Cores,
    exposition::Exposition,
    flags::Flags,
    http_get::http_get,
    port::{free_address, free_address_of},
    process::Process,
    redis_client::RedisClient,
    redis_server::{Keeping, RedisServer},
};

/// Longest wait for a server to be ready.
const START_MAX: Duration = Duration::from_secs(20);
/// Pause between two looks at a server that starts.
const START_POLL: Duration = Duration::from_millis(20);

/// Starts servers, all with the same settings.
pub(crate) struct Launcher {
    /// Which core runs what; `None` if nothing is pinned.
    pub(crate) cores: Option<Cores>,
    /// What Rivulet runs on.
    pub(crate) transport: Transport,
    rivulet: Option<PathBuf>,
    redis_server: Option<PathBuf>,
}

/// A running server; dropping it ends it.
pub(crate) struct Server {
    /// Where it serves the hub.
    pub(crate) hub: SocketAddr,
    admin: Option<SocketAddr>,
    // Fields are dropped in order: the hub ends before the Redis that it uses.
    process: Process,
    redis: Option<RedisServer>,
}

impl Launcher {
    /// Finds (and builds) what the servers need, and divides the cores.
    pub(crate) fn prepare(
        program: &ProgramArgs,
        servers: &[ServerKind],
        transport: Option<Transport>,
    ) -> anyhow::Result<Self> {
        let redis_server = on_path("redis-server");
        let transport = match (transport, &redis_server) {
            (Some(Transport::Redis), None) => bail!("redis-server is not on the PATH"),
            (Some(transport), _) => transport,
            (None, Some(_)) => Transport::Redis,
            (None, None) => Transport::Memory,
        };
        let measured = servers.contains(&ServerKind::Rivulet);
        // Before this process is bound to a core: cargo may use them all.
        let rivulet = measured.then(|| binary::find_rivulet(program.rivulet.as_deref())).transpose()?;
        Ok(Self { cores: Cores::divide()?, transport, rivulet, redis_server })
    }

    /// Starts a server, with a Redis of its own if it needs one, and waits until it is ready.
    pub(crate) fn launch(&self, kind: ServerKind) -> anyhow::Result<Server> {
        match (kind, self.transport) {
            (ServerKind::Floor, _) => self.launch_floor(),
            (ServerKind::Rivulet, Transport::Memory) => self.launch_hub(None, &[], |cores| cores.server),
            (ServerKind::Rivulet, Transport::Redis) => self.launch_hub_with_redis(&[]),
        }
    }

    /// Starts a node and a Redis of its own.
    pub(crate) fn launch_hub_with_redis(&self, arguments: &[&str]) -> anyhow::Result<Server> {
        self.launch_hub_with_redis_at(Ipv4Addr::LOCALHOST, arguments)
    }

    /// The same at an address of this machine.
    pub(crate) fn launch_hub_with_redis_at(
        &self,
        ip: Ipv4Addr,
        arguments: &[&str],
    ) -> anyhow::Result<Server> {
        self.launch_with_redis(free_address_of(ip)?, &[], arguments)
    }

    /// The same with these variables in its environment.
    pub(crate) fn launch_hub_with_redis_in(
        &self,
        environment: &[(&str, String)],
        arguments: &[&str],
    ) -> anyhow::Result<Server> {
        self.launch_with_redis(free_address()?, environment, arguments)
    }

    fn launch_with_redis(
        &self,
        hub: SocketAddr,
        environment: &[(&str, String)],
        arguments: &[&str],
    ) -> anyhow::Result<Server> {
        let redis = self.launch_redis(Keeping::InMemory, &[])?;
        let url = format!("redis://{}", redis.address);
        let mut server =
            self.launch_hub_at(hub, Some(&url), (environment, arguments), |cores| cores.server)?;
        server.redis = Some(redis);
        Ok(server)
    }

    /// Starts a node with these arguments beside ours, and waits until it is ready.
    pub(crate) fn launch_hub(
        &self,
        redis_url: Option<&str>,
        arguments: &[&str],
        choose: impl Fn(&Cores) -> usize,
    ) -> anyhow::Result<Server> {
        self.launch_hub_at(free_address()?, redis_url, (&[], arguments), choose)
    }

    fn launch_hub_at(
        &self,
        hub: SocketAddr,
        redis_url: Option<&str>,
        (environment, arguments): (&[(&str, String)], &[&str]),
        choose: impl Fn(&Cores) -> usize,
    ) -> anyhow::Result<Server> {
        let admin = free_address()?;
        let path = self.rivulet.as_ref().context("rivulet is not among the servers")?;
        let mut command = Command::new(path);
        // What the shell is configured for is not what is measured.
        for (name, _) in std::env::vars_os() {
            if ["RIVULET_", "MERCURE_", "OTEL_"]
                .iter()
                .any(|prefix| name.as_encoded_bytes().starts_with(prefix.as_bytes()))
            {
                command.env_remove(name);
            }
        }
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        command.args(["serve", "--dev", "--workers", "1"]);
        command.args(["--listen", &hub.to_string(), "--admin-listen", &admin.to_string()]);
        command.args(redis_url.iter().flat_map(|url| ["--redis-url", url])).args(arguments);
        let process = Process::start("rivulet", command, self.cores.as_ref(), choose)?;
        Server { hub, admin: Some(admin), process, redis: None }.when_ready()
    }

    /// The flags that the hub has.
    pub(crate) fn flags(&self) -> anyhow::Result<Flags> {
        Flags::of(self.rivulet.as_ref().context("rivulet is not among the servers")?)
    }

    fn launch_floor(&self) -> anyhow::Result<Server> {
        let hub = free_address()?;
        let mut command =
            Command::new(std::env::current_exe().context("asking for the path of this program")?);
        command.args(["floor", "--listen", &hub.to_string()]);
        let process = Process::start("floor", command, self.cores.as_ref(), |cores| cores.server)?;
        Server { hub, admin: None, process, redis: None }.when_ready()
    }

    /// The redis-server program.
    pub(crate) fn redis_path(&self) -> anyhow::Result<&Path> {
        self.redis_server.as_deref().context("redis-server is not on the PATH")
    }

    /// Starts a Redis and waits until it is ready.
    pub(crate) fn launch_redis(&self, keeping: Keeping, settings: &[&str]) -> anyhow::Result<RedisServer> {
        RedisServer::start(self.redis_path()?, self.cores.as_ref(), keeping, settings)
    }
}

impl Server {
    fn when_ready(mut self) -> anyhow::Result<Self> {
        let deadline = Instant::now() + START_MAX;
        while !self.is_ready() {
            self.check_alive()?;
            if Instant::now() > deadline {
                bail!("a server was not ready after {START_MAX:?}:\n{}", self.process.last_words());
            }
            thread::sleep(START_POLL);
        }
        Ok(self)
    }

    /// A connection to its Redis.
    pub(crate) fn redis_client(&self) -> anyhow::Result<RedisClient> {
        self.redis.as_ref().context("the server has no Redis of its own")?.client()
    }

    /// Fails, with its last words, if it or its Redis has ended.
    pub(crate) fn check_alive(&mut self) -> anyhow::Result<()> {
        self.redis.as_mut().map_or(Ok(()), RedisServer::check_alive)?;
        self.process.check_alive()
    }

    /// User and system time of the server process.
    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        self.process.cpu()
    }

    /// User and system time of its Redis, if it has one.
    pub(crate) fn redis_cpu(&self) -> anyhow::Result<Option<Duration>> {
        self.redis.as_ref().map(RedisServer::cpu).transpose()
    }

    /// Resident memory in bytes.
    pub(crate) fn resident(&self) -> anyhow::Result<u64> {
        self.process.resident()
    }

    /// The most memory that was resident since the last [`Server::forget_peak`], in bytes.
    pub(crate) fn peak(&self) -> anyhow::Result<u64> {
        self.process.peak()
    }

    /// Lets the peak begin anew.
    pub(crate) fn forget_peak(&self) -> anyhow::Result<()> {
        self.process.forget_peak()
    }

    /// Bytes that its allocator has handed out, if its metrics say so.
    pub(crate) fn heap(&self) -> Option<f64> {
        let (status, text) = http_get(self.admin?, "/metrics").ok()?;
        if status == 200 { parse_heap(&text) } else { None }
    }

    /// What its metrics say now.
    pub(crate) fn exposition(&self) -> anyhow::Result<Exposition> {
        let admin = self.admin.context("the server has no metrics")?;
        match http_get(admin, "/metrics").context("asking for metrics")? {
            (200, text) => Ok(Exposition::parse(&text)),
            (status, _) => bail!("/metrics answered {status}"),
        }
    }

    /// Where it shows what it does.
    pub(crate) fn admin(&self) -> anyhow::Result<SocketAddr> {
        self.admin.context("the server has no admin listener")
    }

    /// How many threads it has.
    pub(crate) fn threads(&self) -> anyhow::Result<u64> {
        self.process.threads()
    }

    /// Ends it at once, as a crash would.
    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        self.process.kill()
    }

    /// Whether it answers and, if it can say so, has a live feed.
    pub(crate) fn is_ready(&self) -> bool {
        match self.admin {
            Some(admin) => {
                http_get(admin, "/ready").is_ok_and(|(status, _)| status == 200) && accepts(self.hub)
            }
            None => accepts(self.hub),
        }
    }
}

/// The value of the first metric whose name says that it is the allocated heap in bytes.
fn parse_heap(metrics: &str) -> Option<f64> {
    metrics.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let (name, value) = line.rsplit_once(' ')?;
        let is_heap = (name.contains("heap") || name.contains("allocated")) && name.contains("bytes");
        if is_heap { value.parse().ok() } else { None }
    })
}

fn accepts(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(program)).find(|path| Path::is_file(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_heap_is_found_among_the_metrics() {
        let text = "# TYPE x gauge\n# HELP rivulet_heap_allocated_bytes What is allocated.\nx 3\n\
                    rivulet_heap_allocated_bytes 1234567\n# EOF\n";
        assert_eq!(parse_heap(text), Some(1_234_567.0));
        assert_eq!(parse_heap("x 3\nrivulet_sent_bytes_total 7\n"), None);
    }

    #[test]
    fn programs_are_found_on_the_path() {
        assert!(on_path("sh").is_some());
        assert_eq!(on_path("no-such-program-anywhere"), None);
    }
}
