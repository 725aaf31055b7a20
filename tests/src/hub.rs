//! A real `rivulet` process on free ports. Dropping it checks that nothing is left behind.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    process::{Command, ExitStatus},
    sync::Arc,
};

use tempfile::TempDir;

pub use crate::program::{binary, built, command, command_of};
use crate::{
    PATIENCE, Request, Response, Subscriber,
    deadline::eventually_blocking,
    eventually,
    metrics::{self, Metrics},
    port,
    process::Process,
    redis::RedisServer,
    tokens,
};

/// The gauge of open streams; the name is that of the reference hub.
const CONNECTED: &str = "mercure_subscribers_connected";

/// What stands behind a hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// The memory transport.
    Memory,
    /// A redis-server of the test's own.
    Redis,
}

impl Backend {
    /// Starts a hub with [`Hub::DEFAULTS`].
    pub async fn hub(self) -> Hub {
        self.hub_with(&[]).await
    }

    /// Starts a hub with these flags above [`Hub::DEFAULTS`].
    pub async fn hub_with(self, flags: &[&str]) -> Hub {
        Hub::start(self.redis().await, flags).await
    }

    /// Starts a hub without some of [`Hub::DEFAULTS`].
    pub async fn hub_without(self, variables: &[&str]) -> Hub {
        let mut hub = Hub::launch(self.redis().await, variables, &[]);
        hub.ready().await;
        hub
    }

    /// Starts a hub with nothing but these flags.
    pub async fn hub_without_defaults(self, flags: &[&str]) -> Hub {
        let names = Hub::DEFAULTS.map(|(name, _)| name);
        let mut hub = Hub::launch(self.redis().await, &names, flags);
        hub.ready().await;
        hub
    }

    async fn redis(self) -> Option<Arc<RedisServer>> {
        match self {
            Self::Memory => None,
            Self::Redis => Some(Arc::new(RedisServer::start().await)),
        }
    }
}

/// A running node.
#[derive(Debug)]
pub struct Hub {
    address: SocketAddr,
    admin: SocketAddr,
    settings: Settings,
    process: Process,
    dir: TempDir,
    redis: Option<Arc<RedisServer>>,
    ended: bool,
}

impl Hub {
    /// What every hub of the tests is started with, as environment variables: flags stand above them.
    pub const DEFAULTS: [(&str, &str); 11] = [
        ("RIVULET_WORKERS", "2"),
        ("RIVULET_ANONYMOUS", "true"),
        ("RIVULET_PUBLISHER_JWT_KEY", tokens::PUBLISHER_KEY),
        ("RIVULET_SUBSCRIBER_JWT_KEY", tokens::SUBSCRIBER_KEY),
        (
            "RIVULET_TRUSTED_ISSUER",
            "https://issuer.example.com=HS256:issuer-key-of-the-tests-0123456789abcdefghij",
        ),
        ("RIVULET_RESOURCE", tokens::RESOURCE),
        ("RIVULET_HUB_URL", tokens::RESOURCE),
        // Nobody balances the load of a test: a node that stops need not wait for anybody to notice.
        ("RIVULET_DRAIN_DELAY", "0s"),
        ("RIVULET_DRAIN_PERIOD", "0s"),
        ("RIVULET_LOG_LEVEL", "info"),
        ("RUST_BACKTRACE", "1"),
    ];

    /// Starts a node and waits until it is ready.
    ///
    /// # Panics
    /// If it ends instead.
    pub async fn start(redis: Option<Arc<RedisServer>>, flags: &[&str]) -> Self {
        let mut hub = Self::launch(redis, &[], flags);
        hub.ready().await;
        hub
    }

    /// Starts a node with these environment variables beside [`Hub::DEFAULTS`], such as the standard ones of tracing. With
    /// `RIVULET_FAULT` it is the build that has faults.
    ///
    /// # Panics
    /// If it ends instead.
    pub async fn start_in(
        environment: &[(String, String)],
        redis: Option<Arc<RedisServer>>,
        flags: &[&str],
    ) -> Self {
        Self::start_where([port::free(), port::free()], environment, redis, flags).await
    }

    /// Starts a node at these addresses: that of clients, that of the admin listener.
    pub async fn start_where(
        [address, admin]: [SocketAddr; 2],
        environment: &[(String, String)],
        redis: Option<Arc<RedisServer>>,
        flags: &[&str],
    ) -> Self {
        let mut hub = Self::launch_where([address, admin], redis, Settings::new(environment, &[], flags));
        hub.ready().await;
        hub
    }

