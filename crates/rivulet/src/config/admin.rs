//! The admin listener: TLS, and whether clients need certificates.

use rustls::ServerConfig;

use super::reader::Reader;
use crate::admin::tls;

const CERTIFICATE: &str = "admin-tls-cert-file";
const KEY: &str = "admin-tls-key-file";
const CLIENT_CA: &str = "admin-tls-client-ca-file";

impl Reader<'_> {
    /// `Some(None)`: no TLS. `None`: there is a mistake.
    pub(super) fn admin_tls(&mut self) -> Option<Option<ServerConfig>> {
        let mistakes_before = self.mistakes.len();
        let [certificate_is_given, key_is_given, ca_is_given] =
            [CERTIFICATE, KEY, CLIENT_CA].map(|name| self.is_given(name));
        if certificate_is_given != key_is_given {
            let [given, missing] = if key_is_given { [KEY, CERTIFICATE] } else { [CERTIFICATE, KEY] };
            self.mistakes.push(format!("--{given} needs --{missing}, which is not given"));
        }
        if ca_is_given && !certificate_is_given && !key_is_given {
            let text = "which are not given: without TLS clients show no certificates";
            self.mistakes.push(format!("--{CLIENT_CA} needs --{CERTIFICATE} and --{KEY}, {text}"));
        }
        let chain = self.pem_file(CERTIFICATE, tls::certificates);
        let key = self.pem_file(KEY, tls::private_key);
        let clients = self.pem_file(CLIENT_CA, tls::client_verifier);
        if self.mistakes.len() > mistakes_before {
            return None;
        }
        let (Some(chain), Some(key)) = (chain, key) else { return Some(None) };
        match tls::server_config(chain, key, clients) {
            Ok(config) => Some(Some(config)),
            Err(rule) => {
                let path = self.layers.one(KEY).unwrap_or_default().to_owned();
                self.wrong(KEY, &path, &rule);
                None
            }
        }
    }

    /// What stands in the file that a setting names.
    fn pem_file<T>(&mut self, name: &str, parse: impl FnOnce(&[u8]) -> Result<T, String>) -> Option<T> {
        self.value(name, |path| {
            let text = std::fs::read(path).map_err(|error| format!("cannot be read: {error}"))?;
            parse(&text)
        })
    }
}
