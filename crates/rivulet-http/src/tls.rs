//! TLS: what the listeners negotiate, and a stream over it as a seat's socket.

use std::{
    io::{self, IoSlice, Write},
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use rivulet_node::{Socket, Unsent};
use rustls::{
    ConfigBuilder, ServerConfig, WantsVerifier,
    crypto::aws_lc_rs,
    server::{NoServerSessionStorage, WantsServerCert, WebPkiClientVerifier},
    version::{TLS12, TLS13},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::{
    certificates::{CertificateError, Certificates, Shown},
    pem,
};

/// How many bytes a connection's TLS holds at most that the kernel has not taken, before encryption. It is what a reader
/// that has stopped costs here beside its idle state; less would cut bursts into more system calls.
const UNSENT_LEN_MAX: usize = 8 * 1024;

/// The only protocol of the listeners. Streams over HTTP/2 are the business of the proxy in front.
const ALPN: &[u8] = b"http/1.1";

impl Certificates {
    /// What a listener negotiates that shows this certificate: TLS 1.2 and 1.3, HTTP/1.1. Clients that come back resume
    /// their session by tickets, which cost the node no memory and spare it the signature.
    ///
    /// # Errors
    ///
    /// If the system has no randomness for the tickets' key.
    pub fn server_config(self: &Arc<Self>) -> io::Result<ServerConfig> {
        let mut config = self.finish(versions().with_no_client_auth());
        config.ticketer = aws_lc_rs::Ticketer::new().map_err(io::Error::other)?;
        Ok(config)
    }

    /// The same, but only for clients whose certificate leads to an authority in the PEM file `client_ca`, which is read
    /// once. Sessions are not resumed: every connection shows its certificate.
    ///
    /// # Errors
    ///
    /// Names the file and the rule that it breaks.
    pub fn mutual_server_config(
        self: &Arc<Self>,
        client_ca: &Path,
    ) -> Result<ServerConfig, CertificateError> {
        let roots = Arc::new(pem::authorities(client_ca)?);
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider)
            .build()
            .map_err(|error| CertificateError::new(client_ca, error.to_string()))?;
        Ok(self.finish(versions().with_client_cert_verifier(verifier)))
    }

    fn finish(self: &Arc<Self>, builder: ConfigBuilder<ServerConfig, WantsServerCert>) -> ServerConfig {
        let mut config = builder.with_cert_resolver(Arc::new(Shown(Arc::clone(self))));
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config
    }
}

/// Both versions that are safe to speak.
fn versions() -> ConfigBuilder<ServerConfig, WantsVerifier> {
    ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .expect("the provider has cipher suites for both versions")
}

/// TLS over TCP.
pub(crate) struct TlsSocket(TlsStream<TcpStream>);

impl TlsSocket {
    /// Greets a client.
    pub(crate) async fn accept(acceptor: &TlsAcceptor, tcp: TcpStream) -> io::Result<Self> {
        let mut stream = acceptor.accept(tcp).await?;
        stream.get_mut().1.set_buffer_limit(Some(UNSENT_LEN_MAX));
        Ok(Self(stream))
    }
}

impl Socket for TlsSocket {
    fn reset_on_close(&self) {
        self.0.get_ref().0.reset_on_close();
    }

    fn send_unsent(&mut self, cx: &mut Context<'_>) -> io::Result<Unsent> {
        let (tcp, session) = self.0.get_mut();
        let mut unsent = Unsent::Same;
        while session.wants_write() {
            match session.write_tls(&mut Kernel { tcp, cx }) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => unsent = Unsent::Less,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(unsent),
                Err(error) => return Err(error),
            }
        }
        Ok(Unsent::Nothing)
    }
}

/// Where rustls writes what it has encrypted; asks to be woken when the kernel is full.
struct Kernel<'a, 'b> {
    tcp: &'a mut TcpStream,
    cx: &'a mut Context<'b>,
}

impl Kernel<'_, '_> {
    fn now<T>(polled: Poll<io::Result<T>>) -> io::Result<T> {
        match polled {
            Poll::Ready(result) => result,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl Write for Kernel<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Self::now(Pin::new(&mut *self.tcp).poll_write(self.cx, bytes))
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        Self::now(Pin::new(&mut *self.tcp).poll_write_vectored(self.cx, slices))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsyncRead for TlsSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for TlsSocket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
