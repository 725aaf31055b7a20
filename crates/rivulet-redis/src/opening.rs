//! What is checked before a transport starts: that each primary answers, is new enough, keeps what it is given and knows
//! the time, and that the prefix is laid out as we do it.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use futures_util::future::try_join_all;
use redis::{InfoDict, RedisError, aio::MultiplexedConnection};
use rivulet_core::Position;
use tokio::sync::Notify;

use crate::{
    ConnectError, RedisConfig,
    connector::Connector,
    deployment::Server,
    error_type::ErrorType,
    format::{FORMAT_OLDEST, formats},
    keys::Keys,
    permissions::Needs,
    reason::{reason, tells_of_a_cluster},
    script::{Asking, Call, Script},
    topology::Map,
};

/// The oldest Redis that knows the commands our scripts use.
const VERSION_MIN: (u32, u32) = (6, 2);
/// The oldest Redis with sharded channels, which a cluster needs.
const VERSION_MIN_CLUSTER: (u32, u32) = (7, 0);
/// How far the time of a server may be off the others' or ours before somebody is told.
const SKEW_MAX: Duration = Duration::from_secs(10);
/// How far a log's clock may stand before its server's time: updates would grow old so much too late.
const AHEAD_MAX: Duration = Duration::from_secs(3600);

/// Checks all primaries, and writes down how the prefix is laid out if nobody has yet.
pub(crate) async fn open(
    connector: &Connector,
    config: &RedisConfig,
    keys: &Keys,
    map: &Map,
) -> Result<(), ConnectError> {
    let needs = Needs { is_cluster: connector.deployment.is_cluster(), waits: config.wait_replicas > 0 };
    let servers = map.servers();
    let checks = servers.iter().map(|server| async move {
        let mut partitions = keys.partitions().iter().zip(&map.primaries);
        let here = partitions.find(|(_, primacy)| primacy.server == *server);
        let (partition, _) = here.expect("the server is the primary of a partition");
        let mut connection = connect(connector, server).await?;
        if let Some(missing) = needs.missing(&connection, keys.of(partition)).await {
            let (address, rules) = (server.to_string(), needs.rules(keys));
            return Err(ConnectError::Permissions { address, missing, rules });
        }
        check_server(connector, server, &mut connection).await
    });
    let skews = try_join_all(checks).await?;
    for (server, skew) in servers.iter().zip(&skews) {
        if *skew > SKEW_MAX {
            tracing::warn!(
                %server,
                skew_ms = skew.as_millis(),
                "the time of Redis is not ours: positions follow its time, the expiry of tokens ours"
            );
        }
    }
    let mut connection = connect(connector, &map.layout).await?;
    let (knows, must) = formats();
    let partitions = keys.partitions().count().to_string();
    let args = [knows.to_string(), partitions.clone(), must.to_string(), FORMAT_OLDEST.to_string()];
    let call = Call { keys: vec![keys.layout.as_bytes()], args: args.iter().map(String::as_bytes).collect() };
    let (script, begun) = (Script::open(), Instant::now());
    let layout = script.run(&mut connection, &call, Asking::No).await;
    connector.stats.note(script.name, begun.elapsed(), layout.as_ref().err().map(ErrorType::of));
    let layout = layout.map_err(|error| refused(connector, &map.layout, &error))?;
    check_layout(config, layout, &partitions)
}

