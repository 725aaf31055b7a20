//! A network namespace of a test's own, behind a cable that can be pulled: whoever is in it vanishes without a word.
//!
//! It needs root and Linux' `ip`. Where they are missing the test fails: nothing else on one machine loses a peer
//! without a FIN or a RST.

use std::{
    fs::File,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    process::Command,
};

use nix::sched::{CloneFlags, setns};
use rand::RngExt as _;

/// See the module's documentation. It is gone when this is dropped.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    host: Ipv4Addr,
}

impl Namespace {
    /// Makes one, with a cable to this machine.
    ///
    /// # Panics
    /// If it may not.
    pub fn new() -> Self {
        let number: u16 = rand::rng().random_range(0..1 << 14);
        let name = format!("rivulet{number}");
        // A network of four addresses for each number, of which ours is the first.
        let [high, low] = (number << 2).to_be_bytes();
        let [host, peer] = [1, 2].map(|last| Ipv4Addr::new(10, 213, high, low | last));
        ip(&["netns", "add", &name]);
        let namespace = Self { name, host };
        let name = namespace.name.as_str();
        let (outside, inside) = (namespace.cable(), "cable");
        ip(&["link", "add", &outside, "type", "veth", "peer", "name", inside, "netns", name]);
        ip(&["addr", "add", &format!("{host}/30"), "dev", &outside]);
        ip(&["link", "set", &outside, "up"]);
        ip(&["-n", name, "addr", "add", &format!("{peer}/30"), "dev", inside]);
        ip(&["-n", name, "link", "set", inside, "up"]);
        namespace
    }

    /// This machine's address on the cable.
    pub fn host(&self) -> IpAddr {
        self.host.into()
    }

    /// Connects from within.
    ///
    /// # Panics
    /// If nobody listens there.
    pub fn connect(&self, to: SocketAddr) -> tokio::net::TcpStream {
        let path = format!("/run/netns/{}", self.name);
        // A thread enters it for good, and a socket stays where it was made.
        let connecting = std::thread::spawn(move || {
            let namespace = File::open(path)?;
            setns(namespace, CloneFlags::CLONE_NEWNET)?;
            let stream = TcpStream::connect(to)?;
            stream.set_nonblocking(true).map(|()| stream)
        });
        let stream = connecting.join().expect("it does not panic").expect("a way to this machine");
        tokio::net::TcpStream::from_std(stream).expect("a socket that does not block")
    }

    /// Pulls the cable: from now on nothing arrives on either side, and nobody is told.
    pub fn vanish(&self) {
        ip(&["-n", &self.name, "link", "set", "cable", "down"]);
    }

    fn cable(&self) -> String {
        format!("{}x", self.name)
    }
}

impl Default for Namespace {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // The cable goes with it. Sockets may keep the namespace alive for as long as they are open.
        let _ = Command::new("ip").args(["link", "del", &self.cable()]).status();
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("ip cannot be run (package iproute2): {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {arguments:?}, which needs root: {said}");
}
