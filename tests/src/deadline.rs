//! Waiting for a condition, never for a time.

use std::{
    fmt::Display,
    future::Future,
    time::{Duration, Instant},
};

/// How long anything may take before a test calls it broken. Far above what a busy machine needs.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// How long to wait between two looks at a condition.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Looks at `probe` until it answers `Ok`.
///
/// # Panics
/// After `deadline`, with the last error of the probe.
pub async fn eventually<T, E, F>(what: impl Display, deadline: Duration, mut probe: impl FnMut() -> F) -> T
where
    E: Display,
    F: Future<Output = Result<T, E>>,
{
    let start = Instant::now();
    loop {
        match probe().await {
            Ok(found) => return found,
            Err(error) if start.elapsed() > deadline => panic!("{what}: not after {deadline:?}: {error}"),
            Err(_) => tokio::time::sleep(POLL_INTERVAL).await,
        }
    }
}

/// The same as [`eventually`] for those who go on when it fails.
///
/// # Errors
/// After `deadline`, with the last error of the probe.
pub async fn try_eventually<T>(
    deadline: Duration,
    mut probe: impl FnMut() -> Result<T, String>,
) -> Result<T, String> {
    let start = Instant::now();
    loop {
        match probe() {
            Ok(found) => return Ok(found),
            Err(error) if start.elapsed() > deadline => {
                return Err(format!("not after {deadline:?}: {error}"));
            }
            // Slower than in tests: a look here asks several processes.
            Err(_) => tokio::time::sleep(10 * POLL_INTERVAL).await,
        }
    }
}

/// The same as [`eventually`] where nothing can be awaited: in `Drop`.
pub fn eventually_blocking<T>(
    deadline: Duration,
    mut probe: impl FnMut() -> Result<T, String>,
) -> Result<T, String> {
    let start = Instant::now();
    loop {
        match probe() {
            Ok(found) => return Ok(found),
            Err(error) if start.elapsed() > deadline => {
                return Err(format!("not after {deadline:?}: {error}"));
            }
            Err(_) => std::thread::sleep(POLL_INTERVAL),
        }
    }
}

/// Waits for a future, but not longer than [`PATIENCE`].
///
/// # Panics
/// When the time is up.
pub async fn within<T>(what: impl Display, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(done) => done,
        Err(_) => panic!("{what}: not within {PATIENCE:?}"),
    }
}
