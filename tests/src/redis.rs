//! A real redis-server of a test's own.

use std::{
    net::SocketAddr,
    process::{Command, Stdio},
};

use tempfile::TempDir;

use crate::{PATIENCE, eventually, port, process::Process};

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
        let address = port::free();
        let dir = tempfile::tempdir().expect("a temporary directory");
        let process = launch(address, &dir);
        let server = Self { address, process, dir };
        server.answers().await;
        server
    }

    /// The address for clients: `redis://…`.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Runs one command with `redis-cli` and answers what it printed.
    pub fn command(&self, arguments: &[&str]) -> Result<String, String> {
        let port = self.address.port().to_string();
        let output = Command::new("redis-cli")
            .args(["-p", &port])
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
        self.process = launch(self.address, &self.dir);
        self.answers().await;
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

fn launch(address: SocketAddr, dir: &TempDir) -> Process {
    let port = address.port().to_string();
    let mut command = Command::new("redis-server");
    command.current_dir(dir.path());
    command.args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes"]);
    Process::start(&mut command, &dir.path().join("redis.log"))
}
