//! A master with two replicas and three Sentinels that watch over them, all real processes.
//!
//! Everybody, replicas and Sentinels too, reaches a server through its proxy: that is the address that it announces.

use std::{net::SocketAddr, process::Command, time::Duration};

use tempfile::TempDir;

use crate::{
    chaos_proxy::ChaosProxy,
    deadline::try_eventually,
    port,
    process::Process,
    redis::{RedisServer, command},
};

/// The name under which the master is asked for.
pub const MASTER: &str = "rivulet-master";

/// How long a failover, and the return of a server, may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The servers, the Sentinels, and the network between them and everybody.
#[derive(Debug)]
pub struct SentinelSetup {
    /// The redis-servers.
    pub servers: Vec<RedisServer>,
    /// The proxy before each server.
    pub proxies: Vec<ChaosProxy>,
    sentinels: Vec<Sentinel>,
}

#[derive(Debug)]
struct Sentinel {
    address: SocketAddr,
    _process: Process,
    _dir: TempDir,
}

impl SentinelSetup {
    /// Starts everything and waits until each Sentinel knows all others and both replicas.
    ///
    /// # Panics
    /// If that does not come about.
    pub async fn start() -> Self {
        let (mut servers, mut proxies) = (Vec::new(), Vec::<ChaosProxy>::new());
        for _ in 0..3 {
            let address = port::free();
            let proxy = ChaosProxy::start(address).await;
            let announced = format!("replica-announce-port {}", proxy.address().port());
            let replicates =
                proxies.first().map(|first| format!("replicaof 127.0.0.1 {}", first.address().port()));
            let mut lines = vec!["replica-announce-ip 127.0.0.1", &announced, "repl-diskless-sync-delay 0"];
            lines.extend(["repl-timeout 10", "repl-ping-replica-period 1"]);
            lines.extend(replicates.as_deref());
            servers.push(RedisServer::start_with(address, &lines).await);
            proxies.push(proxy);
        }
        let mut setup = Self { servers, proxies, sentinels: Vec::new() };
        // A Sentinel asks a master for its replicas when it meets it, and then only every ten seconds.
        let ready = try_eventually(PATIENCE, || setup.replicas_follow(0)).await;
        ready.expect("two replicas follow the master");
        let master = setup.proxies[0].address();
        setup.sentinels = (0..3).map(|_| Sentinel::launch(master)).collect();
        for sentinel in &setup.sentinels {
            let hastened = try_eventually(PATIENCE, || sentinel.hasten()).await;
            hastened.expect("a Sentinel answers");
        }
        setup.settle().await.expect("the Sentinels agree");
        setup
    }

    /// The address for clients.
    pub fn url(&self) -> String {
        let sentinels: Vec<_> = self.sentinels.iter().map(|sentinel| sentinel.address.to_string()).collect();
        format!("redis+sentinel://{}/{MASTER}", sentinels.join(","))
    }

    /// The number of the server that all Sentinels call the master.
    ///
    /// # Errors
    /// While they do not agree.
    pub fn master(&self) -> Result<usize, String> {
        let mut agreed = None;
        for sentinel in &self.sentinels {
            let answer = command(sentinel.address, &["SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER])?;
            let known = |proxy: &ChaosProxy| answer.ends_with(&format!("\n{}", proxy.address().port()));
            let master =
                self.proxies.iter().position(known).ok_or(format!("an unknown master: {answer:?}"))?;
            if agreed.is_some_and(|other| other != master) {
                return Err(format!("the Sentinels do not agree: {agreed:?}, {master}"));
            }
            agreed = Some(master);
        }
        agreed.ok_or("no Sentinel".to_owned())
    }

    /// Waits until the Sentinels have made another server the master; answers which.
    ///
    /// # Errors
    /// If they do not.
    pub async fn failed_over(&self, from: usize) -> Result<usize, String> {
        try_eventually(PATIENCE, || match self.master()? {
            master if master == from => Err(format!("{from} still is the master")),
            master => Ok(master),
        })
        .await
    }

    /// Waits until all servers are up, all Sentinels agree, and both replicas follow the master.
    ///
    /// # Errors
    /// If that does not come about.
    pub async fn settle(&self) -> Result<(), String> {
        try_eventually(PATIENCE, || {
            let master = self.master()?;
            self.replicas_follow(master)?;
            self.sentinels.iter().try_for_each(|sentinel| sentinel.knows_all())
        })
        .await
    }

    fn replicas_follow(&self, master: usize) -> Result<(), String> {
        let info = self.servers[master].command(&["INFO", "replication"])?;
        let online = info.lines().filter(|line| line.contains("state=online")).count();
        if info.contains("role:master") && online == 2 { Ok(()) } else { Err(info) }
    }
}

impl Sentinel {
    fn launch(master: SocketAddr) -> Self {
        let address = port::free();
        let dir = tempfile::tempdir().expect("a temporary directory");
        let text = format!(
            "port {port}\nbind 127.0.0.1\nsentinel monitor {MASTER} 127.0.0.1 {master} 2\n\
             sentinel down-after-milliseconds {MASTER} 1000\nsentinel failover-timeout {MASTER} 3000\n\
             sentinel parallel-syncs {MASTER} 2\n",
            port = address.port(),
            master = master.port()
        );
        std::fs::write(dir.path().join("sentinel.conf"), text).expect("a file in a temporary directory");
        let mut command = Command::new("redis-sentinel");
        command.arg("sentinel.conf").current_dir(dir.path());
        let process = Process::start(&mut command, &dir.path().join("sentinel.log"));
        Self { address, _process: process, _dir: dir }
    }

    /// Looks more often than a Sentinel does: one takes up to 18 seconds until it tells an old master that comes back
    /// that it is a replica now.
    fn hasten(&self) -> Result<(), String> {
        let periods = ["INFO-PERIOD", "1000", "PUBLISH-PERIOD", "500"];
        let answer = command(self.address, &[&["SENTINEL", "DEBUG"][..], &periods].concat())?;
        if answer == "OK" { Ok(()) } else { Err(answer) }
    }

    /// Whether it could fail over now: it knows the others, and both replicas are well.
    fn knows_all(&self) -> Result<(), String> {
        let quorum = command(self.address, &["SENTINEL", "CKQUORUM", MASTER])?;
        if !quorum.starts_with("OK 3 usable") {
            return Err(quorum);
        }
        let answer = command(self.address, &["SENTINEL", "REPLICAS", MASTER])?;
        let lines: Vec<&str> = answer.lines().collect();
        let flags = lines.windows(2).filter(|pair| pair[0] == "flags").map(|pair| pair[1]);
        let flags: Vec<&str> = flags.collect();
        if flags == ["slave", "slave"] { Ok(()) } else { Err(format!("replicas: {flags:?}")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_sentinels_make_another_server_the_master() {
        let mut setup = SentinelSetup::start().await;
        let first = setup.master().expect("a master");
        setup.servers[first].crash();
        let second = setup.failed_over(first).await.expect("a failover");
        assert_ne!(first, second);
        setup.servers[second].command(&["SET", "key", "value"]).expect("it can be written");
        setup.servers[first].restart().await;
        setup.settle().await.expect("the old master follows the new one");
        let value = setup.servers[first].command(&["GET", "key"]).expect("it answers");
        assert_eq!(value, "value", "what was written meanwhile");
    }
}
