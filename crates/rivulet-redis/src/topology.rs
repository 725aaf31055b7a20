//! Which server is the primary of each partition, now: asked for, watched, and asked for again when something breaks.
//!
//! ```text
//!  a link broke, MOVED, READONLY ──▶ suspect ──▶ ask Sentinels or cluster ──▶ map changed ──▶ feed and commands follow
//!  every 5 s ─────────────────────────▲
//! ```

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt as _, future::join_all, stream::FuturesUnordered};
use redis::{RedisResult, Value};
use rivulet_core::Partition;
use tokio::sync::{Notify, watch};

use crate::{
    connector::Connector,
    deployment::{Layout, Server},
    keys::Keys,
};

/// How often the topology is looked at although nothing seems wrong: a demoted master may go on answering.
const LOOK: Duration = Duration::from_secs(5);
/// The shortest time between two looks, however many links say that something is wrong.
const LOOK_PAUSE: Duration = Duration::from_millis(100);

/// The primaries at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Map {
    /// The primary of each partition.
    pub(crate) servers: Vec<Server>,
    /// The primary that holds the layout's key.
    pub(crate) layout: Server,
}

/// See the module.
pub(crate) struct Topology {
    connector: Connector,
    keys: Keys,
    map: watch::Sender<Arc<Map>>,
    suspect: Notify,
}

impl Topology {
    /// Asks for the topology; the error says who was asked and what was wrong.
    pub(crate) async fn discover(connector: Connector, keys: Keys) -> Result<Self, String> {
        let map = ask(&connector, &keys, None).await?;
        Ok(Self { connector, keys, map: watch::Sender::new(Arc::new(map)), suspect: Notify::new() })
    }

    pub(crate) fn map(&self) -> Arc<Map> {
        self.map.borrow().clone()
    }

    /// Tells when the map has changed.
    pub(crate) fn changes(&self) -> watch::Receiver<Arc<Map>> {
        self.map.subscribe()
    }

    /// The primary of a partition.
    pub(crate) fn server(&self, partition: Partition) -> Server {
        self.map.borrow().servers[partition.index()].clone()
    }

    /// Something suggests that the map is not right any more.
    pub(crate) fn suspect(&self) {
        self.suspect.notify_one();
    }

    /// A server of the cluster said that a partition has moved.
    pub(crate) fn moved(&self, partition: Partition, to: Server) {
        tracing::info!(%partition, %to, "a partition has moved to another primary");
        self.map.send_if_modified(|map| {
            let servers = &mut Arc::make_mut(map).servers;
            let changed = servers[partition.index()] != to;
            servers[partition.index()] = to;
            changed
        });
        self.suspect();
    }

