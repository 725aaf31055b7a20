//! Makes connections: each kind with its limits, all from one configuration.

use std::{sync::Arc, time::Duration};

use deadpool_redis::{Manager, Pool, Runtime, Timeouts};
use redis::{
    AsyncConnectionConfig, Client, ConnectionInfo, PushInfo, RedisResult,
    aio::{MultiplexedConnection, SendError},
};
use tokio::sync::Notify;

use crate::ConnectError;

/// How many commands may wait for the connection's task. The library's 50 stall a busy publisher.
const PIPELINE_LEN_MAX: usize = 4096;
/// How many bytes are gathered before they are written to the socket: appends that come together travel together.
const WRITE_LEN: usize = 64 << 10;
/// The first wait after a failure; it doubles up to [`BACKOFF_MAX`].
const BACKOFF_MIN: Duration = Duration::from_millis(50);
/// The longest wait between two attempts to connect.
pub(crate) const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// See the module.
#[derive(Clone)]
pub(crate) struct Connector {
    info: ConnectionInfo,
    client: Client,
    deadline: Duration,
}

impl Connector {
    pub(crate) fn new(info: ConnectionInfo, deadline: Duration) -> Result<Self, ConnectError> {
        let client = Client::open(info.clone()).map_err(|error| ConnectError::Unreachable {
            address: info.addr().to_string(),
            reason: error.to_string(),
        })?;
        Ok(Self { info, client, deadline })
    }

    pub(crate) fn address(&self) -> String {
        self.info.addr().to_string()
    }

    pub(crate) fn database(&self) -> i64 {
        self.info.redis_settings().db()
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

    async fn connect(&self, config: &AsyncConnectionConfig) -> RedisResult<MultiplexedConnection> {
        // The library's own timeout covers each step of connecting; this one covers all of them.
        let connecting = self.client.get_multiplexed_async_connection_with_config(config);
        tokio::time::timeout(self.deadline * 2, connecting).await.unwrap_or_else(|_| {
            Err(redis::RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut)))
        })
    }

    /// A connection for commands; `lost` is told when it ends.
    pub(crate) async fn commands(&self, lost: Arc<Notify>) -> RedisResult<MultiplexedConnection> {
        let config = self.config().set_push_sender(move |push: PushInfo| {
            if push.kind == redis::PushKind::Disconnection {
                lost.notify_one();
            }
            Ok::<(), SendError>(())
        });
        self.connect(&config).await
    }

    /// A connection for subscriptions; `receive` gets all that is pushed, and must not wait.
    pub(crate) async fn subscriptions(
        &self,
        receive: impl Fn(PushInfo) + Send + Sync + 'static,
    ) -> RedisResult<MultiplexedConnection> {
        let config = self.config().set_push_sender(move |push: PushInfo| {
            receive(push);
            Ok::<(), SendError>(())
        });
        self.connect(&config).await
    }

    /// At most `len` connections that read the log. Reads carry payloads: on connections of their own they do not delay
    /// appends.
    pub(crate) fn readers(&self, len: usize) -> Result<Pool, ConnectError> {
        let unreachable = |reason: String| ConnectError::Unreachable { address: self.address(), reason };
        let manager = Manager::new_with_config(self.info.clone(), self.config())
            .map_err(|error| unreachable(error.to_string()))?;
        Pool::builder(manager)
            .max_size(len)
            .timeouts(Timeouts {
                wait: Some(self.deadline),
                create: Some(self.deadline),
                recycle: Some(self.deadline),
            })
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| unreachable(error.to_string()))
    }
}

/// How long to wait before the next attempt: full jitter, so that nodes that lost Redis together come back spread.
pub(crate) struct Backoff(Duration);

impl Backoff {
    pub(crate) fn new() -> Self {
        Self(BACKOFF_MIN)
    }

    pub(crate) async fn wait(&mut self) {
        let wait = self.0.mul_f64(rand::random_range(0.2..=1.0));
        self.0 = (self.0 * 2).min(BACKOFF_MAX);
        tokio::time::sleep(wait).await;
    }
}
