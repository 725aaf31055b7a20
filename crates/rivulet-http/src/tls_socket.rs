//! TLS over TCP as a seat's socket: rustls without its buffers.
//!
//! What tells this from tokio-rustls is what it holds while nothing happens: keys and nothing else. There a buffer of
//! 4 KB stays with every connection that has ever read, which is more than all the rest of an idle stream.

use std::{
    future::poll_fn,
    io::{self, IoSlice},
    mem::MaybeUninit,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use rivulet_node::{Socket, Unsent};
use rustls::{
    ServerConfig,
    server::UnbufferedServerConnection,
    unbuffered::{ConnectionState, EncodeError, EncryptError, ReadTraffic, UnbufferedStatus},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// How much is encrypted at a time, before encryption. What the kernel does not take of it waits here, so this is what a
/// reader that has stopped costs beside its idle state; less would cut bursts into more system calls.
const SEALED_LEN_MAX: usize = 8 * 1024;
/// How much is read at a time.
const READ_LEN: usize = 8 * 1024;
/// The longest beginning of something: rustls takes handshake messages of 64 KB and records of 16 KB.
const INCOMING_LEN_MAX: usize = 96 * 1024;

/// See the module's documentation. All buffers are empty and without memory while nothing happens.
pub(crate) struct TlsSocket {
    tcp: TcpStream,
    session: UnbufferedServerConnection,
    stage: Stage,
    /// The beginning of a record, or of a handshake message, whose end has not come yet.
    incoming: Vec<u8>,
    /// What has been decrypted and not been read.
    plain: Bytes,
    /// What has been encrypted and not been taken by the kernel.
    outgoing: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Handshake,
    Open,
    /// The peer has said that nothing comes any more.
    Closed,
    /// A rule of TLS was broken. rustls must not be asked again: it would look for what came before in what comes next.
    Broken,
}

/// For what rustls is asked.
#[derive(Clone, Copy)]
enum Intent<'a> {
    Receive,
    Send(&'a [u8]),
    Close,
}

impl TlsSocket {
    /// Shakes hands with a client.
    pub(crate) async fn accept(config: Arc<ServerConfig>, tcp: TcpStream) -> io::Result<Self> {
        let session = UnbufferedServerConnection::new(config).map_err(io::Error::other)?;
        let (incoming, outgoing) = (Vec::new(), Vec::new());
        let stage = Stage::Handshake;
        let mut socket = Self { tcp, session, stage, incoming, plain: Bytes::new(), outgoing };
        poll_fn(|cx| socket.poll_handshake(cx)).await?;
        Ok(socket)
    }

    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_sent(cx))?;
            if self.stage != Stage::Handshake {
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_receive(cx))?;
        }
    }

    /// Reads once, and decrypts what is complete.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.stage == Stage::Broken {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let mut scratch = [MaybeUninit::uninit(); READ_LEN];
        let mut read = ReadBuf::uninit(&mut scratch);
        ready!(Pin::new(&mut self.tcp).poll_read(cx, &mut read))?;
        let received = read.filled_mut();
        if received.is_empty() {
            // It may have been cut by somebody else.
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        let done = if self.incoming.is_empty() {
            let processed = self.process(received, Intent::Receive);
            processed.map(|done| self.incoming = received[done..].to_vec())
        } else {
            let mut incoming = std::mem::take(&mut self.incoming);
            incoming.extend_from_slice(received);
            let processed = self.process(&mut incoming, Intent::Receive);
            processed.map(|done| self.incoming = incoming[done..].to_vec())
        };
        if done.is_err() {
            // The alert that says why, if it can be sent at once.
            let _ = self.send_unsent(cx);
        } else if self.incoming.len() > INCOMING_LEN_MAX {
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        Poll::Ready(done)
    }

    /// Has rustls go on with `incoming` as far as it gets, and then do what is intended. Answers how much of `incoming`
    /// it is done with.
    fn process(&mut self, incoming: &mut [u8], intent: Intent<'_>) -> io::Result<usize> {
        if self.stage == Stage::Broken {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        let mut done = 0;
        loop {
            let UnbufferedStatus { discard, state } = self.session.process_tls_records(&mut incoming[done..]);
            done += discard;
            match state.map_err(invalid) {
                Ok(ConnectionState::ReadTraffic(traffic)) => done += take_plain(traffic, &mut self.plain)?,
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    append(&mut self.outgoing, |room| data.encode(room).map_err(Unfit::from))?;
                }
                // It will be: everything leaves in the order in which it was encrypted.
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::BlockedHandshake) => match intent {
                    Intent::Receive => return Ok(done),
                    Intent::Send(_) | Intent::Close => return Err(io::ErrorKind::NotConnected.into()),
                },
                Ok(ConnectionState::PeerClosed) if self.stage == Stage::Handshake => {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                Ok(ConnectionState::PeerClosed) => self.stage = Stage::Closed,
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    if self.stage == Stage::Handshake {
                        self.stage = Stage::Open;
                    }
                    match intent {
                        Intent::Receive => {}
                        Intent::Send(plain) => append(&mut self.outgoing, |room| {
                            traffic.encrypt(plain, room).map_err(Unfit::from)
                        })?,
                        Intent::Close => append(&mut self.outgoing, |room| {
                            traffic.queue_close_notify(room).map_err(Unfit::from)
                        })?,
                    }
                    return Ok(done);
                }
                Ok(ConnectionState::Closed) => match intent {
                    Intent::Receive | Intent::Close => return Ok(done),
                    Intent::Send(_) => return Err(io::ErrorKind::BrokenPipe.into()),
                },
                Ok(state) => return Err(io::Error::other(format!("not configured: {state:?}"))),
                Err(error) => {
                    self.encode_alert(&mut incoming[done..]);
                    self.stage = Stage::Broken;
                    return Err(error);
                }
            }
        }
    }

    /// After an error: what tells the peer of it, if there is something. That is one alert, and rustls gives it before it
    /// looks at `incoming` again.
    fn encode_alert(&mut self, incoming: &mut [u8]) {
        if let Ok(ConnectionState::EncodeTlsData(mut data)) = self.session.process_tls_records(incoming).state
        {
            // Without it the peer learns nothing but that it is over.
            let _ = append(&mut self.outgoing, |room| data.encode(room).map_err(Unfit::from));
        }
    }

    /// Like [`Self::process`], with what has been received before.
    fn intend(&mut self, intent: Intent<'_>) -> io::Result<()> {
        let mut incoming = std::mem::take(&mut self.incoming);
        let done = self.process(&mut incoming, intent)?;
        incoming.drain(..done);
        self.incoming = incoming;
        Ok(())
    }

    fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.send_unsent(cx)? {
            Unsent::Nothing => Poll::Ready(Ok(())),
            Unsent::Less | Unsent::Same => Poll::Pending,
        }
    }

    /// Encrypts and sends; `plain` is no longer than [`SEALED_LEN_MAX`].
    fn poll_seal(&mut self, cx: &mut Context<'_>, plain: &[u8]) -> Poll<io::Result<usize>> {
        self.intend(Intent::Send(plain))?;
        self.send_unsent(cx)?;
        Poll::Ready(Ok(plain.len()))
    }
}

