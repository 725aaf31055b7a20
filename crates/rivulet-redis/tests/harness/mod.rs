//! A real redis-server of the test's own: on a free port, in a directory of its own, gone when it is dropped.

// Each test file is a program of its own and uses a part of this.
#![allow(dead_code)]

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use redis::{FromRedisValue, aio::MultiplexedConnection};
use rivulet_redis::{RedisConfig, RedisTransport};

const PATIENCE: Duration = Duration::from_secs(20);

/// See the module.
pub(crate) struct RedisServer {
    process: Child,
    port: u16,
    directory: tempfile::TempDir,
}

impl RedisServer {
    /// Starts a server that keeps its data over a restart.
    pub(crate) async fn start() -> Self {
        // The port is free now; if another process takes it first, redis-server exits and this tries another one.
        for _ in 0..10 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let directory = tempfile::tempdir().unwrap();
            let mut server = Self { process: spawn(port, directory.path()), port, directory };
            if server.is_up().await {
                return server;
            }
        }
        panic!("redis-server did not start: is it installed?");
    }

    async fn is_up(&mut self) -> bool {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline && self.process.try_wait().unwrap().is_none() {
            if let Ok(mut connection) = self.client().get_multiplexed_async_connection().await
                && redis::cmd("PING").query_async::<String>(&mut connection).await.is_ok()
            {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        false
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    fn client(&self) -> redis::Client {
        redis::Client::open(self.url()).unwrap()
    }

    pub(crate) async fn connection(&self) -> MultiplexedConnection {
        self.client().get_multiplexed_async_connection().await.unwrap()
    }

    /// Runs one command.
    pub(crate) async fn command<T: FromRedisValue>(&self, words: &[&str]) -> T {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.query_async(&mut self.connection().await).await.unwrap()
    }

    /// Stops the server, in order: everything acknowledged is in its file.
    pub(crate) fn stop(&mut self) {
        self.signal("-TERM");
        self.process.wait().unwrap();
    }

    /// Lets it hang: connections stay open, nothing is answered.
    pub(crate) fn hang(&self) {
        self.signal("-STOP");
    }

    /// Lets it go on.
    pub(crate) fn go_on(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill").arg(signal).arg(self.process.id().to_string()).status().unwrap();
        assert!(status.success());
    }

    /// Starts it again with its data.
    pub(crate) async fn start_again(&mut self) {
        self.process = spawn(self.port, self.directory.path());
        assert!(self.is_up().await, "redis-server did not start again");
    }

    pub(crate) fn config(&self) -> RedisConfig {
        RedisConfig { url: self.url(), ..RedisConfig::default() }
    }

    pub(crate) async fn node(&self) -> (std::sync::Arc<RedisTransport>, rivulet_node::Feed) {
        RedisTransport::connect(self.config()).await.unwrap()
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn spawn(port: u16, directory: &std::path::Path) -> Child {
    Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes"])
        .arg("--dir")
        .arg(directory)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server must be installed")
}

/// Waits until a condition holds.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    let deadline = Instant::now() + PATIENCE;
    while !condition().await {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
