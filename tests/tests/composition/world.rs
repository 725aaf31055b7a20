//! The services of the composition as processes. Each has a loopback address of its own instead of a name in a network of
//! containers, and listens there on the ports that the composition knows.
//!
//! What is rewritten: names and addresses of services, `/data`, and where a server listens (a container has all addresses
//! for itself).

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::Command,
};

use regex::{Captures, Regex};
use rivulet_tests::{PATIENCE, Request, eventually, hub, metrics, process::Process, proxy::Upstreams};
use serde_json::{Map, Value};
use tempfile::TempDir;

use super::shipped::{services, texts};

/// The network of the composition, as its addresses begin.
const NETWORK: &str = "10.231.77.";

/// One start of the composition, or of a part of it.
pub(crate) struct World {
    services: Map<String, Value>,
    /// Three octets of loopback that no other test has.
    network: [u8; 3],
    /// Where a text names a service as a host, and its address.
    hosts: Vec<(Regex, IpAddr)>,
    dir: TempDir,
}

/// A running node.
pub(crate) struct Node {
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) process: Process,
    log: PathBuf,
}

impl World {
    pub(crate) fn new() -> Self {
        let network = [127, rand::random_range(1..=250), rand::random_range(1..=250)];
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut world = Self { services: services(), network, hosts: Vec::new(), dir };
        // In a URL or a list, before a port, as a word of a command.
        let pattern = |name: &str| format!(r#"(^|[\s/,@='"]){name}(:\d|[\s/,'"]|$)"#);
        let host = |name: &String| (Regex::new(&pattern(name)).expect("a pattern"), world.ip(name));
        world.hosts = world.services.keys().map(host).collect();
        world
    }

    /// The address of a service: `rivulet-1` is the first one of the network, others keep what the composition gives them.
    pub(crate) fn ip(&self, name: &str) -> IpAddr {
        let number = self.services.keys().position(|known| known == name);
        let number = number.unwrap_or_else(|| panic!("there is no service {name}"));
        let fixed = self.services[name]["networks"]["default"]["ipv4_address"].as_str();
        let last = match (name.strip_prefix("rivulet-").map(str::parse), fixed) {
            (Some(Ok(node)), _) => node,
            (_, Some(fixed)) => {
                fixed.rsplit('.').next().and_then(|last| last.parse().ok()).expect("an address")
            }
            _ => 128 + u8::try_from(number).expect("a few services"),
        };
        let [a, b, c] = self.network;
        Ipv4Addr::new(a, b, c, last).into()
    }

    /// The nodes as a proxy finds them.
    pub(crate) fn upstreams(&self) -> Upstreams {
        let ips = ["rivulet-1", "rivulet-2", "rivulet-3"].map(|name| self.ip(name));
        Upstreams { ips, port: 3000, admin_port: 9180 }
    }

    /// A text of the composition, or of a file that it mounts, with addresses of this machine.
    pub(crate) fn local(&self, text: &str) -> String {
        let [a, b, c] = self.network;
        let mut text = text.replace(NETWORK, &format!("{a}.{b}.{c}."));
        for (host, ip) in &self.hosts {
            let local = |found: &Captures<'_>| format!("{}{ip}{}", &found[1], &found[2]);
            text = host.replace_all(&text, local).into_owned();
        }
        text
    }

    fn log(&self, name: &str) -> PathBuf {
        self.dir.path().join(format!("{name}.log"))
    }

    /// Starts a node and waits until it is ready. It waits for its Redis itself.
    pub(crate) async fn ready(&self, name: &str, instead: &[(&str, &str)]) -> Node {
        let node = self.node(name, instead);
        eventually(format!("{name} is ready"), PATIENCE, || async {
            match metrics::get(node.admin, "/ready") {
                Ok((200, _)) => Ok(()),
                other => Err(format!("{other:?}\n{}\n{}", node.said(), self.said())),
            }
        })
        .await;
        node
    }

    /// Starts a node with the environment of the composition, and with these variables instead.
    fn node(&self, name: &str, instead: &[(&str, &str)]) -> Node {
        let ip = self.ip(name);
        let mut command = hub::command();
        for (variable, value) in self.services[name]["environment"].as_object().expect("an environment") {
            let value = value.as_str().unwrap_or_else(|| panic!("{variable} is no text: {value}"));
            command.env(variable, self.local(value).replace("0.0.0.0", &ip.to_string()));
        }
        // Proxies of tests have no address of their own to connect from.
        command.env("RIVULET_TRUSTED_PROXY", "127.0.0.1").envs(instead.iter().copied());
        let log = self.log(name);
        let process = Process::start(command.current_dir(self.dir.path()), &log);
        Node { address: SocketAddr::new(ip, 3000), admin: SocketAddr::new(ip, 9180), process, log }
    }

    /// Runs the command of one of the services that have Redis' image.
    pub(crate) fn redis(&self, name: &str) -> Process {
        let (ip, directory) = (self.ip(name), self.dir.path().join(name));
        std::fs::create_dir_all(&directory).expect("a temporary directory");
        let listening = format!("--bind {ip} --bind-source-addr {ip} --protected-mode no");
        let words: Vec<String> = texts(&self.services[name]["command"])
            .into_iter()
            .map(|word| {
                let word = self.local(&word.replace("$$", "$"));
                let begin = ["exec redis-server /data/redis.conf", "exec redis-server \"$@\""];
                let word = begin
                    .iter()
                    .fold(word, |word, begin| word.replace(begin, &format!("{begin} {listening}")));
                let word = word.replace("/data", &directory.to_string_lossy());
                word.replace("port 26379", &format!("port 26379\nbind {ip}"))
            })
            .collect();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).current_dir(&directory).env("HOSTNAME", ip.to_string());
        if words[0] == "redis-server" {
            command.args(listening.split(' '));
        }
        Process::start(&mut command, &self.log(name))
    }

