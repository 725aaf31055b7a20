//! TLS on the admin listener, with or without certificates of clients: what PEM files must hold for it.

use std::sync::Arc;

use rustls::{
    RootCertStore, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject as _},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};

/// Certificates: the listener's own with those that lead from it to an authority, or authorities.
pub(crate) fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    let chain = chain.map_err(|error| format!("is not PEM: {error}"))?;
    if chain.is_empty() { Err("holds no CERTIFICATE in PEM form".to_owned()) } else { Ok(chain) }
}

/// The key of the first certificate.
pub(crate) fn private_key(text: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(text).map_err(|error| match error {
        pem::Error::NoItemsFound => "holds no PRIVATE KEY in PEM form".to_owned(),
        error => format!("is not PEM: {error}"),
    })
}

/// What turns away clients without a certificate of one of these authorities.
pub(crate) fn client_verifier(text: &[u8]) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let mut authorities = RootCertStore::empty();
    for certificate in certificates(text)? {
        authorities.add(certificate).map_err(|error| format!("cannot be used: {error}"))?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), provider()).build();
    verifier.map(|verifier| verifier as _).map_err(|error| format!("cannot be used: {error}"))
}

/// The configuration of a listener.
///
/// # Errors
///
/// What is wrong with the key: that it is another certificate's, as a rule.
pub(crate) fn server_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    clients: Option<Arc<dyn ClientCertVerifier>>,
) -> Result<ServerConfig, String> {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("the provider has what both versions need");
    let builder = match clients {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    builder.with_single_cert(chain, key).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => "is not the key of the certificate".to_owned(),
        error => format!("cannot be used with the certificate: {error}"),
    })
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}
