//! The socket that a seat owns after the handover.

use std::time::Duration;

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

/// A stream to a subscriber. Plain TCP is one; TLS over it can be another.
pub trait Socket: AsyncRead + AsyncWrite + Unpin {
    /// Makes the coming close drop what the kernel still holds for the peer (TCP reset), so that a reader that stalled
    /// does not keep its send buffer alive after its stream has ended.
    fn reset_on_close(&self);
}

impl Socket for TcpStream {
    fn reset_on_close(&self) {
        // Failing to set the option costs kernel memory until TCP_USER_TIMEOUT, nothing else.
        let _ = socket2::SockRef::from(self).set_linger(Some(Duration::ZERO));
    }
}
