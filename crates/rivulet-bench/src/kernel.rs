//! What the kernel holds for TCP connections, from `/proc/net`: readable by everybody, without a tool.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use anyhow::Context;

/// Bytes of a page, in which `sockstat` counts.
const PAGE_LEN: u64 = 4096;
/// `/proc/net/tcp`'s number for an open connection.
const ESTABLISHED: &str = "01";

/// Bytes of all TCP sockets of this machine: both ends of what goes through loopback, with what the kernel adds to the
/// data.
pub(crate) fn tcp_memory() -> anyhow::Result<u64> {
    let text = std::fs::read_to_string("/proc/net/sockstat").context("reading /proc/net/sockstat")?;
    Ok(parse_pages(&text).context("/proc/net/sockstat has no TCP: … mem")? * PAGE_LEN)
}

fn parse_pages(sockstat: &str) -> Option<u64> {
    let line = sockstat.lines().find_map(|line| line.strip_prefix("TCP:"))?;
    line.split_whitespace().skip_while(|word| *word != "mem").nth(1)?.parse().ok()
}

/// An open connection, seen from the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Connection {
    pub(crate) client: SocketAddrV4,
    /// Bytes that were written and that the client's kernel has not acknowledged.
    pub(crate) send_queue_len: u64,
}

/// The open connections of a server.
pub(crate) fn connections_of(server: SocketAddr) -> anyhow::Result<Vec<Connection>> {
    let text = std::fs::read_to_string("/proc/net/tcp").context("reading /proc/net/tcp")?;
    Ok(text.lines().filter_map(|line| parse_connection(line, server)).collect())
}

fn parse_connection(line: &str, server: SocketAddr) -> Option<Connection> {
    let mut words = line.split_whitespace().skip(1);
    let (local, remote, state, queues) = (words.next()?, words.next()?, words.next()?, words.next()?);
    if state != ESTABLISHED || SocketAddr::V4(parse_address(local)?) != server {
        return None;
    }
    let (send, _) = queues.split_once(':')?;
    Some(Connection { client: parse_address(remote)?, send_queue_len: u64::from_str_radix(send, 16).ok()? })
}

/// An address as `/proc/net/tcp` has it: the IP in the machine's order of bytes, the port as a number.
fn parse_address(text: &str) -> Option<SocketAddrV4> {
    let (ip, port) = text.split_once(':')?;
    let ip = u32::from_str_radix(ip, 16).ok()?;
    Some(SocketAddrV4::new(Ipv4Addr::from(ip.to_ne_bytes()), u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn the_pages_of_tcp_are_found() {
        let text = "sockets: used 13\nTCP: inuse 1 orphan 0 tw 0 alloc 1 mem 17\nUDP: inuse 0 mem 3\n";
        assert_eq!(parse_pages(text), Some(17));
        assert_eq!(parse_pages("UDP: inuse 0 mem 3\n"), None);
        assert!(tcp_memory().is_ok());
    }

    #[test]
    fn what_a_client_has_not_taken_is_counted() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let server = listener.local_addr().unwrap();
        let client = std::net::TcpStream::connect(server).unwrap();
        let (mut accepted, _) = listener.accept().unwrap();
        accepted.set_nonblocking(true).unwrap();
        while accepted.write(&[0; 65_536]).is_ok() {}
        let [connection] = connections_of(server).unwrap()[..] else { panic!("there is one") };
        assert_eq!(SocketAddr::V4(connection.client), client.local_addr().unwrap());
        assert!(connection.send_queue_len > 0);
    }
}
