//! The nodes of a run: real processes that are killed and replaced.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::world::World;
use crate::{Hub, deadline::try_eventually, hub, metrics, port, process::Process};

/// How long a node may take until it is ready, and until it has ended after SIGTERM.
const NODE_PATIENCE: Duration = Duration::from_secs(30);

/// With what nodes are started.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// The program.
    pub program: PathBuf,
    /// Flags beside addresses and the URL of Redis.
    pub flags: Vec<String>,
    /// More environment, such as the fault of a broken build.
    pub environment: Vec<(String, String)>,
}

/// All nodes of a run, by their places: a node that dies is replaced at its place, at another address.
#[derive(Debug)]
pub struct Fleet {
    world: Arc<World>,
    recipe: Recipe,
    urls: Vec<String>,
    nodes: Vec<Node>,
    /// Logs of nodes that have ended.
    ended: Vec<(String, String)>,
}

#[derive(Debug)]
struct Node {
    address: SocketAddr,
    admin: SocketAddr,
    process: Process,
    dir: TempDir,
}

impl Fleet {
    /// Starts a node for each URL of Redis and waits until all are ready.
    ///
    /// # Errors
    /// If one of them does not become ready.
    pub async fn start(world: &Arc<World>, recipe: Recipe, urls: Vec<String>) -> Result<Self, String> {
        let nodes = urls.iter().map(|url| Node::launch(&recipe, url)).collect();
        let world = Arc::clone(world);
        let mut fleet = Self { world, recipe, urls, nodes, ended: Vec::new() };
        for place in 0..fleet.nodes.len() {
            fleet.wait_until_ready(place).await?;
            fleet.world.node_is_up(fleet.nodes[place].address);
        }
        Ok(fleet)
    }

    /// How many places there are.
    pub fn places(&self) -> usize {
        self.nodes.len()
    }

    /// Where the node at a place listens.
    pub fn address(&self, place: usize) -> SocketAddr {
        self.nodes[place].address
    }

    /// Ends the node at a place with a signal, at once and unannounced.
    pub async fn kill(&mut self, place: usize) {
        let node = &mut self.nodes[place];
        node.process.signal("KILL");
        node.process.wait(NODE_PATIENCE).expect("a killed process ends");
        self.world.node_is_down(node.address);
    }

    /// Asks the node at a place to end and waits until it has.
    pub async fn terminate(&mut self, place: usize) {
        let node = &mut self.nodes[place];
        self.world.node_is_down(node.address);
        node.process.signal("TERM");
        let start = Instant::now();
        let status = loop {
            match node.process.status() {
                Some(status) => break Some(status),
                None if start.elapsed() > NODE_PATIENCE => break None,
                None => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        };
        if !status.is_some_and(|status| status.success()) {
            self.world.accident(format!("node {} after SIGTERM: {status:?}", node.address));
        }
    }

    /// Starts another node at the place of one that has ended.
    pub async fn replace(&mut self, place: usize) {
        let node = Node::launch(&self.recipe, &self.urls[place]);
        let old = std::mem::replace(&mut self.nodes[place], node);
        self.ended.push((old.address.to_string(), old.log()));
        match self.wait_until_ready(place).await {
            Ok(()) => self.world.node_is_up(self.nodes[place].address),
            Err(error) => self.world.accident(error),
        }
    }

    /// Waits until the nodes at all places say that they are ready; notes it where one does not.
    pub async fn wait_until_all_ready(&mut self) {
        for place in 0..self.nodes.len() {
            if let Err(error) = self.wait_until_ready(place).await {
                self.world.accident(error);
            }
        }
    }

    async fn wait_until_ready(&mut self, place: usize) -> Result<(), String> {
        let node = &mut self.nodes[place];
        let start = Instant::now();
        loop {
            if let Some(status) = node.process.status() {
                return Err(format!(
                    "node {} ended by itself: {status}\n{}",
                    node.address,
                    tail(&node.log())
                ));
            }
            let answer = metrics::get(node.admin, "/ready");
            if matches!(answer, Ok((200, _))) {
                return Ok(());
            }
            if start.elapsed() > NODE_PATIENCE {
                let log = tail(&node.log());
                return Err(format!(
                    "node {} is not ready after {NODE_PATIENCE:?}: {answer:?}\n{log}",
                    node.address
                ));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ends all nodes and notes what they should not have done.
    pub async fn end(mut self) {
        for place in 0..self.nodes.len() {
            if let Some(status) = self.nodes[place].process.status() {
                let address = self.nodes[place].address;
                self.world.accident(format!("node {address} ended by itself: {status}"));
                continue;
            }
            let (address, admin) = (self.nodes[place].address, self.nodes[place].admin);
            let released = try_eventually(NODE_PATIENCE, || hub::connected(admin, 0)).await;
            if let Err(error) = released {
                self.world.accident(format!("node {address} keeps streams of subscribers who left: {error}"));
            }
            self.terminate(place).await;
        }
        let last = self.nodes.iter().map(|node| (node.address.to_string(), node.log()));
        for (address, log) in self.ended.iter().cloned().chain(last) {
            if let Some(line) = log.lines().find(|line| line.contains("panicked at")) {
                self.world.accident(format!("node {address}: {line}"));
            }
        }
    }

    /// What all nodes have written, those that have ended first.
    pub fn logs(&self) -> Vec<(String, String)> {
        let last = self.nodes.iter().map(|node| (node.address.to_string(), node.log()));
        self.ended.iter().cloned().chain(last).collect()
    }
}

impl Node {
    fn launch(recipe: &Recipe, url: &str) -> Self {
        let (address, admin) = (port::free(), port::free());
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut command = hub::command_of(&recipe.program);
        command.envs(Hub::DEFAULTS).envs(recipe.environment.iter().cloned()).current_dir(dir.path());
        command.args(["--listen", &address.to_string(), "--admin-listen", &admin.to_string()]);
        command.args(["--redis-url", url]).args(&recipe.flags);
        let process = Process::start(&mut command, &dir.path().join("log"));
        Self { address, admin, process, dir }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

/// The last lines of a log.
fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}
