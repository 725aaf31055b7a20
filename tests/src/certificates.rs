//! An authority of a test's own, with certificates for servers on this machine and for clients, made by `openssl`.

use std::{path::Path, process::Command};

use tempfile::TempDir;

/// What an authority needs, and what those have that it signs.
const CONFIGURATION: &str = "\
[req]\ndistinguished_name = name\n[name]\n\
[authority]\nbasicConstraints = critical,CA:TRUE\nkeyUsage = critical,keyCertSign\nsubjectKeyIdentifier = hash\n\
[signed]\nbasicConstraints = critical,CA:FALSE\nsubjectAltName = IP:127.0.0.1,DNS:localhost\n";

/// The authority with its files in a temporary directory: `ca.crt`, and `<name>.crt` and `<name>.key` of each that it
/// has signed.
#[derive(Debug)]
pub struct Authority {
    dir: TempDir,
}

impl Authority {
    /// Makes an authority that has signed certificates with these names.
    ///
    /// # Panics
    /// If `openssl` is missing or fails.
    pub fn of(names: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        std::fs::write(dir.path().join("openssl.cnf"), CONFIGURATION).expect("a temporary directory");
        request(dir.path(), "ca", "authority", &[]);
        for name in names {
            request(dir.path(), name, "signed", &["-CA", "ca.crt", "-CAkey", "ca.key"]);
        }
        Self { dir }
    }

    /// The path of one of its files.
    pub fn file(&self, name: &str) -> String {
        self.dir.path().join(name).to_string_lossy().into_owned()
    }
}

fn request(dir: &Path, name: &str, extensions: &str, signer: &[&str]) {
    let (key, certificate, subject) = (format!("{name}.key"), format!("{name}.crt"), format!("/CN={name}"));
    let output = Command::new("openssl")
        .args(["req", "-x509", "-config", "openssl.cnf", "-nodes", "-days", "2"])
        .args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
        .args(["-subj", &subject, "-extensions", extensions, "-keyout", &key, "-out", &certificate])
        .args(signer)
        .current_dir(dir)
        .output()
        .expect("openssl can be started");
    assert!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr));
}
