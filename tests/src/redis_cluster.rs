//! A Redis Cluster of three primaries with a replica each, all real processes, that fails over and moves slots.
//!
//! Clients and replicas reach a server through its proxy, whose port it announces; the cluster's bus is direct.

use std::{collections::BTreeSet, time::Duration};

use crate::{chaos_proxy::ChaosProxy, deadline::try_eventually, port, redis::RedisServer};

/// How long the nodes may take to agree on anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// The number of slots of every Redis Cluster.
const SLOTS: u16 = 16_384;

/// The servers and the network between them and their clients.
#[derive(Debug)]
pub struct RedisCluster {
    /// The redis-servers; the first three begin as primaries.
    pub servers: Vec<RedisServer>,
    /// The proxy before each server.
    pub proxies: Vec<ChaosProxy>,
    ids: Vec<String>,
}

/// What a server says of one of the cluster's nodes.
#[derive(Debug)]
struct Member {
    id: String,
    flags: String,
    primary: String,
    is_connected: bool,
    has_slots: bool,
}

impl RedisCluster {
    /// Starts everything and waits until all agree.
    ///
    /// # Panics
    /// If that does not come about.
    pub async fn start() -> Self {
        let (mut servers, mut proxies, mut buses) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..6 {
            let (address, bus) = (port::free(), port::free().port());
            let proxy = ChaosProxy::start(address).await;
            let lines = [
                "cluster-enabled yes".to_owned(),
                "cluster-node-timeout 1500".to_owned(),
                "cluster-replica-validity-factor 0".to_owned(),
                "cluster-allow-replica-migration no".to_owned(),
                format!("cluster-port {bus}"),
                "cluster-announce-ip 127.0.0.1".to_owned(),
                format!("cluster-announce-port {}", proxy.address().port()),
                format!("cluster-announce-bus-port {bus}"),
                "repl-diskless-sync-delay 0".to_owned(),
            ];
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            servers.push(RedisServer::start_with(address, &lines).await);
            proxies.push(proxy);
            buses.push(bus);
        }
        let ids = servers.iter().map(|server| server.command(&["CLUSTER", "MYID"]).expect("an id")).collect();
        let cluster = Self { servers, proxies, ids };
        cluster.form(&buses).await.expect("the servers form a cluster");
        cluster.settle().await.expect("the cluster is well");
        cluster
    }

    /// The address for clients: two of the nodes, since the others can be asked for.
    pub fn url(&self) -> String {
        let seeds: Vec<_> = self.proxies.iter().map(|proxy| proxy.address().to_string()).collect();
        format!("redis+cluster://{}", seeds.join(","))
    }

    /// The numbers of the servers that are primaries and have slots.
    ///
    /// # Errors
    /// When nobody can be asked.
    pub fn primaries(&self) -> Result<Vec<usize>, String> {
        let members = self.members()?;
        let serving = members.iter().filter(|member| {
            member.flags.contains("master") && !member.flags.contains("fail") && member.has_slots
        });
        Ok(serving.filter_map(|member| self.ids.iter().position(|id| *id == member.id)).collect())
    }

    /// The number of a primary's replica.
    ///
    /// # Errors
    /// When it has none.
    pub fn replica_of(&self, primary: usize) -> Result<usize, String> {
        let members = self.members()?;
        let replica = members.iter().find(|member| member.primary == self.ids[primary]);
        let number = replica.and_then(|member| self.ids.iter().position(|id| *id == member.id));
        number.ok_or(format!("{primary} has no replica"))
    }

    /// Waits until a replica has taken the place of a primary; answers which.
    ///
    /// # Errors
    /// If that does not come about.
    pub async fn failed_over(&self, from: usize, replica: usize) -> Result<(), String> {
        try_eventually(PATIENCE, || {
            let primaries = self.primaries()?;
            let done = primaries.contains(&replica) && !primaries.contains(&from);
            if done { Ok(()) } else { Err(format!("primaries: {primaries:?}")) }
        })
        .await
    }

    /// Waits until all servers are up, agree, and all replicas follow.
    ///
    /// # Errors
    /// If that does not come about.
    pub async fn settle(&self) -> Result<(), String> {
        try_eventually(PATIENCE, || {
            for server in &self.servers {
                let info = server.command(&["CLUSTER", "INFO"])?;
                if !info.contains("cluster_state:ok") {
                    return Err(info);
                }
                let members = members(server)?;
                let bad = |member: &&Member| member.flags.contains("fail") || !member.is_connected;
                if members.len() != self.servers.len() || members.iter().any(|member| bad(&member)) {
                    return Err(format!("{:?} sees {members:?}", server.address()));
                }
                let info = server.command(&["INFO", "replication"])?;
                if info.contains("master_link_status:down") {
                    return Err(info);
                }
            }
            match self.primaries()?.len() {
                3 => Ok(()),
                count => Err(format!("{count} primaries")),
            }
        })
        .await
    }