/// Whether this node can take part where the prefix is laid out like this.
fn check_layout(config: &RedisConfig, layout: redis::Value, asked: &str) -> Result<(), ConnectError> {
    let [format, reader, partitions]: [String; 3] = redis::from_redis_value::<Vec<String>>(layout)
        .ok()
        .and_then(|layout| layout.try_into().ok())
        .unwrap_or_default();
    let (prefix, (knows, _)) = (config.prefix.clone(), formats());
    match reader.parse::<u32>() {
        Ok(needed) if needed > knows => {
            return Err(ConnectError::TooOld { prefix, needed, knows });
        }
        Ok(FORMAT_OLDEST..) => {}
        _ => return Err(ConnectError::Layout { prefix, found: reader, expected: FORMAT_OLDEST }),
    }
    if partitions != asked {
        return Err(ConnectError::Partitions { prefix, found: partitions, asked: asked.to_owned() });
    }
    if format.parse::<u32>().is_ok_and(|newest| newest > knows) {
        tracing::info!(
            format = knows,
            newest = format,
            "newer nodes have been here: this one passes over what they add"
        );
    }
    Ok(())
}

async fn connect(connector: &Connector, server: &Server) -> Result<MultiplexedConnection, ConnectError> {
    let connected = connector.commands(server, Arc::new(Notify::new()), Duration::ZERO).await;
    connected.map_err(|error| refused(connector, server, &error))
}

/// What a server said, and whether it is of another kind than the URL says.
fn refused(connector: &Connector, server: &Server, error: &RedisError) -> ConnectError {
    let (address, reason) = (server.to_string(), reason(error));
    if tells_of_a_cluster(error) && !connector.deployment.is_cluster() {
        let hint = "it is a node of a cluster: the URL has to begin with redis+cluster://";
        return ConnectError::Refused { address, reason: format!("{reason} ({hint})") };
    }
    match ErrorType::of(error) {
        ErrorType::NoPermission => ConnectError::Refused { address, reason },
        _ => ConnectError::Unreachable { address, reason },
    }
}

/// Checks one primary; answers how far its time is off ours.
async fn check_server(
    connector: &Connector,
    server: &Server,
    connection: &mut MultiplexedConnection,
) -> Result<Duration, ConnectError> {
    check_version(connector, server, connection).await?;
    warn_of_eviction(server, connection).await;
    let time = redis::cmd("TIME").query_async(connection).await;
    let (seconds, micros): (u64, u64) = time.map_err(|error| refused(connector, server, &error))?;
    let theirs = Duration::from_secs(seconds) + Duration::from_micros(micros);
    let ours = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(ours.abs_diff(theirs))
}

async fn check_version(
    connector: &Connector,
    server: &Server,
    connection: &mut MultiplexedConnection,
) -> Result<(), ConnectError> {
    let info: Result<InfoDict, _> = redis::cmd("INFO").arg("server").query_async(connection).await;
    // A user who may not ask is not told, but served.
    let Some(version) = info.ok().and_then(|info| info.get::<String>("redis_version")) else { return Ok(()) };
    let needed = if connector.deployment.is_cluster() { VERSION_MIN_CLUSTER } else { VERSION_MIN };
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    if (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) < needed {
        return Err(ConnectError::Version { address: server.to_string(), version, needed });
    }
    Ok(())
}

/// Eviction eats the log: updates that were acknowledged would go without anybody being told.
async fn warn_of_eviction(server: &Server, connection: &mut MultiplexedConnection) {
    let answer: Result<std::collections::HashMap<String, String>, _> =
        redis::cmd("CONFIG").arg("GET").arg("maxmemory-policy").query_async(connection).await;
    let policy = answer.ok().and_then(|mut answer| answer.remove("maxmemory-policy"));
    match policy.as_deref() {
        Some("noeviction") | None => {}
        Some(policy) => tracing::warn!(
            %server,
            policy,
            "maxmemory-policy of Redis is not noeviction: it may evict parts of the log while they are needed"
        ),
    }
}

/// A log whose clock stands far before the time has been written by a server whose time was wrong.
pub(crate) fn check_clock(config: &RedisConfig, clock: Position) -> Result<(), ConnectError> {
    let ours = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let ahead = Duration::from_micros(clock.as_micros()).saturating_sub(ours);
    if ahead > AHEAD_MAX {
        return Err(ConnectError::Clock { prefix: config.prefix.clone(), ahead });
    }
    Ok(())
}
