//! What is taken as a certificate, what is refused, and what a listener shows afterwards.

use std::fs;

use rcgen::{CertifiedKey as Made, generate_simple_self_signed};
use tempfile::TempDir;

use super::*;

struct Files(TempDir, CertificateFiles);

impl Files {
    fn of(made: &Made<rcgen::KeyPair>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let files = CertificateFiles { chain: dir.path().join("tls.crt"), key: dir.path().join("tls.key") };
        let files = Self(dir, files);
        files.hold(made);
        files
    }

    fn hold(&self, made: &Made<rcgen::KeyPair>) {
        fs::write(&self.1.chain, made.cert.pem()).unwrap();
        fs::write(&self.1.key, made.signing_key.serialize_pem()).unwrap();
    }

    fn load(&self) -> Result<Arc<Certificates>, CertificateError> {
        Certificates::load(self.1.clone())
    }
}

fn made() -> Made<rcgen::KeyPair> {
    generate_simple_self_signed(["localhost".to_owned()]).unwrap()
}

/// What is shown to clients.
fn shown(certificates: &Certificates) -> Vec<u8> {
    certificates.current.load().cert[0].to_vec()
}

#[test]
fn a_pair_is_loaded_and_its_key_is_never_printed() {
    let made = made();
    let files = Files::of(&made);
    let certificates = files.load().unwrap();
    assert_eq!(shown(&certificates), made.cert.der().to_vec());
    let printed = format!("{certificates:?}");
    assert!(printed.contains("tls.key") && !printed.contains("PRIVATE"), "{printed}");
}

#[test]
fn a_mistake_at_the_start_names_the_file_and_the_rule() {
    let (one, other) = (made(), made());
    let key = one.signing_key.serialize_pem();
    let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let broken = one.cert.pem().replace('M', "*");
    let garbled = "-----BEGIN CERTIFICATE-----\nQUJD\n-----END CERTIFICATE-----\n";
    for (name, contents, rule) in [
        ("tls.crt", None, "cannot be read"),
        ("tls.key", None, "cannot be read"),
        ("tls.crt", Some(""), "must hold a certificate in PEM"),
        ("tls.crt", Some(key.as_str()), "must hold a certificate in PEM"),
        ("tls.crt", Some(broken.as_str()), "must be certificates in PEM"),
        ("tls.crt", Some(garbled), "the first certificate cannot be used"),
        ("tls.key", Some("no key"), "not encrypted"),
        ("tls.key", Some(encrypted.as_str()), "not encrypted"),
        ("tls.key", Some(other.signing_key.serialize_pem().as_str()), "belongs to another"),
        ("tls.crt", Some("x".repeat(1024 * 1024 + 1).as_str()), "longer than 1048576 bytes"),
    ] {
        let files = Files::of(&one);
        let path = files.0.path().join(name);
        match contents {
            Some(contents) => fs::write(&path, contents).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        let error = files.load().expect_err(rule);
        assert_eq!(error.path, path, "{rule}: {error}");
        assert!(error.to_string().contains(rule), "{rule}: {error}");
    }
}

#[test]
fn a_new_pair_replaces_the_old_one_and_a_bad_one_does_not() {
    let (old, new) = (made(), made());
    let files = Files::of(&old);
    let certificates = files.load().unwrap();
    assert_eq!(certificates.reload(), Ok(Reload::Unchanged));
    // The chain alone has come so far.
    fs::write(&files.1.chain, new.cert.pem()).unwrap();
    let error = certificates.reload().unwrap_err();
    assert_eq!(error.path, files.1.key);
    assert_eq!(certificates.reload(), Err(error), "it stays refused");
    assert_eq!(shown(&certificates), old.cert.der().to_vec());
    files.hold(&new);
    assert_eq!(certificates.reload(), Ok(Reload::Replaced));
    assert_eq!(shown(&certificates), new.cert.der().to_vec());
    assert_eq!(certificates.reload(), Ok(Reload::Unchanged));
    // Back again, and gone.
    files.hold(&old);
    assert_eq!(certificates.reload(), Ok(Reload::Replaced));
    fs::remove_file(&files.1.chain).unwrap();
    assert!(certificates.reload().unwrap_err().to_string().contains("cannot be read"));
    assert_eq!(shown(&certificates), old.cert.der().to_vec());
}

#[cfg(unix)]
#[tokio::test]
async fn a_watch_sees_a_mount_that_changes_by_its_symbolic_link() {
    let (old, new) = (made(), made());
    let (first, second) = (Files::of(&old), Files::of(&new));
    let mount = tempfile::tempdir().unwrap();
    let data = mount.path().join("..data");
    std::os::unix::fs::symlink(first.0.path(), &data).unwrap();
    let files = CertificateFiles { chain: data.join("tls.crt"), key: data.join("tls.key") };
    let certificates = Certificates::load(files).unwrap();
    let _watch = certificates.watch(Duration::from_millis(10));
    let new_link = mount.path().join("..data_tmp");
    std::os::unix::fs::symlink(second.0.path(), &new_link).unwrap();
    fs::rename(&new_link, &data).unwrap();
    let replaced = async {
        while shown(&certificates) != new.cert.der().to_vec() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), replaced).await.expect("the new certificate is shown");
}
