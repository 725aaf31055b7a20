//! Who is let in where clients have to show a certificate, and what is negotiated.

use rcgen::{CertificateParams, Issuer, KeyPair, KeyUsagePurpose};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName},
};
use tempfile::TempDir;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;
use crate::certificates::CertificateFiles;

/// An authority that has signed a server and a client, with the files of a listener.
pub(crate) struct Authority {
    dir: TempDir,
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("ca.crt"), certificate.pem()).unwrap();
        let authority =
            Self { dir, certificate: certificate.der().clone(), issuer: Issuer::new(params, key) };
        let (chain, key) = authority.sign("localhost");
        std::fs::write(authority.file("tls.crt"), chain.pem()).unwrap();
        std::fs::write(authority.file("tls.key"), key.serialize_pem()).unwrap();
        authority
    }

    fn sign(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn certificates(&self) -> Arc<Certificates> {
        Certificates::load(CertificateFiles { chain: self.file("tls.crt"), key: self.file("tls.key") })
            .unwrap()
    }

    /// A client that knows this authority and shows what `signer` has signed.
    pub(crate) fn client(&self, signer: Option<&Self>, protocol: &[u8]) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&TLS13, &TLS12])
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match signer {
            Some(signer) => {
                let (chain, key) = signer.sign("a client");
                let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
                builder.with_client_auth_cert(vec![chain.der().clone()], key).unwrap()
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![protocol.to_vec()];
        config
    }
}

/// The protocol that both agree on, as the server sees it.
async fn negotiate(server: ServerConfig, client: ClientConfig) -> io::Result<Option<Vec<u8>>> {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let acceptor = TlsAcceptor::from(Arc::new(server));
    let connector = TlsConnector::from(Arc::new(client));
    let name = ServerName::try_from("localhost").unwrap();
    let (accepted, _connected) = tokio::join!(acceptor.accept(ours), connector.connect(name, theirs));
    Ok(accepted?.get_ref().1.alpn_protocol().map(<[u8]>::to_vec))
}

#[tokio::test]
async fn where_clients_must_show_a_certificate_only_those_of_the_authority_are_let_in() {
    let (ours, strange) = (Authority::new(), Authority::new());
    let server = || ours.certificates().mutual_server_config(&ours.file("ca.crt")).unwrap();
    assert!(negotiate(server(), ours.client(Some(&ours), ALPN)).await.is_ok());
    assert!(negotiate(server(), ours.client(Some(&strange), ALPN)).await.is_err());
    assert!(negotiate(server(), ours.client(None, ALPN)).await.is_err());
}

#[test]
fn an_authority_that_cannot_be_read_is_a_mistake_that_names_the_file() {
    let ours = Authority::new();
    for (name, rule) in [("none.crt", "cannot be read"), ("tls.key", "must hold a certificate in PEM")] {
        let error = ours.certificates().mutual_server_config(&ours.file(name)).unwrap_err();
        assert!(error.to_string().contains(rule) && error.to_string().contains(name), "{error}");
    }
}

#[tokio::test]
async fn http_1_1_is_all_that_is_negotiated() {
    let ours = Authority::new();
    let server = || ours.certificates().server_config().unwrap();
    assert_eq!(negotiate(server(), ours.client(None, ALPN)).await.unwrap().as_deref(), Some(ALPN));
    assert!(negotiate(server(), ours.client(None, b"h2")).await.is_err());
}
