//! A real redis-server of a test's own.

use std::{
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
};

use tempfile::TempDir;

use crate::{PATIENCE, eventually, port, process::Process};

/// The server's configuration, in its directory.
const CONFIGURATION: &str = "redis.conf";

/// What it writes to its output, since its last start.
const LOG: &str = "redis.log";

/// A redis-server on a free port with its files in a temporary directory.
#[derive(Debug)]
pub struct RedisServer {
    address: SocketAddr,
    process: Process,
    dir: TempDir,
}

impl RedisServer {
    /// Starts one and waits until it answers.
    pub async fn start() -> Self {
        Self::start_with(port::free(), &[]).await
    }

    /// Starts one at an address with these lines of configuration beside ours and waits until it answers.
    ///
    /// They stand in a file, where a Sentinel can have them rewritten.
    pub async fn start_with(address: SocketAddr, lines: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let port = address.port();
        let ours = format!("port {port}\nbind 127.0.0.1\nsave \"\"\nappendonly yes\n");
        let text = ours + &lines.join("\n") + "\n";
        std::fs::write(dir.path().join(CONFIGURATION), text).expect("a file in a temporary directory");
        let process = launch(&dir);
        let server = Self { address, process, dir };
        server.answers().await;
        server
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it keeps its files.
    pub fn directory(&self) -> &Path {
        self.dir.path()
    }

    /// The address for clients: `redis://…`.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Runs one command with `redis-cli` and answers what it printed.
    pub fn command(&self, arguments: &[&str]) -> Result<String, String> {
        command(self.address, arguments)
    }

    /// The names of all keys.
    pub fn keys(&self) -> Vec<String> {
        let answer = self.command(&["--scan"]).expect("redis answers");
        answer.lines().map(str::to_owned).collect()
    }

    /// The names of the keys that have no time to live.
    pub fn keys_for_ever(&self) -> Vec<String> {
        let script = "local r = {} for _, k in ipairs(redis.call('KEYS', '*')) do \
                      if redis.call('PTTL', k) == -1 then r[#r + 1] = k end end return r";
        let answer = self.command(&["EVAL", script, "0"]).expect("redis answers");
        answer.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }

    /// Kills it, as a crash would.
    pub fn crash(&mut self) {
        self.process.signal("KILL");
        self.process.wait(PATIENCE).expect("a killed process ends");
    }

    /// Starts it again on the same port, with what it had written to disk.
    pub async fn restart(&mut self) {
        self.process = launch(&self.dir);
        self.answers().await;
    }

    /// Starts it again on the same port, without what it had written to disk.
    pub async fn restart_empty(&mut self) {
        let data = self.dir.path().join("appendonlydir");
        if data.exists() {
            std::fs::remove_dir_all(data).expect("a directory of ours");
        }
        self.restart().await;
    }

    /// Stops its process without ending it: connections stay up and nobody answers.
    pub fn freeze(&self) {
        self.process.signal("STOP");
    }

    /// Lets a frozen process go on.
    pub fn thaw(&self) {
        self.process.signal("CONT");
    }

    /// Whether the process runs, frozen or not.
    pub fn is_up(&mut self) -> bool {
        self.process.status().is_none()
    }

    /// What it has written since its last start.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join(LOG)).unwrap_or_default()
    }

    async fn answers(&self) {
        eventually("redis-server answers", PATIENCE, || async {
            match self.command(&["PING"])?.as_str() {
                "PONG" => Ok(()),
                other => Err(other.to_owned()),
            }
        })
        .await;
    }
}

/// Runs one command with `redis-cli` on the server at an address and answers what it printed.
///
/// # Errors
/// What was printed when it failed; a server that does not answer is given up after ten seconds.
pub fn command(address: SocketAddr, arguments: &[&str]) -> Result<String, String> {
    let port = address.port().to_string();
    let output = Command::new("timeout")
        .args(["10", "redis-cli", "-p", &port])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("redis-cli: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

fn launch(dir: &TempDir) -> Process {
    let mut command = Command::new("redis-server");
    command.arg(CONFIGURATION).current_dir(dir.path());
    Process::start(&mut command, &dir.path().join(LOG))
}
