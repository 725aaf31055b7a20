//! The signals that ask the process to stop, and the one that asks it to read its certificates again.

use std::sync::Arc;

use rivulet_http::Certificates;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::JoinHandle,
};
use tracing::info;

/// SIGTERM and SIGINT from now on.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

/// A signal that asks to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    Terminate,
    Interrupt,
}

impl Signals {
    /// Begins to listen; until then the signals end the process.
    pub(crate) fn listen() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next signal.
    pub(crate) async fn next(&mut self) -> Stop {
        tokio::select! {
            _ = self.terminate.recv() => Stop::Terminate,
            _ = self.interrupt.recv() => Stop::Interrupt,
        }
    }
}

impl Stop {
    /// Its name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Terminate => "SIGTERM",
            Self::Interrupt => "SIGINT",
        }
    }

    /// What a process exits with that this signal ended: 128 and its number.
    pub(crate) const fn exit_code(self) -> u8 {
        match self {
            Self::Terminate => 128 + 15,
            Self::Interrupt => 128 + 2,
        }
    }
}

/// Reads certificates again whenever SIGHUP comes, as long as it lives. Without it, or without certificates to read, the
/// signal would end the process.
pub(crate) struct Reloader(JoinHandle<()>);

impl Reloader {
    /// Begins to listen.
    pub(crate) fn start(certificates: Vec<Arc<Certificates>>) -> std::io::Result<Self> {
        let mut hangups = signal(SignalKind::hangup())?;
        Ok(Self(tokio::spawn(async move {
            while hangups.recv().await.is_some() {
                info!(certificates = certificates.len(), "SIGHUP: certificates are read again");
                for certificates in &certificates {
                    let certificates = Arc::clone(certificates);
                    // What came of it has been logged.
                    let _ = tokio::task::spawn_blocking(move || certificates.reload()).await;
                }
            }
        })))
    }
}

impl Drop for Reloader {
    fn drop(&mut self) {
        self.0.abort();
    }
}
