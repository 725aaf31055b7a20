//! What the nodes of a cluster say: which primary has which slots, and since which epoch.

use std::{collections::HashMap, ops::RangeInclusive};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use redis::Value;
use rivulet_core::Partition;

use crate::{
    connector::Connector,
    deployment::Server,
    keys::Keys,
    reason::reason,
    topology::{Map, Primacy},
};

/// The primaries of ranges of slots.
type Ranges = Vec<(RangeInclusive<u16>, Primacy)>;

/// Asks all nodes that are known, and takes the first answer of one whose cluster is well.
pub(crate) async fn ask(
    connector: &Connector,
    keys: &Keys,
    seeds: &[Server],
    before: Option<&Map>,
) -> Result<Map, String> {
    let mut servers = before.map(Map::servers).unwrap_or_default();
    servers.extend(seeds.iter().cloned());
    servers.sort();
    servers.dedup();
    let mut answers: FuturesUnordered<_> = servers
        .iter()
        .map(|server| async move { (server, ask_node(connector, keys, server, before).await) })
        .collect();
    let mut reasons = Vec::new();
    while let Some((server, answer)) = answers.next().await {
        match answer {
            Ok(map) if before.is_none_or(|before| map.epoch >= before.epoch) => return Ok(map),
            Ok(_) => reasons.push(format!("{server}: what it knows is old")),
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
    let mut connection = connector.question(server).await.map_err(|error| reason(&error))?;
    let mut pipeline = redis::pipe();
    for view in ["INFO", "NODES", "SLOTS"] {
        pipeline.cmd("CLUSTER").arg(view);
    }
    let (info, nodes, slots): (String, String, Value) =
        pipeline.query_async(&mut connection).await.map_err(|error| reason(&error))?;
    // A node that was cut off from the others still answers, with what it knew then.
    if before.is_some() && !info.contains("cluster_state:ok") {
        return Err("its cluster is down".to_owned());
    }
    let epoch = info.lines().find_map(|line| line.strip_prefix("cluster_current_epoch:"));
    let epoch = epoch.and_then(|epoch| epoch.trim().parse().ok()).unwrap_or(0);
    let ranges = parse_slots(&slots, &parse_epochs(&nodes), server).ok_or("its slots cannot be read")?;
    let of = |slot: u16| {
        let range = ranges.iter().find(|(slots, _)| slots.contains(&slot));
        range.map(|(_, primacy)| primacy.clone())
    };
    let missing = |slot: u16| format!("no node serves slot {slot}: complete the cluster first");
    let partition = |partition: Partition| {
        let slot = keys.slot(partition);
        let known = || before.map(|before| before.primaries[partition.index()].clone());
        of(slot).or_else(known).ok_or_else(|| missing(slot))
    };
    let layout = of(keys.layout_slot()).map(|primacy| primacy.server);
    let layout = layout.or_else(|| before.map(|before| before.layout.clone()));
    Ok(Map {
        primaries: keys.partitions().iter().map(partition).collect::<Result<_, _>>()?,
        layout: layout.ok_or_else(|| missing(keys.layout_slot()))?,
        epoch,
    })
}

/// Reads the answer of `CLUSTER NODES`: a line per node, whose first field is its id and whose seventh is its
/// configuration epoch.
fn parse_epochs(nodes: &str) -> HashMap<&str, u64> {
    let epoch = |line| {
        let mut fields = str::split_ascii_whitespace(line);
        Some((fields.next()?, fields.nth(5)?.parse().ok()?))
    };
    nodes.lines().filter_map(epoch).collect()
}

/// Reads the answer of `CLUSTER SLOTS`: per range its ends and its nodes, the primary first, each with host, port and id.
/// A node that does not know its own host leaves it out: then it is the one that was asked.
fn parse_slots(answer: &Value, epochs: &HashMap<&str, u64>, asked: &Server) -> Option<Ranges> {
    let Value::Array(ranges) = answer else { return None };
    let number = |value: &Value| match value {
        Value::Int(number) => u16::try_from(*number).ok(),
        _ => None,
    };
    let text = |value: &Value| match value {
        Value::BulkString(text) if !text.is_empty() && text != b"?" => String::from_utf8(text.clone()).ok(),
        _ => None,
    };
    let range = |range: &Value| {
        let Value::Array(range) = range else { return None };
        let [start, end, Value::Array(primary), ..] = range.as_slice() else { return None };
        let [host, port, id, ..] = primary.as_slice() else { return None };
        let host = match (text(host), asked) {
            (Some(host), _) => host,
            (None, Server::Tcp(host, _)) => host.clone(),
            (None, Server::Unix(_)) => return None,
        };
        let epoch = text(id).and_then(|id| epochs.get(id.as_str()).copied()).unwrap_or(0);
        let server = Server::Tcp(host, number(port)?);
        Some((number(start)?..=number(end)?, Primacy { server, epoch }))
    };
    ranges.iter().map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_and_epochs_are_read_as_a_cluster_writes_them() {
        let bulk = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let node = |host: Value, port: i64, id: &str| Value::Array(vec![host, Value::Int(port), bulk(id)]);
        let range = |start: i64, end: i64, node: Value| {
            Value::Array(vec![Value::Int(start), Value::Int(end), node.clone(), node])
        };
        let nodes = "07c3 127.0.0.1:30004@31004 slave e7d1 0 1426238317239 4 connected\n\
                     67ed 127.0.0.1:30002@31002 master - 0 1426238316232 2 connected 5461-10922\n\
                     e7d1 127.0.0.1:30001@31001 myself,master - 0 0 17 connected 0-5460\ngarbage\n";
        let epochs = parse_epochs(nodes);
        let asked = Server::Tcp("asked".to_owned(), 1);
        let answer = Value::Array(vec![
            range(0, 99, node(bulk("a"), 7000, "e7d1")),
            range(100, 16383, node(Value::Nil, 7001, "unknown")),
        ]);
        let primacy = |host: &str, port, epoch| Primacy { server: Server::Tcp(host.to_owned(), port), epoch };
        let expected = vec![(0..=99, primacy("a", 7000, 17)), (100..=16383, primacy("asked", 7001, 0))];
        assert_eq!(parse_slots(&answer, &epochs, &asked), Some(expected));
        assert_eq!(parse_slots(&Value::Nil, &epochs, &asked), None);
        let far = Value::Array(vec![range(0, 70000, node(bulk("a"), 1, "e7d1"))]);
        assert_eq!(parse_slots(&far, &epochs, &asked), None);
    }
}
