//! PEM files: reading certificates and private keys, and saying what is wrong with them.

use std::{fs::File, io::Read, path::Path};

use rustls::{
    InconsistentKeys, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};

use crate::certificates::{CertificateError, CertificateFiles};

/// The longest file. A chain with its key has some kilobytes, a bundle of all public authorities less than 300.
const FILE_LEN_MAX: u64 = 1024 * 1024;

/// What the two files hold.
#[derive(Hash)]
pub(crate) struct Pair {
    chain: Vec<u8>,
    key: Vec<u8>,
}

impl Pair {
    pub(crate) fn read(files: &CertificateFiles) -> Result<Self, CertificateError> {
        Ok(Self { chain: read(&files.chain)?, key: read(&files.key)? })
    }

    /// Everything that is wrong with the files: what each should hold, and whether they belong together.
    pub(crate) fn mistakes(files: &CertificateFiles) -> Vec<CertificateError> {
        let chain = read(&files.chain).and_then(|bytes| certificates(&files.chain, &bytes).map(|_| bytes));
        let key = read(&files.key).and_then(|bytes| private_key(&files.key, &bytes).map(|_| bytes));
        match (chain, key) {
            (Ok(chain), Ok(key)) => Self { chain, key }.certified(files).err().into_iter().collect(),
            (chain, key) => [chain.err(), key.err()].into_iter().flatten().collect(),
        }
    }

    /// The certificate, ready to be shown.
    pub(crate) fn certified(&self, files: &CertificateFiles) -> Result<CertifiedKey, CertificateError> {
        let chain = certificates(&files.chain, &self.chain)?;
        let key = private_key(&files.key, &self.key)?;
        CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).map_err(|error| match error {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                let rule = format!(
                    "must be the key of the first certificate in {}, but belongs to another",
                    files.chain.display()
                );
                CertificateError::new(&files.key, rule)
            }
            rustls::Error::InvalidCertificate(error) => {
                CertificateError::new(&files.chain, format!("the first certificate cannot be used: {error}"))
            }
            error => CertificateError::new(&files.key, format!("the private key cannot be used: {error}")),
        })
    }
}

/// The authorities in a file.
pub(crate) fn authorities(path: &Path) -> Result<RootCertStore, CertificateError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path, &read(path)?)? {
        roots.add(certificate).map_err(|error| {
            CertificateError::new(path, format!("a certificate cannot be used as an authority: {error}"))
        })?;
    }
    Ok(roots)
}

fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(FILE_LEN_MAX + 1).read_to_end(&mut bytes));
    read.map_err(|error| CertificateError::new(path, format!("cannot be read: {error}")))?;
    if bytes.len() as u64 > FILE_LEN_MAX {
        return Err(CertificateError::new(path, format!("must not be longer than {FILE_LEN_MAX} bytes")));
    }
    Ok(bytes)
}

fn certificates(path: &Path, bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    let found = parsed
        .map_err(|error| CertificateError::new(path, format!("must be certificates in PEM: {error}")))?;
    if found.is_empty() {
        let rule = "must hold a certificate in PEM (BEGIN CERTIFICATE), and holds none";
        return Err(CertificateError::new(path, rule));
    }
    Ok(found)
}

fn private_key(path: &Path, bytes: &[u8]) -> Result<PrivateKeyDer<'static>, CertificateError> {
    PrivateKeyDer::from_pem_slice(bytes).map_err(|error| {
        let rule = match error {
            rustls::pki_types::pem::Error::NoItemsFound => {
                "must hold a private key in PEM that is not encrypted (BEGIN PRIVATE KEY), and holds none"
                    .into()
            }
            error => format!("must be a private key in PEM: {error}"),
        };
        CertificateError::new(path, rule)
    })
}
