//! TLS from the client's side.

use std::{net::SocketAddr, path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::within;

/// Connects to a hub on this machine, and trusts the authority in this PEM file only.
///
/// # Errors
/// What the handshake says.
///
/// # Panics
/// If nobody listens, or the file is none.
pub async fn connect(address: SocketAddr, authority: &Path) -> std::io::Result<TlsStream<TcpStream>> {
    let socket = within("connecting", TcpStream::connect(address)).await.expect("the hub listens");
    connect_over(socket, authority, &[]).await
}

/// The same over a connection that is there already, with an offer of protocols (ALPN): `h2`, `http/1.1`.
///
/// # Errors
/// What the handshake says.
///
/// # Panics
/// If the file is none.
pub async fn connect_over(
    socket: TcpStream,
    authority: &Path,
    protocols: &[&str],
) -> std::io::Result<TlsStream<TcpStream>> {
    let name = ServerName::from(socket.peer_addr()?.ip());
    let mut config = trusting(authority);
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    within("a handshake", TlsConnector::from(Arc::new(config)).connect(name, socket)).await
}

/// The certificate that a connection was made with.
///
/// # Panics
/// If there is none.
pub fn certificate(stream: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    let certificates = stream.get_ref().1.peer_certificates();
    certificates.and_then(|chain| chain.first()).expect("a handshake with a certificate").clone().into_owned()
}

fn trusting(authority: &Path) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    let authority = CertificateDer::from_pem_file(authority).expect("a certificate in PEM");
    roots.add(authority).expect("a certificate of an authority");
    ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider speaks TLS")
        .with_root_certificates(roots)
        .with_no_client_auth()
}
