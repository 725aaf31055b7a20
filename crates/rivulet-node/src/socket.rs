//! The socket that a seat owns after the handover.

use std::{io, task::Context, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

/// A stream to a subscriber: plain TCP, or TLS over it.
pub trait Socket: AsyncRead + AsyncWrite + Unpin {
    /// Makes the coming close drop what the kernel still holds for the peer (TCP reset), so that a reader that stalled
    /// does not keep its send buffer alive after its stream has ended.
    fn reset_on_close(&self);

    /// Sends on what the socket has taken but still holds itself. A stream has not reached its subscriber while
    /// something is held here, whatever [`AsyncWrite::poll_write`] said. Unless the answer is [`Unsent::Nothing`], the
    /// waker is called when the kernel can take more.
    ///
    /// Plain TCP holds nothing, which is what this says unless a socket knows better.
    ///
    /// # Errors
    ///
    /// What the kernel says about a broken connection.
    fn send_unsent(&mut self, _cx: &mut Context<'_>) -> io::Result<Unsent> {
        Ok(Unsent::Nothing)
    }
}

/// What a socket still holds after [`Socket::send_unsent`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsent {
    /// Everything is with the kernel.
    Nothing,
    /// The kernel has taken a part of it: the peer reads.
    Less,
    /// The kernel has taken nothing of it.
    Same,
}

impl Socket for TcpStream {
    fn reset_on_close(&self) {
        // Failing to set the option costs kernel memory until TCP_USER_TIMEOUT, nothing else.
        let _ = socket2::SockRef::from(self).set_linger(Some(Duration::ZERO));
    }
}
