//! The admin listener: TLS, and whether clients need certificates.

use std::path::Path;

use super::reader::Reader;
use crate::admin::AdminTls;

const CERTIFICATE: &str = "admin-tls-cert-file";
const KEY: &str = "admin-tls-key-file";
const CLIENT_CA: &str = "admin-tls-client-ca-file";

impl Reader<'_> {
    /// `Some(None)`: no TLS. `None`: there is a mistake.
    pub(super) fn admin_tls(&mut self) -> Option<Option<AdminTls>> {
        let client_ca = self.layers.one(CLIENT_CA).map(Path::new);
        if client_ca.is_some() && !self.is_given(CERTIFICATE) && !self.is_given(KEY) {
            let text = "which are not given: without TLS clients show no certificates";
            self.mistakes.push(format!("--{CLIENT_CA} needs --{CERTIFICATE} and --{KEY}, {text}"));
            return None;
        }
        let certificates = self.certificates(CERTIFICATE, KEY);
        if let Some(Err(mistake)) = client_ca.map(rivulet_http::check_authorities) {
            self.wrong(CLIENT_CA, &mistake.path().display().to_string(), mistake.rule());
            return None;
        }
        let Some(certificates) = certificates? else { return Some(None) };
        let config = match client_ca {
            None => certificates.server_config().map_err(|error| error.to_string()),
            Some(path) => certificates.mutual_server_config(path).map_err(|error| error.to_string()),
        };
        let config = config.map_err(|error| self.mistakes.push(format!("--{CERTIFICATE}: {error}"))).ok()?;
        Some(Some(AdminTls { certificates, config }))
    }
}
