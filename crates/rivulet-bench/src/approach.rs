//! What stands between a connection and HTTP: nothing, a PROXY header, TLS, or both; and what the hub needs for it.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddrV4},
    path::PathBuf,
    sync::Arc,
};

use anyhow::Context;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore,
    pki_types::{CertificateDer, ServerName},
};
use tempfile::TempDir;

/// What the first bytes of a PROXY header (version 2) are.
const PROXY_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, command PROXY; then TCP over IPv4, and the length of two addresses with their ports.
const PROXY_TCP4: &[u8] = &[0x21, 0x11, 0, 12];

/// How clients get to speak HTTP.
#[derive(Clone, Default)]
pub(crate) struct Approach {
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    ahead: Vec<u8>,
}

impl Approach {
    /// With a PROXY header that names this client.
    pub(crate) fn by_proxy(client: SocketAddrV4, hub: SocketAddrV4) -> Self {
        Self { tls: None, ahead: proxy_header(client, hub) }
    }

    /// The bytes that go ahead of everything else.
    pub(crate) fn ahead(&self) -> Vec<u8> {
        self.ahead.clone()
    }

    /// A TLS connection that has not begun, if there is to be one.
    pub(crate) fn tls_connection(&self) -> anyhow::Result<Option<Box<ClientConnection>>> {
        let Some((config, name)) = &self.tls else { return Ok(None) };
        let connection = ClientConnection::new(config.clone(), name.clone()).context("beginning TLS")?;
        Ok(Some(Box::new(connection)))
    }
}

/// The PROXY header (version 2) of a TCP connection.
pub(crate) fn proxy_header(client: SocketAddrV4, hub: SocketAddrV4) -> Vec<u8> {
    let mut header = [PROXY_SIGNATURE, PROXY_TCP4].concat();
    header.extend(client.ip().octets());
    header.extend(hub.ip().octets());
    header.extend(client.port().to_be_bytes());
    header.extend(hub.port().to_be_bytes());
    header
}

/// A certificate of the bench's own for loopback and its key, in files for the hub.
pub(crate) struct Certificate {
    der: CertificateDer<'static>,
    // The directory goes with the value.
    dir: TempDir,
}

impl Certificate {
    /// Makes one that also names the address at which the hub listens.
    pub(crate) fn make(hub: Ipv4Addr) -> anyhow::Result<Self> {
        let names = [Ipv4Addr::LOCALHOST.to_string(), hub.to_string()];
        let made = rcgen::generate_simple_self_signed(names).context("making a certificate")?;
        let dir = tempfile::tempdir().context("creating a directory")?;
        std::fs::write(dir.path().join("cert.pem"), made.cert.pem()).context("writing a certificate")?;
        std::fs::write(dir.path().join("key.pem"), made.signing_key.serialize_pem())
            .context("writing a key")?;
        Ok(Self { der: made.cert.der().clone(), dir })
    }

    /// The files of the certificate and of its key.
    pub(crate) fn files(&self) -> [PathBuf; 2] {
        ["cert.pem", "key.pem"].map(|name| self.dir.path().join(name))
    }

    /// How clients that trust it approach the hub at this address.
    pub(crate) fn approach(&self, hub: Ipv4Addr) -> anyhow::Result<Approach> {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).context("trusting the certificate")?;
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let name = ServerName::IpAddress(IpAddr::V4(hub).into());
        Ok(Approach { tls: Some((Arc::new(config), name)), ahead: Vec::new() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_header_has_the_shape_of_version_2() {
        let client = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 7), 258);
        let header = proxy_header(client, SocketAddrV4::new(Ipv4Addr::LOCALHOST, 3000));
        assert_eq!(&header[..12], PROXY_SIGNATURE);
        assert_eq!(&header[12..], [0x21, 0x11, 0, 12, 192, 0, 2, 7, 127, 0, 0, 1, 1, 2, 0x0b, 0xb8]);
    }

    #[test]
    fn a_certificate_stands_in_files() {
        let certificate = Certificate::make(Ipv4Addr::new(192, 0, 2, 1)).unwrap();
        let [cert, key] = certificate.files().map(|path| std::fs::read_to_string(path).unwrap());
        assert!(cert.contains("BEGIN CERTIFICATE") && key.contains("PRIVATE KEY"));
        let approach = certificate.approach(Ipv4Addr::LOCALHOST).unwrap();
        assert!(approach.tls_connection().unwrap().is_some());
    }
}
