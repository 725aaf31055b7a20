//! Certificates of a test's own, and clients that know them.

use std::{io, net::SocketAddr, sync::Arc};

use rivulet_http::{CertificateFiles, Certificates};
use rustls::{
    ClientConfig, RootCertStore, SupportedProtocolVersion,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName},
};
use tempfile::TempDir;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{DEADLINE, client::Raw};

/// A server's certificate that vouches for itself, in files.
pub(crate) struct Identity {
    dir: TempDir,
    pub(crate) certificate: CertificateDer<'static>,
}

impl Identity {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut identity = Self { dir, certificate: CertificateDer::from(Vec::new()) };
        identity.replace();
        identity
    }

    pub(crate) fn files(&self) -> CertificateFiles {
        CertificateFiles { chain: self.dir.path().join("tls.crt"), key: self.dir.path().join("tls.key") }
    }

    pub(crate) fn load(&self) -> Arc<Certificates> {
        Certificates::load(self.files()).unwrap()
    }

    /// Puts another certificate into the files.
    pub(crate) fn replace(&mut self) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(self.files().chain, made.cert.pem()).unwrap();
        std::fs::write(self.files().key, made.signing_key.serialize_pem()).unwrap();
        self.certificate = made.cert.der().clone();
    }

    /// A client of any version that knows the certificate of now.
    pub(crate) fn client(&self) -> TlsConnector {
        self.client_of(rustls::ALL_VERSIONS)
    }

    pub(crate) fn client_of(&self, versions: &[&'static SupportedProtocolVersion]) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        TlsConnector::from(Arc::new(config))
    }
}

/// Shakes hands over a connection that is open.
pub(crate) async fn secure(client: &TlsConnector, tcp: TcpStream) -> io::Result<Raw<TlsStream<TcpStream>>> {
    let name = ServerName::try_from("localhost").unwrap();
    let shaken = timeout(DEADLINE, client.connect(name, tcp)).await.expect("a handshake in time");
    Ok(Raw::over(shaken?))
}

pub(crate) async fn connect(
    client: &TlsConnector,
    address: SocketAddr,
) -> io::Result<Raw<TlsStream<TcpStream>>> {
    secure(client, TcpStream::connect(address).await?).await
}

/// Opens a stream over TLS.
pub(crate) async fn open(
    client: &TlsConnector,
    address: SocketAddr,
    query: &str,
) -> Raw<TlsStream<TcpStream>> {
    let mut raw = connect(client, address).await.unwrap();
    raw.send(format!("GET {}?{query} HTTP/1.1\r\nHost: localhost\r\n\r\n", super::HUB).as_bytes()).await;
    raw.until("\r\n\r\n:\n").await;
    raw
}
