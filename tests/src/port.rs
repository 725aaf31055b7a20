//! Free TCP ports.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr as Name, UnixListener},
    },
};

use rand::RngExt as _;

/// Below Linux' range for outgoing connections, so that no connection of another test takes a port between its choice
/// here and the moment when the process that it is for listens.
const RANGE: std::ops::Range<u16> = 10_000..32_000;

/// A loopback address that nobody listens on.
pub fn free() -> SocketAddr {
    free_on(Ipv4Addr::LOCALHOST.into())
}

/// The same of another address of this machine.
pub fn free_on(ip: IpAddr) -> SocketAddr {
    SocketAddr::from((ip, free_on_all(&[ip])))
}

/// A port that nobody listens on at any of these addresses of this machine.
pub fn free_on_all(ips: &[IpAddr]) -> u16 {
    for _ in 0..1_000 {
        let port = rand::rng().random_range(RANGE);
        if ips.iter().all(|ip| TcpListener::bind((*ip, port)).is_ok()) && is_ours(port) {
            return port;
        }
    }
    panic!("no free port between {} and {}", RANGE.start, RANGE.end);
}

/// Claims a port for this process until it ends, by a name that only one socket of this machine can have. Two tests that
/// choose at once would else get the same port, and a server that shares its port, as Caddy does, would not even notice.
fn is_ours(port: u16) -> bool {
    let name = Name::from_abstract_name(format!("rivulet-test-port-{port}")).expect("a short name");
    let claim = UnixListener::bind_addr(&name);
    claim.map(std::mem::forget).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_claimed_once() {
        let port = free().port();
        assert!(!is_ours(port), "{port} is given to two");
    }
}