    /// The slots in which a server has keys.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn used_slots(&self, server: usize) -> Result<Vec<u16>, String> {
        let keys = self.servers[server].command(&["--scan"])?;
        let slots: BTreeSet<u16> = keys.lines().filter(|key| !key.is_empty()).map(slot).collect();
        Ok(slots.into_iter().collect())
    }

    /// A key of a pattern, its slot, and the primary that holds it.
    ///
    /// # Errors
    /// When there is no such key.
    pub fn find(&self, pattern: &str) -> Result<(String, u16, usize), String> {
        for primary in self.primaries()? {
            let keys = self.servers[primary].command(&["--scan", "--pattern", pattern])?;
            if let Some(key) = keys.lines().find(|key| !key.is_empty()) {
                return Ok((key.to_owned(), slot(key), primary));
            }
        }
        Err(format!("nobody has {pattern}"))
    }

    /// Moves a slot with its keys from one primary to another, as `redis-cli --cluster reshard` does.
    ///
    /// # Errors
    /// When one of the steps is refused.
    pub fn migrate(&self, slot: u16, from: usize, to: usize) -> Result<(), String> {
        self.begin_move(slot, from, to)?;
        self.move_keys(slot, from, to)?;
        self.end_move(slot, from, to)
    }

    /// The first step of [`RedisCluster::migrate`]: both servers know that the slot is on its way.
    ///
    /// # Errors
    /// When it is refused.
    pub fn begin_move(&self, slot: u16, from: usize, to: usize) -> Result<(), String> {
        let text = slot.to_string();
        run(&self.servers[to], &["CLUSTER", "SETSLOT", &text, "IMPORTING", &self.ids[from]])?;
        run(&self.servers[from], &["CLUSTER", "SETSLOT", &text, "MIGRATING", &self.ids[to]])
    }

    /// The second step: all keys of the slot go over.
    ///
    /// # Errors
    /// When that fails.
    pub fn move_keys(&self, slot: u16, from: usize, to: usize) -> Result<(), String> {
        loop {
            let keys = self.servers[from].command(&["CLUSTER", "GETKEYSINSLOT", &slot.to_string(), "20"])?;
            let keys: Vec<&str> = keys.lines().filter(|key| !key.is_empty()).collect();
            if keys.is_empty() {
                return Ok(());
            }
            self.move_some(&keys, from, to)?;
        }
    }

    /// A part of the second step: these keys go over.
    ///
    /// # Errors
    /// When that fails.
    pub fn move_some(&self, keys: &[&str], from: usize, to: usize) -> Result<(), String> {
        let port = self.servers[to].address().port().to_string();
        let head = ["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "REPLACE", "KEYS"];
        match self.servers[from].command(&[&head[..], keys].concat())?.as_str() {
            "OK" | "NOKEY" => Ok(()),
            answer => Err(answer.to_owned()),
        }
    }

    /// The last step: the slot belongs to the other server.
    ///
    /// # Errors
    /// When it is refused.
    pub fn end_move(&self, slot: u16, from: usize, to: usize) -> Result<(), String> {
        let text = slot.to_string();
        // The target first: the other way round the slot would belong to nobody for a moment.
        let others = self.primaries()?.into_iter().filter(|number| *number != from && *number != to);
        for number in [to, from].into_iter().chain(others) {
            run(&self.servers[number], &["CLUSTER", "SETSLOT", &text, "NODE", &self.ids[to]])?;
        }
        Ok(())
    }

    /// Starts a cluster of one server, with these lines of configuration beside ours, and waits until it is well.
    ///
    /// # Panics
    /// If that does not come about.
    pub async fn start_single(lines: &[&str]) -> RedisServer {
        let server = Self::start_without_slots(lines).await;
        let slots = ["CLUSTER", "ADDSLOTSRANGE", "0", &(SLOTS - 1).to_string()];
        server.command(&slots).expect("slots of nobody");
        let well = try_eventually(PATIENCE, || {
            let info = server.command(&["CLUSTER", "INFO"])?;
            if info.contains("cluster_state:ok") { Ok(()) } else { Err(info) }
        });
        well.await.expect("the cluster is well");
        server
    }

    /// The same before it has any slots.
    pub async fn start_without_slots(lines: &[&str]) -> RedisServer {
        // Its own choice, ten thousand above the other port, may be taken.
        let bus = format!("cluster-port {}", port::free().port());
        RedisServer::start_with(port::free(), &[&["cluster-enabled yes", &bus][..], lines].concat()).await
    }

    async fn form(&self, buses: &[u16]) -> Result<(), String> {
        for (number, server) in self.servers.iter().enumerate() {
            run(server, &["CLUSTER", "SET-CONFIG-EPOCH", &(number + 1).to_string()])?;
        }
        for (number, first) in [0, 5_461, 10_923].into_iter().enumerate() {
            let last = [5_460, 10_922, SLOTS - 1][number];
            let (first, last) = (u16::to_string(&first), last.to_string());
            run(&self.servers[number], &["CLUSTER", "ADDSLOTSRANGE", &first, &last])?;
        }
        for (server, bus) in self.servers.iter().zip(buses).skip(1) {
            let port = server.address().port().to_string();
            run(&self.servers[0], &["CLUSTER", "MEET", "127.0.0.1", &port, &bus.to_string()])?;
        }
        for replica in 3..self.servers.len() {
            // Refused until it has heard of its primary.
            let arguments = ["CLUSTER", "REPLICATE", &self.ids[replica - 3]];
            try_eventually(PATIENCE, || run(&self.servers[replica], &arguments)).await?;
        }
        Ok(())
    }

    /// What the first server that answers, and is well, says of all.
    fn members(&self) -> Result<Vec<Member>, String> {
        let mut answers = self.servers.iter().map(members).filter(|answer| {
            let is_well = |member: &Member| member.flags.contains("myself") && !member.flags.contains("fail");
            answer.as_ref().is_ok_and(|members| members.iter().any(is_well))
        });
        answers.next().unwrap_or(Err("no server answers".to_owned()))
    }
}

