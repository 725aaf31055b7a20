//! Makes connections to the servers of one deployment: each kind with its limits, all from one configuration.

use std::{sync::Arc, time::Duration};

use deadpool_redis::{Manager, Pool, QueueMode, Runtime, Timeouts};
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo,
    ProtocolVersion, PushInfo, RedisConnectionInfo, RedisError, RedisResult, TlsCertificates, Value,
    aio::{MultiplexedConnection, SendError},
    io::tcp::TcpSettings,
};
use tokio::sync::Notify;

use crate::{
    ConnectError, RedisConfig,
    command_stats::CommandStats,
    deployment::{Deployment, Layout, Server},
};

/// How many commands may wait for the connection's task. The library's 50 stall a busy publisher. (Its limit for those that are
/// on their way is no good here: who waits is woken one after another, overtaken by who comes, and fails by its deadline.)
const PIPELINE_LEN_MAX: usize = 4096;
/// How many bytes are gathered before they are written to the socket: appends that come together travel together. Twice as
/// much and a usual command fit the 8 KiB that the connection's buffer begins with (see `command_parts.rs`).
const WRITE_LEN: usize = 3 << 10;
/// How many deadlines a read may wait for a connection: others come before it.
const POOL_WAITS: u32 = 5;
/// How long a connection that reads the log for streams is kept when nobody needs it: up to 80 KB here, by what it read, and
/// as much in Redis. The first read after that pays for a new one, some milliseconds over TLS; the feed keeps its own.
const READER_IDLE_MAX: Duration = Duration::from_secs(10);
/// The first wait after a failure; it doubles up to [`BACKOFF_MAX`].
const BACKOFF_MIN: Duration = Duration::from_millis(50);
/// The longest wait between two attempts to connect.
pub(crate) const BACKOFF_MAX: Duration = Duration::from_secs(1);
/// When the kernel gives a silent connection up. Ticks find a dead feed sooner; this is for the other connections.
const USER_TIMEOUT: Duration = Duration::from_secs(15);
/// When the kernel asks a silent peer whether it is there.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Clone)]
pub(crate) struct Connector {
    pub(crate) deployment: Arc<Deployment>,
    /// Address and settings of some server; those of others differ in host and port.
    template: ConnectionInfo,
    deadline: Duration,
    /// What is asked of all servers.
    pub(crate) stats: Arc<CommandStats>,
}

impl Connector {
    pub(crate) fn new(deployment: Deployment, config: &RedisConfig) -> Result<Self, ConnectError> {
        let template = template(&deployment, config)?;
        let stats = Arc::new(CommandStats::new());
        Ok(Self { deployment: Arc::new(deployment), template, deadline: config.deadline, stats })
    }

    pub(crate) fn deadline(&self) -> Duration {
        self.deadline
    }

