//! TLS: what the listeners negotiate.

use std::{io, path::Path, sync::Arc};

use rustls::{
    ConfigBuilder, ServerConfig, WantsVerifier,
    crypto::aws_lc_rs,
    server::{NoServerSessionStorage, WantsServerCert, WebPkiClientVerifier},
    version::{TLS12, TLS13},
};

use crate::{
    certificates::{CertificateError, Certificates, Shown},
    pem,
};

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

#[cfg(test)]
pub(crate) mod tests;
