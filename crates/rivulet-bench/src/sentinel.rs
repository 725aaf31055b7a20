//! A master with replicas, and three Sentinels that watch over them.

use std::{
    net::SocketAddr,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use tempfile::TempDir;

use crate::{
    port::free_address,
    process::Process,
    redis_client::{RedisClient, Reply},
    redis_server::{Keeping, RedisServer},
    servers::Launcher,
};

/// The name under which the master is asked for.
const MASTER: &str = "bench";
/// How many Sentinels there are: two have to agree.
const SENTINELS: usize = 3;
/// How long a master has to be silent before a Sentinel calls it down.
pub(crate) const DOWN_AFTER: Duration = Duration::from_millis(1000);
/// Longest wait until all know each other.
const SETTLE_MAX: Duration = Duration::from_secs(40);
/// Pause between two looks while they settle.
const SETTLE_POLL: Duration = Duration::from_millis(50);

/// All of them; dropping it ends them.
pub(crate) struct SentinelGroup {
    // Sentinels end before the servers: they would only complain.
    sentinels: Vec<Sentinel>,
    /// The first is the master.
    servers: Vec<RedisServer>,
}

/// How far a failover is, in the eyes of a Sentinel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Progress {
    /// It names the old master.
    Old,
    /// A replica is promoted, and it names that one to whoever asks for the master's address.
    Promoted,
    /// The other replicas have been told as well, and it has announced `+switch-master`.
    Switched,
}

struct Sentinel {
    address: SocketAddr,
    client: RedisClient,
    _process: Process,
    // Dropped last: the process writes its configuration there.
    _dir: TempDir,
}

impl SentinelGroup {
    /// Starts everything and waits until each Sentinel knows the others and all replicas.
    pub(crate) fn start(launcher: &Launcher, replicas: u32) -> anyhow::Result<Self> {
        let eager = ["--repl-diskless-sync-delay", "0"];
        let master = launcher.launch_redis(Keeping::InMemory, &eager)?;
        let port = master.address.port().to_string();
        let follow = ["--repl-diskless-sync-delay", "0", "--replicaof", "127.0.0.1", &port];
        let mut servers = vec![master];
        for _ in 0..replicas {
            servers.push(launcher.launch_redis(Keeping::InMemory, &follow)?);
        }
        let mut group = Self { sentinels: Vec::new(), servers };
        // A Sentinel asks a master for its replicas when it meets it, and then only every ten seconds.
        until("the replicas follow", || group.replicas_follow(replicas))?;
        let master = group.servers[0].address;
        group.sentinels =
            (0..SENTINELS).map(|_| Sentinel::start(launcher, master)).collect::<anyhow::Result<_>>()?;
        until("the Sentinels know everybody", || {
            group
                .sentinels
                .iter_mut()
                .try_fold(true, |all, sentinel| Ok(all && sentinel.is_settled(replicas)?))
        })?;
        Ok(group)
    }

    /// The address for clients.
    pub(crate) fn url(&self) -> String {
        let sentinels: Vec<_> = self.sentinels.iter().map(|sentinel| sentinel.address.to_string()).collect();
        format!("redis+sentinel://{}/{MASTER}", sentinels.join(","))
    }

    /// Kills the master, as a crash would.
    pub(crate) fn kill_master(&mut self) -> anyhow::Result<()> {
        self.servers[0].kill()
    }

    /// How far the Sentinel is that is furthest.
    pub(crate) fn progress(&mut self) -> anyhow::Result<Progress> {
        let mut furthest = Progress::Old;
        let first = self.servers[0].address.port().to_string();
        for sentinel in &mut self.sentinels {
            furthest = furthest.max(sentinel.progress(&first)?);
        }
        Ok(furthest)
    }

    fn replicas_follow(&self, replicas: u32) -> anyhow::Result<bool> {
        let info = self.servers[0].client()?.info("replication")?;
        let online = |nth: u32| {
            info.text(&format!("slave{nth}")).is_some_and(|replica| replica.contains("state=online"))
        };
        Ok((0..replicas).all(online))
    }
}

impl Sentinel {
    fn start(launcher: &Launcher, master: SocketAddr) -> anyhow::Result<Self> {
        let (address, dir) = (free_address()?, tempfile::tempdir().context("creating a directory")?);
        let text = format!(
            "port {port}\nbind 127.0.0.1\nsentinel monitor {MASTER} 127.0.0.1 {master} 2\n\
             sentinel down-after-milliseconds {MASTER} {down}\nsentinel failover-timeout {MASTER} 3000\n\
             sentinel parallel-syncs {MASTER} 4\n",
            port = address.port(),
            master = master.port(),
            down = DOWN_AFTER.as_millis(),
        );
        std::fs::write(dir.path().join("sentinel.conf"), text)
            .context("writing a Sentinel's configuration")?;
        let path = launcher.redis_path()?;
        let mut command = Command::new(path);
        command.args(["sentinel.conf", "--sentinel"]).current_dir(dir.path());
        let mut process =
            Process::start("redis-sentinel", command, launcher.cores.as_ref(), |cores| cores.redis)?;
        let deadline = Instant::now() + SETTLE_MAX;
        let mut client = loop {
            match RedisClient::connect(address) {
                Ok(client) => break client,
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => process.check_alive()?,
            }
            thread::sleep(SETTLE_POLL);
        };
        // So that it soon knows the others: they look for each other every two seconds only.
        client.command(&["SENTINEL", "DEBUG", "INFO-PERIOD", "1000", "PUBLISH-PERIOD", "500"])?;
        Ok(Self { address, client, _process: process, _dir: dir })
    }

    fn progress(&mut self, old: &str) -> anyhow::Result<Progress> {
        let Reply::List(address) = self.client.command(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER])?
        else {
            bail!("a Sentinel does not know the master")
        };
        if address.last() == Some(&word(old)) {
            return Ok(Progress::Old);
        }
        let Reply::List(fields) = self.client.command(&["SENTINEL", "MASTER", MASTER])? else {
            bail!("a Sentinel does not know the master")
        };
        let is_old = fields.windows(2).any(|pair| pair == [word("port"), word(old)]);
        Ok(if is_old { Progress::Promoted } else { Progress::Switched })
    }

    /// Whether it could fail over now.
    fn is_settled(&mut self, replicas: u32) -> anyhow::Result<bool> {
        let Ok(Reply::Text(quorum)) = self.client.command(&["SENTINEL", "CKQUORUM", MASTER]) else {
            return Ok(false);
        };
        let Reply::List(known) = self.client.command(&["SENTINEL", "REPLICAS", MASTER])? else {
            return Ok(false);
        };
        let is_well = |replica: &Reply| match replica {
            Reply::List(fields) => fields.windows(2).any(|pair| pair == [word("flags"), word("slave")]),
            _ => false,
        };
        Ok(quorum.starts_with(&format!("OK {SENTINELS} usable"))
            && known.len() == replicas as usize
            && known.iter().all(is_well))
    }
}

fn word(text: &str) -> Reply {
    Reply::Text(text.to_owned())
}

/// Waits until something holds.
fn until(what: &str, mut holds: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let deadline = Instant::now() + SETTLE_MAX;
    while !holds()? {
        if Instant::now() > deadline {
            bail!("waited {SETTLE_MAX:?} in vain: {what}");
        }
        thread::sleep(SETTLE_POLL);
    }
    Ok(())
}
