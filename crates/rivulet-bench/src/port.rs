//! Free TCP ports.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::bail;

/// Below Linux' range for outgoing connections: thousands of them come and go while a server restarts, and none must
/// take its port.
const FIRST: u32 = 10_000;
const COUNT: u32 = 22_000;

/// How many ports were looked at.
static LOOKS: AtomicU32 = AtomicU32::new(0);

/// A loopback address that nobody listens on. Each process begins elsewhere, so that two benches do not meet.
pub(crate) fn free_address() -> anyhow::Result<SocketAddr> {
    free_address_of(Ipv4Addr::LOCALHOST)
}

/// The same with another address of this machine.
pub(crate) fn free_address_of(ip: Ipv4Addr) -> anyhow::Result<SocketAddr> {
    for _ in 0..COUNT {
        let nth = LOOKS.fetch_add(1, Ordering::Relaxed).wrapping_add(std::process::id().wrapping_mul(61));
        let port = u16::try_from(FIRST + nth % COUNT)?;
        let address = SocketAddr::from((ip, port));
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    bail!("no free port from {FIRST} on")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_free_addresses_are_not_the_same() {
        assert_ne!(free_address().unwrap(), free_address().unwrap());
    }
}