fn run(server: &RedisServer, arguments: &[&str]) -> Result<(), String> {
    match server.command(arguments)?.as_str() {
        "OK" => Ok(()),
        answer => Err(format!("{arguments:?}: {answer}")),
    }
}

/// `CLUSTER NODES`: `<id> <address> <flags> <primary> <ping> <pong> <epoch> <link state> <slot>…`.
fn members(server: &RedisServer) -> Result<Vec<Member>, String> {
    let answer = server.command(&["CLUSTER", "NODES"])?;
    let member = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        Some(Member {
            id: (*words.first()?).to_owned(),
            flags: (*words.get(2)?).to_owned(),
            primary: (*words.get(3)?).to_owned(),
            is_connected: *words.get(7)? == "connected",
            has_slots: words.get(8).is_some_and(|slots| !slots.starts_with('[')),
        })
    };
    Ok(answer.lines().filter_map(member).collect())
}

/// The slot of a key: CRC16 (XMODEM) of its hash tag, or of all of it.
fn slot(key: &str) -> u16 {
    let tag = key.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(tag, _)| tag);
    let hashed = tag.filter(|tag| !tag.is_empty()).unwrap_or(key);
    let crc = hashed.bytes().fold(0_u16, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
        })
    });
    crc % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slot_of_a_key_is_that_of_its_tag() {
        // The check value of CRC16/XMODEM is 0x31C3.
        assert_eq!(slot("123456789"), 0x31C3);
        assert_eq!(slot("a{123456789}b"), 0x31C3);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_cluster_fails_over_and_moves_a_slot() {
        let mut cluster = RedisCluster::start().await;
        let (from, to) = (0, 1);
        for number in 0..50 {
            let key = format!("{{Qi}}{number}");
            let owner = usize::from(slot(&key) / 5_461);
            cluster.servers[owner].command(&["SET", &key, "value"]).expect("it can be written");
        }
        let owner = usize::from(slot("{Qi}") / 5_461);
        let slots = cluster.used_slots(owner).expect("it answers");
        assert_eq!(slots.len(), 1);
        let target = if owner == from { to } else { from };
        cluster.migrate(slots[0], owner, target).expect("a slot moves");
        assert!(cluster.used_slots(owner).expect("it answers").is_empty());
        assert_eq!(cluster.used_slots(target).expect("it answers"), slots);
        let replica = cluster.replica_of(target).expect("a replica");
        cluster.servers[target].crash();
        cluster.failed_over(target, replica).await.expect("a failover");
        let value = cluster.servers[replica].command(&["GET", "{Qi}7"]).expect("it answers");
        assert_eq!(value, "value", "the replica had what was moved");
        cluster.servers[target].restart().await;
        cluster.settle().await.expect("the old primary follows the new one");
    }
}