    /// Starts a node without Redis that listens on another address than loopback.
    pub async fn start_on(ip: IpAddr, flags: &[&str]) -> Self {
        let mut hub = Self::launch_as(ip, None, Settings::new(&[], &[], flags));
        hub.ready().await;
        hub
    }

    /// Starts a node on any Redis: its URL says of which shape.
    ///
    /// # Panics
    /// If it ends instead.
    pub async fn start_at(redis_url: &str, flags: &[&str]) -> Self {
        Self::start(None, &[&["--redis-url", redis_url][..], flags].concat()).await
    }

    /// Starts a node that may not become ready for now.
    pub fn start_unready(redis_url: &str, flags: &[&str]) -> Self {
        Self::launch(None, &[], &[&["--redis-url", redis_url][..], flags].concat())
    }

    /// Where publishers and subscribers connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The hub's URL as a client on this machine writes it.
    pub fn url(&self) -> String {
        format!("http://{}/.well-known/mercure", self.address)
    }

    /// Where `/ready` and `/metrics` are.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// The Redis behind it.
    pub fn redis(&self) -> &RedisServer {
        self.redis.as_deref().expect("this hub has a Redis")
    }

    /// A handle of the Redis behind it, for a second node.
    pub fn redis_shared(&self) -> Arc<RedisServer> {
        Arc::clone(self.redis.as_ref().expect("this hub has a Redis"))
    }

    /// What the process has written so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Sends one request and reads the whole answer.
    pub async fn send(&self, request: &Request) -> Response {
        request.send(self.address).await
    }

    /// Publishes with a 0.x token for everything; answers the id.
    pub async fn publish(&self, fields: &[(&str, &str)]) -> String {
        let response = self.send(&Request::publish(fields).bearer(&tokens::publisher(&["*"]))).await;
        assert_eq!(
            response.status,
            200,
            "{fields:?}: {response:?}\n{}",
            String::from_utf8_lossy(&response.body)
        );
        response.text().to_owned()
    }

    /// Opens a stream without a token.
    pub async fn subscribe(&self, query: &str) -> Subscriber {
        self.open(&Request::subscribe(query)).await
    }

    /// Opens a stream.
    pub async fn open(&self, request: &Request) -> Subscriber {
        Subscriber::open(self.address, request).await
    }

    /// The metrics of this moment.
    pub fn metrics(&self) -> Metrics {
        Metrics::scrape(self.admin).expect("the admin listener answers")
    }

    /// Waits until the node counts this many open streams.
    pub async fn expect_connections(&self, count: usize) {
        let admin = self.admin;
        eventually(format!("{count} connections"), PATIENCE, || async { connected(admin, count) }).await;
    }

    /// Sends a signal, by name: `TERM`, `HUP`, `STOP`, `CONT`.
    pub fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    /// Sends `SIGTERM` and waits for the end.
    pub fn stop(&mut self) -> ExitStatus {
        self.process.signal("TERM");
        self.wait()
    }

    /// Waits for the end of a process that was asked to end. Blocks.
    ///
    /// # Panics
    /// If it runs on.
    pub fn wait(&mut self) -> ExitStatus {
        self.ended = true;
        let status = self.process.wait(PATIENCE);
        status.unwrap_or_else(|error| panic!("after a signal: {error}\n{}", self.log()))
    }

    /// How the process ended, if it did.
    pub fn status(&mut self) -> Option<ExitStatus> {
        let status = self.process.status();
        self.ended |= status.is_some();
        status
    }

    /// Kills the process, as a crash would.
    pub fn crash(&mut self) {
        self.process.signal("KILL");
        self.ended = true;
        self.process.wait(PATIENCE).expect("a killed process ends");
    }

    /// The same, and from now on with this environment beside the defaults.
    pub async fn replace_in(&mut self, environment: &[(String, String)]) {
        self.settings.environment = environment.to_vec();
        self.replace().await;
    }

    /// Stops this node and starts another one at the same address on the same Redis.
    pub async fn replace(&mut self) {
        let status = self.stop();
        assert!(status.success(), "{status}\n{}", self.log());
        let command = self.settings.command(self.address, self.admin, self.redis.as_deref());
        self.process = spawn(command, &self.dir);
        self.ended = false;
        self.ready().await;
    }

    fn launch(redis: Option<Arc<RedisServer>>, without: &[&str], flags: &[&str]) -> Self {
        Self::launch_as(Ipv4Addr::LOCALHOST.into(), redis, Settings::new(&[], without, flags))
    }