/// Takes over what has been decrypted. Answers how much more of the incoming bytes that was.
fn take_plain<Data>(mut traffic: ReadTraffic<'_, '_, Data>, plain: &mut Bytes) -> io::Result<usize> {
    let mut done = 0;
    let mut bytes = Vec::from(std::mem::take(plain));
    while let Some(record) = traffic.next_record() {
        let record = record.map_err(invalid)?;
        done += record.discard;
        bytes.extend_from_slice(record.payload);
    }
    *plain = bytes.into();
    Ok(done)
}

fn invalid(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Why rustls did not write into the room it was given.
enum Unfit {
    /// It needs so many bytes.
    Room(usize),
    Never(io::Error),
}

impl From<EncodeError> for Unfit {
    fn from(error: EncodeError) -> Self {
        match error {
            EncodeError::InsufficientSize(size) => Self::Room(size.required_size),
            error => Self::Never(io::Error::other(error)),
        }
    }
}

impl From<EncryptError> for Unfit {
    fn from(error: EncryptError) -> Self {
        match error {
            EncryptError::InsufficientSize(size) => Self::Room(size.required_size),
            error => Self::Never(io::Error::other(error)),
        }
    }
}

/// Appends what `write` writes, which is first asked how much that is.
fn append(
    outgoing: &mut Vec<u8>,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, Unfit>,
) -> io::Result<()> {
    let start = outgoing.len();
    let mut room = 0;
    loop {
        outgoing.resize(start + room, 0);
        match write(&mut outgoing[start..]) {
            Ok(written) => {
                outgoing.truncate(start + written);
                return Ok(());
            }
            Err(Unfit::Room(needed)) if needed > room => room = needed,
            Err(Unfit::Room(_)) => return Err(io::ErrorKind::OutOfMemory.into()),
            Err(Unfit::Never(error)) => return Err(error),
        }
    }
}

impl Socket for TlsSocket {
    fn reset_on_close(&self) {
        self.tcp.reset_on_close();
    }

    fn send_unsent(&mut self, cx: &mut Context<'_>) -> io::Result<Unsent> {
        let mut sent = 0;
        while sent < self.outgoing.len() {
            match Pin::new(&mut self.tcp).poll_write(cx, &self.outgoing[sent..]) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(n)) => sent += n,
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending if sent == 0 => return Ok(Unsent::Same),
                Poll::Pending => {
                    // Exactly as long as what is left: this may be a reader that has stopped.
                    self.outgoing = self.outgoing[sent..].to_vec();
                    return Ok(Unsent::Less);
                }
            }
        }
        self.outgoing = Vec::new();
        Ok(Unsent::Nothing)
    }
}

impl AsyncRead for TlsSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.plain.is_empty() && self.stage != Stage::Closed {
            ready!(self.poll_receive(cx))?;
        }
        let n = self.plain.len().min(buf.remaining());
        buf.put_slice(&self.plain[..n]);
        self.plain.advance(n);
        if self.plain.is_empty() {
            self.plain = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for TlsSocket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_sent(cx))?;
        self.poll_seal(cx, &bytes[..bytes.len().min(SEALED_LEN_MAX)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_sent(cx))?;
        let len: usize = slices.iter().map(|slice| slice.len()).sum();
        // Together they are one record.
        let mut plain = Vec::with_capacity(len.min(SEALED_LEN_MAX));
        for slice in slices {
            let left = SEALED_LEN_MAX - plain.len();
            plain.extend_from_slice(&slice[..slice.len().min(left)]);
        }
        self.poll_seal(cx, &plain)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_sent(cx)
    }

    /// Says goodbye (`close_notify`), which tells a whole stream from one that was cut.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_sent(cx))?;
        self.intend(Intent::Close)?;
        ready!(self.poll_sent(cx))?;
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
