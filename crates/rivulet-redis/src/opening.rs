//! What is checked before a transport starts: that Redis answers, is new enough, and is laid out as we do it.

use std::sync::Arc;

use redis::{InfoDict, Value, aio::MultiplexedConnection};
use tokio::sync::Notify;

use crate::{
    ConnectError, RedisConfig,
    connector::Connector,
    keys::Keys,
    script::{Call, Script},
};

/// The version of what is written to Redis.
const FORMAT: &str = "1";
/// How many partitions a standalone Redis has.
const PARTITIONS: &str = "1";
/// The oldest Redis that knows the commands our scripts use.
const VERSION_MIN: (u32, u32) = (6, 2);

pub(crate) async fn open(
    connector: &Connector,
    config: &RedisConfig,
    keys: &Keys,
) -> Result<(), ConnectError> {
    let unreachable = |error: redis::RedisError| ConnectError::Unreachable {
        address: connector.address(),
        reason: error.to_string(),
    };
    let mut connection = connector.commands(Arc::new(Notify::new())).await.map_err(unreachable)?;
    check_version(connector, &mut connection).await?;
    warn_of_eviction(&mut connection).await;
    let call =
        Call { keys: vec![keys.layout.as_bytes()], args: vec![FORMAT.as_bytes(), PARTITIONS.as_bytes()] };
    let layout = Script::open().run(&mut connection, &call).await.map_err(unreachable)?;
    let [format, partitions]: [String; 2] = redis::from_redis_value::<Vec<String>>(layout)
        .ok()
        .and_then(|layout| layout.try_into().ok())
        .unwrap_or_default();
    for (field, found, expected) in [("format", format, FORMAT), ("partitions", partitions, PARTITIONS)] {
        if found != expected {
            let (prefix, expected) = (config.prefix.clone(), expected.to_owned());
            return Err(ConnectError::Layout { prefix, field, found, expected });
        }
    }
    Ok(())
}

async fn check_version(
    connector: &Connector,
    connection: &mut MultiplexedConnection,
) -> Result<(), ConnectError> {
    let info: Result<InfoDict, _> = redis::cmd("INFO").arg("server").query_async(connection).await;
    // A user who may not ask is not told, but served.
    let Some(version) = info.ok().and_then(|info| info.get::<String>("redis_version")) else { return Ok(()) };
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    if (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) < VERSION_MIN {
        return Err(ConnectError::Version { address: connector.address(), version });
    }
    Ok(())
}

/// Eviction eats the log: updates that were acknowledged would go without anybody being told.
async fn warn_of_eviction(connection: &mut MultiplexedConnection) {
    let answer: Result<Value, _> =
        redis::cmd("CONFIG").arg("GET").arg("maxmemory-policy").query_async(connection).await;
    let policy = answer.ok().and_then(|answer| {
        redis::from_redis_value::<std::collections::HashMap<String, String>>(answer)
            .ok()?
            .remove("maxmemory-policy")
    });
    match policy.as_deref() {
        Some("noeviction") | None => {}
        Some(policy) => tracing::warn!(
            policy,
            "maxmemory-policy of Redis is not noeviction: it may evict parts of the log while they are needed"
        ),
    }
}