    fn launch_as(ip: IpAddr, redis: Option<Arc<RedisServer>>, settings: Settings) -> Self {
        Self::launch_where([port::free_on(ip), port::free()], redis, settings)
    }

    fn launch_where(
        [address, admin]: [SocketAddr; 2],
        redis: Option<Arc<RedisServer>>,
        settings: Settings,
    ) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let process = spawn(settings.command(address, admin, redis.as_deref()), &dir);
        Self { address, admin, settings, process, dir, redis, ended: false }
    }

    async fn ready(&mut self) {
        let mut patience = 0;
        loop {
            if let Some(status) = self.process.status() {
                self.ended = true;
                panic!("rivulet ended at its start: {status}\n{}", self.log());
            }
            match metrics::get(self.admin, "/ready") {
                Ok((200, _)) => return,
                answer if patience > PATIENCE.as_millis() => {
                    panic!("not ready: {answer:?}\n{}", self.log())
                }
                _ => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
            }
            patience += 10;
        }
    }

    /// What must hold after a test: everybody who left is forgotten, and the process ends well when asked to.
    fn check_end(&mut self) -> Result<(), String> {
        if self.ended {
            return Ok(());
        }
        let admin = self.admin;
        eventually_blocking(PATIENCE, || connected(admin, 0))
            .map_err(|error| format!("connections were left behind: {error}"))?;
        self.process.signal("TERM");
        let status = self.process.wait(PATIENCE).map_err(|error| format!("after SIGTERM: {error}"))?;
        if !status.success() {
            return Err(format!("after SIGTERM: {status}"));
        }
        self.redis.as_deref().map_or(Ok(()), check_keys)
    }
}

/// Every key stands under the prefix, and what grows with topics or updates goes by itself.
fn check_keys(redis: &RedisServer) -> Result<(), String> {
    let fixed = ["clock", "birth", "layout", "index"];
    if let Some(key) = redis.keys().iter().find(|key| !key.starts_with("{rivulet")) {
        return Err(format!("the key {key:?} is not under the prefix"));
    }
    let for_ever = redis.keys_for_ever();
    let forgotten = for_ever.iter().find(|key| !fixed.iter().any(|name| key.ends_with(&format!("}}{name}"))));
    forgotten.map_or(Ok(()), |key| Err(format!("the key {key:?} never expires")))
}

impl Drop for Hub {
    fn drop(&mut self) {
        use std::io::Write as _;
        let failed = if std::thread::panicking() { None } else { self.check_end().err() };
        if failed.is_some() || std::thread::panicking() {
            // The test's own output: what the process said belongs to the failure.
            let _ = writeln!(std::io::stderr(), "--- log of {} ---\n{}", self.address, self.log());
        }
        if let Some(error) = failed {
            panic!("{error}");
        }
    }
}

/// Whether a node counts this many open streams.
pub(crate) fn connected(admin: SocketAddr, count: usize) -> Result<(), String> {
    let metrics = Metrics::scrape(admin)?;
    match metrics.sum(CONNECTED, "") {
        #[expect(clippy::cast_precision_loss, reason = "tests open few connections")]
        Some(found) if found == count as f64 => Ok(()),
        found => Err(format!("{CONNECTED} is {found:?}, not {count}")),
    }
}

/// What a node was started with, so that another one can take its place.
#[derive(Debug)]
struct Settings {
    environment: Vec<(String, String)>,
    without: Vec<String>,
    flags: Vec<String>,
}

impl Settings {
    fn new(environment: &[(String, String)], without: &[&str], flags: &[&str]) -> Self {
        let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        Self { environment: environment.to_vec(), without: texts(without), flags: texts(flags) }
    }

    fn command(&self, address: SocketAddr, admin: SocketAddr, redis: Option<&RedisServer>) -> Command {
        let is_faulty = self.environment.iter().any(|(name, _)| name == "RIVULET_FAULT");
        let mut command = if is_faulty { command_of(&built("rivulet-faulty")) } else { command() };
        command.envs(Hub::DEFAULTS).envs(self.environment.iter().map(|(name, value)| (name, value)));
        for variable in &self.without {
            command.env_remove(variable);
        }
        command.args(["--listen", &address.to_string(), "--admin-listen", &admin.to_string()]);
        if let Some(redis) = redis {
            command.args(["--redis-url", &redis.url()]);
        }
        command.args(&self.flags);
        command
    }
}

fn spawn(mut command: Command, dir: &TempDir) -> Process {
    Process::start(command.current_dir(dir.path()), &dir.path().join("log"))
}
