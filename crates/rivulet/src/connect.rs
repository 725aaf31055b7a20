//! The transport of a node that starts: the memory's at once, Redis' when that can be reached.

use std::{
    net::TcpListener,
    sync::Arc,
    time::{Duration, Instant},
};

use rivulet_node::{Feed, MemoryTransport, Retention, Transport};
use rivulet_redis::{ConnectError, RedisConfig, RedisTransport};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::{
    admin::{self, Admin},
    config::Config,
    exit::Failure,
};

/// The pause after the first attempt; it doubles up to the longest.
const PAUSE: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Makes what stands behind the node. While a Redis is waited for, probes are answered on the admin listener.
pub(crate) async fn connect(
    config: &Config,
    admin: &TcpListener,
) -> Result<(Arc<dyn Transport>, Feed), Failure> {
    let (age, count) = (config.retention_age, config.retention_count.get());
    let Some(redis) = &config.redis else {
        let (transport, feed) = MemoryTransport::start(Retention { age, count, ..Retention::default() });
        return Ok((transport, feed));
    };
    let mut waiting = None;
    let connected = connect_redis(config, redis, admin, &mut waiting).await;
    if let Some((probes, _)) = waiting {
        probes.stop().await;
    }
    let (transport, feed) = connected?;
    Ok((transport, feed))
}

/// Tries until it succeeds, the time is over, or there is an error that waiting does not mend.
async fn connect_redis(
    config: &Config,
    redis: &RedisConfig,
    admin: &TcpListener,
    waiting: &mut Option<(Admin, watch::Sender<String>)>,
) -> Result<(Arc<RedisTransport>, Feed), Failure> {
    let (begun, mut pause) = (Instant::now(), PAUSE);
    loop {
        let error = match RedisTransport::connect(redis.clone()).await {
            Ok(connected) => return Ok(connected),
            Err(error) => error,
        };
        let is_over = begun.elapsed() + pause > config.redis_start_wait;
        if is_over || !matches!(error, ConnectError::Unreachable { .. }) {
            return Err(failure(&error));
        }
        warn!(%error, "Redis is waited for: this node is alive and not ready");
        let why = error.to_string();
        if let Some((_, told)) = waiting {
            told.send_replace(why);
        } else {
            let (told, why) = watch::channel(why);
            let probes = admin
                .try_clone()
                .and_then(|admin| admin::serve_before_node(why, admin, config.admin_tls.clone()));
            let address = config.admin_listen;
            let probes = probes.map_err(|error| {
                Failure::unavailable(format!("cannot listen on {address} (--admin-listen): {error}"))
            })?;
            info!(admin.address = %probes.address, longest = ?config.redis_start_wait, "Probes are answered meanwhile");
            *waiting = Some((probes, told));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

fn failure(error: &ConnectError) -> Failure {
    match error {
        ConnectError::Config { .. }
        | ConnectError::Layout { .. }
        | ConnectError::TooOld { .. }
        | ConnectError::Partitions { .. } => {
            Failure::usage(format!("--redis-url, --redis-prefix, --redis-partitions: {error}"))
        }
        error => Failure::unavailable(format!("--redis-url: {error}")),
    }
}
