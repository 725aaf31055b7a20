//! A redis-server of the bench's own, with its files in a temporary directory.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use tempfile::TempDir;

use crate::{
    cores::Cores,
    port::free_address,
    process::Process,
    redis_client::{RedisClient, Reply},
};

/// Longest wait until it answers.
const START_MAX: Duration = Duration::from_secs(20);
/// Pause between two looks at a server that starts: short, since the moment at which it is ready is measured.
const START_POLL: Duration = Duration::from_millis(2);

/// Dropping it ends it.
pub(crate) struct RedisServer {
    pub(crate) address: SocketAddr,
    path: PathBuf,
    settings: Vec<String>,
    cores: Option<Cores>,
    process: Process,
    // Dropped last: the process writes there.
    dir: TempDir,
}

/// What it does with its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keeping {
    /// Everything stays in memory: the disk of the machine is not what is measured.
    InMemory,
    /// It writes an append-only file, and has its data again when it restarts.
    OnDisk,
}

impl RedisServer {
    /// Starts one and waits until it answers.
    pub(crate) fn start(
        path: &Path,
        cores: Option<&Cores>,
        keeping: Keeping,
        settings: &[&str],
    ) -> anyhow::Result<Self> {
        let (address, dir) = (free_address()?, tempfile::tempdir().context("creating a directory")?);
        let append = if keeping == Keeping::OnDisk { "yes" } else { "no" };
        let own = ["--save", "", "--appendonly", append];
        let settings: Vec<String> = own.iter().chain(settings).map(|word| (*word).to_owned()).collect();
        let process = launch(path, address, &settings, dir.path(), cores)?;
        let mut server =
            Self { address, path: path.to_owned(), settings, cores: cores.copied(), process, dir };
        server.wait_ready()?;
        Ok(server)
    }

    /// Waits until what it has answered is written, so that it has it after a crash: while its disk is busy, Redis puts
    /// writing off for up to two seconds (`appendfsync everysec`).
    pub(crate) fn flush(&self) -> anyhow::Result<()> {
        let (mut client, deadline) = (self.client()?, Instant::now() + START_MAX);
        loop {
            let info = client.info("persistence")?;
            if info.number("aof_buffer_length") == 0 && info.number("aof_pending_bio_fsync") == 0 {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("redis-server has not written its data for {START_MAX:?}");
            }
            thread::sleep(START_POLL);
        }
    }

    /// Kills it, as a crash would.
    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        self.process.kill()
    }

    /// Starts it again on the same port, with what it had written to disk, and waits until it answers.
    pub(crate) fn restart(&mut self) -> anyhow::Result<()> {
        self.process.kill()?;
        self.process =
            launch(&self.path, self.address, &self.settings, self.dir.path(), self.cores.as_ref())?;
        self.wait_ready()
    }

    pub(crate) fn client(&self) -> anyhow::Result<RedisClient> {
        RedisClient::connect(self.address)
    }

    pub(crate) fn check_alive(&mut self) -> anyhow::Result<()> {
        self.process.check_alive()
    }

    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        self.process.cpu()
    }

    /// Until it has loaded its data, too: it refuses everything before.
    fn wait_ready(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + START_MAX;
        while !self.client().and_then(|mut client| client.command(&["PING"])).is_ok_and(is_pong) {
            self.process.check_alive()?;
            if Instant::now() > deadline {
                bail!("redis-server was not ready after {START_MAX:?}:\n{}", self.process.last_words());
            }
            thread::sleep(START_POLL);
        }
        Ok(())
    }
}

// The closure of `is_ok_and` hands the reply over.
#[allow(clippy::needless_pass_by_value)]
fn is_pong(reply: Reply) -> bool {
    reply == Reply::Text("PONG".to_owned())
}

fn launch(
    path: &Path,
    address: SocketAddr,
    settings: &[String],
    dir: &Path,
    cores: Option<&Cores>,
) -> anyhow::Result<Process> {
    let mut command = Command::new(path);
    command.args(["--bind", "127.0.0.1", "--port", &address.port().to_string()]).args(settings);
    command.arg("--dir").arg(dir);
    Process::start("redis-server", command, cores, |cores| cores.redis)
}
