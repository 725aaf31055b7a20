//! Free TCP ports.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

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
        if ips.iter().all(|ip| TcpListener::bind((*ip, port)).is_ok()) {
            return port;
        }
    }
    panic!("no free port between {} and {}", RANGE.start, RANGE.end);
}
