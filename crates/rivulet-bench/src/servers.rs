//! The servers of a measurement: Rivulet with its Redis, and the floor, started afresh for every run.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};

use crate::{
    args::{CommonArgs, ServerKind, Transport},
    binary,
    cores::Cores,
    http_get::http_get,
    process::Process,
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
    redis: Option<Process>,
}

impl Launcher {
    /// Finds (and builds) what the servers need, and divides the cores.
    pub(crate) fn prepare(args: &CommonArgs) -> anyhow::Result<Self> {
        let redis_server = on_path("redis-server");
        let transport = match (args.transport, &redis_server) {
            (Some(Transport::Redis), None) => bail!("--transport redis: redis-server is not on the PATH"),
            (Some(transport), _) => transport,
            (None, Some(_)) => Transport::Redis,
            (None, None) => Transport::Memory,
        };
        let measured = args.servers.contains(&ServerKind::Rivulet);
        // Before this process is bound to a core: cargo may use them all.
        let rivulet = measured.then(|| binary::find_rivulet(args.rivulet.as_deref())).transpose()?;
        Ok(Self { cores: Cores::divide()?, transport, rivulet, redis_server })
    }

    /// Starts a server and waits until it is ready.
    pub(crate) fn launch(&self, kind: ServerKind) -> anyhow::Result<Server> {
        let mut server = match kind {
            ServerKind::Rivulet => self.launch_rivulet()?,
            ServerKind::Floor => self.launch_floor()?,
        };
        let deadline = Instant::now() + START_MAX;
        while !server.is_ready() {
            server.check_alive()?;
            if Instant::now() > deadline {
                bail!("{} was not ready after {START_MAX:?}:\n{}", kind.name(), server.process.last_words());
            }
            thread::sleep(START_POLL);
        }
        Ok(server)
    }

    fn launch_rivulet(&self) -> anyhow::Result<Server> {
        let (hub, admin) = (free_address()?, free_address()?);
        let path = self.rivulet.as_ref().context("rivulet is not among the servers")?;
        let mut command = Command::new(path);
        // What the shell is configured for is not what is measured.
        for (name, _) in std::env::vars_os() {
            if ["RIVULET_", "MERCURE_"]
                .iter()
                .any(|prefix| name.as_encoded_bytes().starts_with(prefix.as_bytes()))
            {
                command.env_remove(name);
            }
        }
        command.args(["serve", "--dev", "--workers", "1"]);
        command.args(["--listen", &hub.to_string(), "--admin-listen", &admin.to_string()]);
        let mut redis = None;
        if self.transport == Transport::Redis {
            let (process, address) = self.launch_redis()?;
            command.args(["--redis-url", &format!("redis://{address}")]);
            redis = Some(process);
        }
        let process = Process::start("rivulet", command, self.cores.as_ref(), |cores| cores.server)?;
        Ok(Server { hub, admin: Some(admin), process, redis })
    }

    fn launch_floor(&self) -> anyhow::Result<Server> {
        let hub = free_address()?;
        let mut command =
            Command::new(std::env::current_exe().context("asking for the path of this program")?);
        command.args(["floor", "--listen", &hub.to_string()]);
        let process = Process::start("floor", command, self.cores.as_ref(), |cores| cores.server)?;
        Ok(Server { hub, admin: None, process, redis: None })
    }

    fn launch_redis(&self) -> anyhow::Result<(Process, SocketAddr)> {
        let address = free_address()?;
        let path = self.redis_server.as_ref().context("redis-server is not on the PATH")?;
        let mut command = Command::new(path);
        command.args(["--bind", "127.0.0.1", "--port", &address.port().to_string()]);
        // It keeps everything in memory: the disk of the machine is not what is measured.
        command.args(["--save", "", "--appendonly", "no"]);
        let mut process = Process::start("redis-server", command, self.cores.as_ref(), |cores| cores.redis)?;
        let deadline = Instant::now() + START_MAX;
        while !accepts(address) {
            process.check_alive()?;
            if Instant::now() > deadline {
                bail!("redis-server was not ready after {START_MAX:?}:\n{}", process.last_words());
            }
            thread::sleep(START_POLL);
        }
        Ok((process, address))
    }
}

impl Server {
    /// Fails, with its last words, if it or its Redis has ended.
    pub(crate) fn check_alive(&mut self) -> anyhow::Result<()> {
        self.redis.as_mut().map_or(Ok(()), Process::check_alive)?;
        self.process.check_alive()
    }

    /// User and system time of the server process.
    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        self.process.cpu()
    }

    /// User and system time of its Redis, if it has one.
    pub(crate) fn redis_cpu(&self) -> anyhow::Result<Option<Duration>> {
        self.redis.as_ref().map(Process::cpu).transpose()
    }

    /// Resident memory in bytes.
    pub(crate) fn resident(&self) -> anyhow::Result<u64> {
        self.process.resident()
    }

    /// Bytes that its allocator has handed out, if its metrics say so.
    pub(crate) fn heap(&self) -> Option<f64> {
        let (status, text) = http_get(self.admin?, "/metrics").ok()?;
        if status == 200 { parse_heap(&text) } else { None }
    }

    fn is_ready(&self) -> bool {
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

/// A port that was free a moment ago.
fn free_address() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("looking for a free port")?;
    Ok(listener.local_addr()?)
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
