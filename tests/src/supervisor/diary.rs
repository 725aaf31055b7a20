//! What became of pods, and when.

use std::{
    fmt,
    net::SocketAddr,
    process::ExitStatus,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// What happened to a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happening {
    /// Its process was started.
    Started,
    /// Its probes say that it is ready.
    Ready,
    /// They say that it is not any more, though nobody deleted it.
    Unready,
    /// It was deleted: it is no endpoint any more, and its grace period runs.
    Deleted,
    /// `SIGTERM`.
    Asked,
    /// `SIGKILL`, at the end of the grace period.
    Killed,
    /// Its process ended after it had been deleted.
    Ended(ExitStatus),
    /// Its process ended by itself.
    Crashed(ExitStatus),
}

/// One line.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Since the diary was begun.
    pub at: Duration,
    /// Pods are counted from one.
    pub pod: usize,
    /// Where it listens.
    pub address: SocketAddr,
    /// What happened.
    pub what: Happening,
}

/// All of it, and the clock of a run. A clone writes into the same diary.
#[derive(Clone, Debug)]
pub struct Diary {
    begun: Instant,
    entries: Arc<Mutex<Vec<Entry>>>,
}

impl Default for Diary {
    fn default() -> Self {
        Self { begun: Instant::now(), entries: Arc::default() }
    }
}

impl Diary {
    /// The time since it was begun.
    pub fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Writes a line.
    pub fn note(&self, pod: usize, address: SocketAddr, what: Happening) {
        let entry = Entry { at: self.now(), pod, address, what };
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
    }

    /// Everything so far.
    pub fn entries(&self) -> Vec<Entry> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at, pod) = (self.at.as_secs_f64(), self.pod);
        write!(f, "{at:7.2} s  pod {pod} ({}): {}", self.address, self.what)
    }
}

impl fmt::Display for Happening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started => f.write_str("started"),
            Self::Ready => f.write_str("ready"),
            Self::Unready => f.write_str("not ready any more"),
            Self::Deleted => f.write_str("deleted"),
            Self::Asked => f.write_str("SIGTERM"),
            Self::Killed => f.write_str("SIGKILL"),
            Self::Ended(status) => write!(f, "ended, {status}"),
            Self::Crashed(status) => write!(f, "ended by itself, {status}"),
        }
    }
}
