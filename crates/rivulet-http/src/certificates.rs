//! The certificate that a TLS listener shows, read from files and read again when they change.
//!
//! Streams live on when it is replaced: a certificate is looked at during the handshake only.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::{
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio::{task::JoinHandle, time::MissedTickBehavior};

use crate::pem;

/// How often the files of the listener's certificate are looked at. Reading two small files costs next to nothing, and
/// who replaces a certificate by hand looks whether it worked.
pub(crate) const POLL_EVERY: Duration = Duration::from_secs(5);

/// Where a certificate is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// PEM: the server's own certificate first, then those that lead to the authority that clients know.
    pub chain: PathBuf,
    /// PEM: the private key of the first certificate, not encrypted (PKCS #8, PKCS #1 or SEC 1).
    pub key: PathBuf,
}

impl CertificateFiles {
    /// Everything that is wrong with them; if nothing is, [`Certificates::load`] succeeds.
    pub fn mistakes(&self) -> Vec<CertificateError> {
        pem::Pair::mistakes(self)
    }
}

/// Checks a PEM file with the authorities of clients, for [`Certificates::mutual_server_config`].
///
/// # Errors
///
/// The rule that the file breaks.
pub fn check_authorities(path: &Path) -> Result<(), CertificateError> {
    pem::authorities(path).map(|_| ())
}

/// Why a certificate cannot be used: the file, and the rule that it breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {rule}", path.display())]
pub struct CertificateError {
    pub(crate) path: PathBuf,
    pub(crate) rule: String,
}

impl CertificateError {
    pub(crate) fn new(path: &Path, rule: impl Into<String>) -> Self {
        Self { path: path.to_owned(), rule: rule.into() }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The rule that it breaks.
    pub fn rule(&self) -> &str {
        &self.rule
    }
}

/// What [`Certificates::reload`] has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// The files hold what they held before.
    Unchanged,
    /// From now on the new certificate is shown.
    Replaced,
}

/// A certificate with its key, shared by all listeners that show it. See the module's documentation.
pub struct Certificates {
    files: CertificateFiles,
    current: ArcSwap<CertifiedKey>,
    seen: Mutex<Seen>,
}

/// What the files held when they were read last.
struct Seen {
    hasher: RandomState,
    /// Of what is in use.
    contents: u64,
    /// Why what they held was refused, if it was: it is told once, not at each look.
    refusal: Option<CertificateError>,
}

impl Certificates {
    /// Reads a certificate and its key.
    ///
    /// # Errors
    ///
    /// Names the file and the rule that it breaks.
    pub fn load(files: CertificateFiles) -> Result<Arc<Self>, CertificateError> {
        let pair = pem::Pair::read(&files)?;
        let hasher = RandomState::new();
        let seen = Seen { contents: hasher.hash_one(&pair), hasher, refusal: None };
        let current = ArcSwap::from_pointee(pair.certified(&files)?);
        Ok(Arc::new(Self { files, current, seen: Mutex::new(seen) }))
    }

    /// Reads the files again and replaces the certificate if they have changed; blocks while it reads. A pair that
    /// cannot be used is refused, which is logged once, and the old one goes on being shown.
    ///
    /// # Errors
    ///
    /// Names the file and the rule that it breaks.
    pub fn reload(&self) -> Result<Reload, CertificateError> {
        let mut seen = self.seen.lock();
        let reloaded = self.replace(&mut seen);
        match &reloaded {
            Ok(Reload::Replaced) => {
                tracing::info!(file = %self.files.chain.display(), "The certificate has been replaced");
            }
            Err(error) if seen.refusal.as_ref() != Some(error) => tracing::warn!(
                file = %error.path.display(),
                reason = error.rule,
                "The new certificate is refused, and the one before it is still shown"
            ),
            _ => {}
        }
        seen.refusal = reloaded.as_ref().err().cloned();
        reloaded
    }

    fn replace(&self, seen: &mut Seen) -> Result<Reload, CertificateError> {
        let pair = pem::Pair::read(&self.files)?;
        let contents = seen.hasher.hash_one(&pair);
        if contents == seen.contents {
            return Ok(Reload::Unchanged);
        }
        self.current.store(Arc::new(pair.certified(&self.files)?));
        seen.contents = contents;
        Ok(Reload::Replaced)
    }

    /// Looks at the files every so often until the watch is dropped. What is compared is their contents: secrets that
    /// are mounted into containers change by a symbolic link, which no file's own time tells. Must be called in a tokio
    /// runtime.
    pub fn watch(self: &Arc<Self>, every: Duration) -> CertificateWatch {
        let certificates = Arc::clone(self);
        CertificateWatch(tokio::spawn(async move {
            let mut clock = tokio::time::interval(every);
            clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                clock.tick().await;
                let certificates = Arc::clone(&certificates);
                // What came of it has been logged.
                let _ = tokio::task::spawn_blocking(move || certificates.reload()).await;
            }
        }))
    }
}

/// The key is not shown, nor what hashes of it there are.
impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Certificates").field(&self.files).finish()
    }
}

/// What a TLS configuration asks for the certificate to show.
#[derive(Debug)]
pub(crate) struct Shown(pub(crate) Arc<Certificates>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.current.load_full())
    }
}

/// Looks at a certificate's files as long as it lives.
#[derive(Debug)]
pub struct CertificateWatch(JoinHandle<()>);

impl Drop for CertificateWatch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests;