    /// What all services of Redis have written.
    pub(crate) fn said(&self) -> String {
        let redis = self.services.keys().filter(|name| !name.starts_with("rivulet-"));
        redis.map(|name| format!("--- {name}\n{}", self.said_by(name))).collect()
    }

    /// What a service has written.
    pub(crate) fn said_by(&self, name: &str) -> String {
        std::fs::read_to_string(self.log(name)).unwrap_or_default()
    }
}

impl Node {
    /// What it has written.
    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Publishes on it, as the header of the composition says.
    pub(crate) async fn publish(&self, topic: &str, data: &str) -> String {
        let answer = publication(topic, data).send(self.address).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.text().to_owned()
    }
}

/// A publication with a token that `rivulet token` makes for development.
pub(crate) fn publication(topic: &str, data: &str) -> Request {
    let output = hub::command().args(["token", "--dialect", "0.x", "--publish", "*"]).output();
    let output = output.expect("rivulet runs");
    assert!(output.status.success(), "{output:?}");
    let token = String::from_utf8(output.stdout).expect("a token");
    Request::publish(&[("topic", topic), ("data", data)]).bearer(token.trim())
}

#[test]
fn names_become_addresses_where_they_are_hosts() {
    let world = World::new();
    let [redis, first, second] = ["redis", "sentinel-1", "sentinel-2"].map(|name| world.ip(name));
    for (from, to) in [
        ("redis://redis:6379".to_owned(), format!("redis://{redis}:6379")),
        (
            "redis+sentinel://sentinel-1:26379,sentinel-2:26379/rivulet".to_owned(),
            format!("redis+sentinel://{first}:26379,{second}:26379/rivulet"),
        ),
        ("master=redis".to_owned(), format!("master={redis}")),
        ("redis-server --appendonly yes".to_owned(), "redis-server --appendonly yes".to_owned()),
    ] {
        assert_eq!(world.local(&from), to);
    }
    assert_ne!(world.ip("rivulet-1"), world.ip("rivulet-2"));
}