    fn config(&self) -> AsyncConnectionConfig {
        AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.deadline))
            .set_response_timeout(Some(self.deadline))
            .set_pipeline_buffer_size(PIPELINE_LEN_MAX)
            .set_write_backpressure_boundary(WRITE_LEN)
    }

    /// How a server is reached.
    fn info(&self, server: &Server) -> ConnectionInfo {
        let address = match (server, self.template.addr()) {
            (Server::Tcp(host, port), ConnectionAddr::TcpTls { insecure, tls_params, .. }) => {
                ConnectionAddr::TcpTls {
                    host: host.clone(),
                    port: *port,
                    insecure: *insecure,
                    tls_params: tls_params.clone(),
                }
            }
            (Server::Tcp(host, port), _) => ConnectionAddr::Tcp(host.clone(), *port),
            (Server::Unix(path), _) => ConnectionAddr::Unix(path.clone()),
        };
        self.template.clone().set_addr(address)
    }

    async fn connect(
        &self,
        info: ConnectionInfo,
        config: &AsyncConnectionConfig,
    ) -> RedisResult<MultiplexedConnection> {
        let client = Client::open(info)?;
        // The library's own timeout covers each step of connecting; this one covers all of them.
        let connecting = client.get_multiplexed_async_connection_with_config(config);
        tokio::time::timeout(self.deadline * 2, connecting)
            .await
            .unwrap_or_else(|_| Err(RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut))))
    }

    /// A connection to a server that must be a master. One that Sentinel names may not know it yet, or not any more.
    async fn connect_to_master(
        &self,
        server: &Server,
        config: &AsyncConnectionConfig,
    ) -> RedisResult<MultiplexedConnection> {
        let mut connection = self.connect(self.info(server), config).await?;
        if matches!(self.deployment.layout, Layout::Sentinel { .. }) {
            let role: RedisResult<Vec<Value>> = redis::cmd("ROLE").query_async(&mut connection).await;
            let role = role.ok().and_then(|role| role.into_iter().next());
            // A user who may not ask is not told, but served.
            if role.is_some_and(|role| role != Value::BulkString(b"master".to_vec())) {
                return Err(RedisError::from((redis::ErrorKind::Client, "the server is not a master")));
            }
        }
        Ok(connection)
    }

    /// A connection for commands; `lost` is told when it ends.
    /// A command may take so much longer than the deadline as `extra` says.
    pub(crate) async fn commands(
        &self,
        server: &Server,
        lost: Arc<Notify>,
        extra: Duration,
    ) -> RedisResult<MultiplexedConnection> {
        let config = self.config().set_response_timeout(Some(self.deadline + extra)).set_push_sender(
            move |push: PushInfo| {
                if push.kind == redis::PushKind::Disconnection {
                    lost.notify_one();
                }
                Ok::<(), SendError>(())
            },
        );
        self.connect_to_master(server, &config).await
    }

    /// A connection for subscriptions; `receive` gets all that is pushed, and must not wait.
    pub(crate) async fn subscriptions(
        &self,
        server: &Server,
        receive: impl Fn(PushInfo) + Send + Sync + 'static,
    ) -> RedisResult<MultiplexedConnection> {
        let config = self.config().set_push_sender(move |push: PushInfo| {
            receive(push);
            Ok::<(), SendError>(())
        });
        self.connect_to_master(server, &config).await
    }

    /// A connection to any server of the deployment, for one question.
    pub(crate) async fn question(&self, server: &Server) -> RedisResult<MultiplexedConnection> {
        self.connect(self.info(server), &self.config()).await
    }

    /// A connection to a Sentinel, which has users and databases of its own.
    pub(crate) async fn sentinel(&self, server: &Server) -> RedisResult<MultiplexedConnection> {
        let plain = RedisConnectionInfo::default().set_protocol(ProtocolVersion::RESP3);
        self.connect(self.info(server).set_redis_settings(plain), &self.config()).await
    }

    /// At most `len` connections that read the log of a server. Reads carry payloads: on connections of their own they
    /// do not delay appends.
    pub(crate) fn readers(&self, server: &Server, len: usize) -> Pool {
        let manager = Manager::new_with_config(self.info(server), self.config())
            .expect("the same information has made a client when the transport was configured");
        Pool::builder(manager)
            .max_size(len)
            // The one that was used last, so that those which nobody needs fall idle.
            .queue_mode(QueueMode::Lifo)
            .timeouts(Timeouts {
                wait: Some(self.deadline * POOL_WAITS),
                create: Some(self.deadline),
                recycle: Some(self.deadline),
            })
            .runtime(Runtime::Tokio1)
            .build()
            .expect("a pool with time limits has a runtime")
    }
}

/// Closes connections of a pool that have been idle, as long as it is polled.
pub(crate) async fn close_idle(pool: Pool) {
    let mut interval = tokio::time::interval(READER_IDLE_MAX / 2);
    loop {
        interval.tick().await;
        pool.retain(|_, metrics| metrics.last_used() < READER_IDLE_MAX);
    }
}

/// Address and settings of the first server, with everything that all connections have.
fn template(deployment: &Deployment, config: &RedisConfig) -> Result<ConnectionInfo, ConnectError> {
    let server = match &deployment.layout {
        Layout::Standalone(server) => server,
        Layout::Sentinel { sentinels: servers, .. } | Layout::Cluster { seeds: servers } => &servers[0],
    };
    let address = match server {
        Server::Tcp(host, port) if deployment.tls => {
            ConnectionAddr::TcpTls { host: host.clone(), port: *port, insecure: false, tls_params: None }
        }
        Server::Tcp(host, port) => ConnectionAddr::Tcp(host.clone(), *port),
        Server::Unix(path) => ConnectionAddr::Unix(path.clone()),
    };
    let invalid = |error: RedisError| ConnectError::Config { field: "tls", rule: error.to_string() };
    let info = address.into_connection_info().map_err(invalid)?;
    let keepalive = socket2::TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 2);
    let tcp = TcpSettings::default().set_nodelay(true).set_keepalive(keepalive);
    #[cfg(target_os = "linux")]
    let tcp = tcp.set_user_timeout(USER_TIMEOUT);
    let redis = deployment.redis.clone().set_protocol(ProtocolVersion::RESP3);
    let info = info.set_redis_settings(redis).set_tcp_settings(tcp);
    if !deployment.tls {
        return Ok(info);
    }
    let client_tls = config.tls.client.clone();
    let certificates = TlsCertificates {
        client_tls: client_tls.map(|(client_cert, client_key)| ClientTlsConfig { client_cert, client_key }),
        root_cert: config.tls.ca.clone(),
    };
    let client = Client::build_with_tls(info, certificates).map_err(invalid)?;
    Ok(client.get_connection_info().clone())
}

/// How long to wait before the next attempt: full jitter, so that nodes that lost Redis together come back spread.
pub(crate) struct Backoff(Duration);

impl Backoff {
    pub(crate) fn new() -> Self {
        Self(BACKOFF_MIN)
    }

    /// The next wait.
    pub(crate) fn next(&mut self) -> Duration {
        let wait = self.0.mul_f64(rand::random_range(0.2..=1.0));
        self.0 = (self.0 * 2).min(BACKOFF_MAX);
        wait
    }

    pub(crate) async fn wait(&mut self) {
        let wait = self.next();
        tokio::time::sleep(wait).await;
    }
}