    /// Keeps the map right. Never ends.
    pub(crate) async fn watch(&self) {
        if matches!(self.connector.deployment.layout, Layout::Standalone(_)) {
            return std::future::pending().await;
        }
        loop {
            let _ = tokio::time::timeout(LOOK, self.suspect.notified()).await;
            let before = self.map();
            match ask(&self.connector, &self.keys, Some(&before)).await {
                Ok(map) if map != *before => {
                    tracing::info!(servers = ?distinct(&map.servers), "the primaries of Redis have changed");
                    self.map.send_replace(Arc::new(map));
                }
                Ok(_) => {}
                Err(reason) => tracing::debug!(reason, "the topology of Redis could not be learned"),
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }
}

/// Each server once, in order.
pub(crate) fn distinct(servers: &[Server]) -> Vec<Server> {
    let mut servers = servers.to_vec();
    servers.sort();
    servers.dedup();
    servers
}

async fn ask(connector: &Connector, keys: &Keys, before: Option<&Map>) -> Result<Map, String> {
    let same = |server: Server| Map {
        servers: vec![server.clone(); usize::from(keys.partitions().count())],
        layout: server,
    };
    match &connector.deployment.layout {
        Layout::Standalone(server) => Ok(same(server.clone())),
        Layout::Sentinel { sentinels, master } => ask_sentinels(connector, sentinels, master).await.map(same),
        Layout::Cluster { seeds } => ask_cluster(connector, keys, seeds, before).await,
    }
}

/// The master that the Sentinel with the latest configuration knows. The one that led a failover is the first to know
/// its end, so neither a vote nor whoever answers first will do.
async fn ask_sentinels(connector: &Connector, sentinels: &[Server], master: &str) -> Result<Server, String> {
    let answers = join_all(sentinels.iter().map(|sentinel| ask_sentinel(connector, sentinel, master))).await;
    let mut reasons = Vec::new();
    let mut best: Option<(u64, Server)> = None;
    for (sentinel, answer) in sentinels.iter().zip(answers) {
        match answer {
            Ok((epoch, server)) if best.as_ref().is_none_or(|(latest, _)| epoch > *latest) => {
                best = Some((epoch, server));
            }
            Ok(_) => {}
            Err(reason) => reasons.push(format!("{sentinel}: {reason}")),
        }
    }
    best.map(|(_, server)| server).ok_or_else(|| reasons.join("; "))
}

async fn ask_sentinel(
    connector: &Connector,
    sentinel: &Server,
    master: &str,
) -> Result<(u64, Server), String> {
    let mut connection = connector.sentinel(sentinel).await.map_err(|error| error.to_string())?;
    let mut pipeline = redis::pipe();
    pipeline.cmd("SENTINEL").arg("MASTER").arg(master);
    // The address in the first answer is the old one until all replicas follow the new master, which takes a second or
    // so; the epoch is that of the failover as soon as there is a new master, and so is this address.
    pipeline.cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(master);
    let answer: RedisResult<(std::collections::HashMap<String, String>, (String, u16))> =
        pipeline.query_async(&mut connection).await;
    let (fields, (host, port)) = answer.map_err(|error| error.to_string())?;
    let epoch = fields.get("config-epoch").ok_or("its answer has no config-epoch")?.parse().unwrap_or(0);
    Ok((epoch, Server::Tcp(host, port)))
}

/// Asks all nodes that are known, and takes the first answer of one whose cluster is well.
async fn ask_cluster(
    connector: &Connector,
    keys: &Keys,
    seeds: &[Server],
    before: Option<&Map>,
) -> Result<Map, String> {
    let known = before.map(|map| map.servers.as_slice()).unwrap_or_default();
    let servers = distinct(&[known, seeds].concat());
    let mut answers: FuturesUnordered<_> = servers
        .iter()
        .map(|server| async move { (server, ask_node(connector, keys, server, before).await) })
        .collect();
    let mut reasons = Vec::new();
    while let Some((server, answer)) = answers.next().await {
        match answer {
            Ok(map) => return Ok(map),
            Err(reason) => reasons.push(format!("{server}: {reason}")),
        }
    }
    Err(reasons.join("; "))
}

async fn ask_node(
    connector: &Connector,
    keys: &Keys,
    server: &Server,
    before: Option<&Map>,
) -> Result<Map, String> {
    let mut connection = connector.question(server).await.map_err(|error| error.to_string())?;
    let mut pipeline = redis::pipe();
    pipeline.cmd("CLUSTER").arg("INFO").cmd("CLUSTER").arg("SLOTS");
    let (info, slots): (String, Value) =
        pipeline.query_async(&mut connection).await.map_err(|error| error.to_string())?;
    // A node that was cut off from the others still answers, with what it knew then.
    if before.is_some() && !info.contains("cluster_state:ok") {
        return Err("its cluster is down".to_owned());
    }
    let ranges = parse_slots(&slots, server).ok_or("its slots cannot be read")?;
    let of = |slot: u16| {
        let range = ranges.iter().find(|(slots, _)| slots.contains(&slot));
        range.map(|(_, server)| server.clone())
    };
    let missing = |slot: u16| format!("no node serves slot {slot}: complete the cluster first");
    let partition = |partition: Partition| {
        let slot = keys.slot(partition);
        of(slot).or_else(|| Some(before?.servers[partition.index()].clone())).ok_or_else(|| missing(slot))
    };
    let layout = of(keys.layout_slot()).or_else(|| Some(before?.layout.clone()));
    Ok(Map {
        servers: keys.partitions().iter().map(partition).collect::<Result<_, _>>()?,
        layout: layout.ok_or_else(|| missing(keys.layout_slot()))?,
    })
}

type Ranges = Vec<(std::ops::RangeInclusive<u16>, Server)>;

/// Reads the answer of `CLUSTER SLOTS`: per range its ends and its nodes, the primary first, each with host and port. A
/// node that does not know its own host leaves it out: then it is the one that was asked.
fn parse_slots(answer: &Value, asked: &Server) -> Option<Ranges> {
    let Value::Array(ranges) = answer else { return None };
    let number = |value: &Value| match value {
        Value::Int(number) => u16::try_from(*number).ok(),
        _ => None,
    };
    let range = |range: &Value| {
        let Value::Array(range) = range else { return None };
        let [start, end, Value::Array(primary), ..] = range.as_slice() else { return None };
        let [host, port, ..] = primary.as_slice() else { return None };
        let host = match host {
            Value::BulkString(host) if !host.is_empty() && host != b"?" => {
                String::from_utf8(host.clone()).ok()?
            }
            _ => match asked {
                Server::Tcp(host, _) => host.clone(),
                Server::Unix(_) => return None,
            },
        };
        Some((number(start)?..=number(end)?, Server::Tcp(host, number(port)?)))
    };
    ranges.iter().map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_read_as_a_cluster_writes_them() {
        let node = |host: Value, port: i64| Value::Array(vec![host, Value::Int(port), Value::Nil]);
        let host = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let range = |start: i64, end: i64, node: Value| {
            Value::Array(vec![Value::Int(start), Value::Int(end), node.clone(), node])
        };
        let asked = Server::Tcp("asked".to_owned(), 1);
        let answer = Value::Array(vec![
            range(0, 99, node(host("a"), 7000)),
            range(100, 16383, node(Value::Nil, 7001)),
        ]);
        let expected = vec![
            (0..=99, Server::Tcp("a".to_owned(), 7000)),
            (100..=16383, Server::Tcp("asked".to_owned(), 7001)),
        ];
        assert_eq!(parse_slots(&answer, &asked), Some(expected));
        assert_eq!(parse_slots(&Value::Nil, &asked), None);
        assert_eq!(parse_slots(&Value::Array(vec![range(0, 70000, node(host("a"), 1))]), &asked), None);
    }
}
