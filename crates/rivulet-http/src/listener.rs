//! The listening socket and its options. Linux hands every one of them down to accepted sockets, so they cost nothing
//! per connection.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

/// How many connections may wait to be accepted. After a network hiccup all clients come back at once; the system
/// (`net.core.somaxconn`) may allow fewer.
const BACKLOG: i32 = 4096;

/// A peer that vanished without a word (power, NAT) is asked after this time of silence …
const KEEPALIVE_TIME: Duration = Duration::from_secs(30);
/// … and again this often …
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// … this many times, before the connection is given up.
#[cfg(not(target_os = "windows"))]
const KEEPALIVE_RETRIES: u32 = 3;

/// How long sent bytes may stay unacknowledged. Keepalive does not run while something is in flight: without this a
/// vanished reader would hold its seat for the quarter of an hour that TCP retransmits.
#[cfg(target_os = "linux")]
const USER_TIMEOUT: Duration = Duration::from_secs(20);

/// How many bytes may wait unsent in the kernel before the socket counts as full. What waits there cannot be coalesced
/// any more, and is the kernel's memory: 14 KB instead of 45 for a reader that has stopped.
#[cfg(target_os = "linux")]
const NOTSENT_LOWAT: u32 = 16 * 1024;

/// Binds and listens.
pub(crate) fn listen(address: SocketAddr, send_buffer_len: usize) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restarted node takes its port back while connections of its predecessor linger in TIME_WAIT.
    socket.set_reuse_address(true)?;
    // Small events are sent at once instead of waiting for the acknowledgement of the one before.
    socket.set_tcp_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_TIME).with_interval(KEEPALIVE_INTERVAL);
    #[cfg(not(target_os = "windows"))]
    let keepalive = keepalive.with_retries(KEEPALIVE_RETRIES);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_send_buffer_size(send_buffer_len)?;
    #[cfg(target_os = "linux")]
    {
        socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
        socket.set_tcp_notsent_lowat(NOTSENT_LOWAT)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use socket2::SockRef;

    use super::*;

    #[test]
    fn accepted_sockets_inherit_the_options() {
        let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0)), 32 * 1024).unwrap();
        listener.set_nonblocking(false).unwrap();
        let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let accepted = SockRef::from(&accepted);
        assert!(accepted.tcp_nodelay().unwrap());
        assert!(accepted.keepalive().unwrap());
        // Linux doubles what is asked, for its own bookkeeping.
        assert!(accepted.send_buffer_size().unwrap() <= 2 * 32 * 1024);
        #[cfg(target_os = "linux")]
        assert_eq!(accepted.tcp_user_timeout().unwrap(), Some(USER_TIMEOUT));
    }
}
