//! The limit of open files: raised as far as it goes, and checked before anything starts.

use anyhow::{Context, bail};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Files that the bench or a server has open beside its connections: listeners, epoll, logs, publishers, Redis.
const RESERVE: u64 = 400;

/// Raises the soft limit of this process, which the servers inherit, to the hard limit.
///
/// # Errors
///
/// The limit leaves no room for `connections` connections; the message says how many there is room for.
pub(crate) fn raise(connections: u32) -> anyhow::Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("asking for the limit of open files")?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).context("raising the limit of open files")?;
    }
    check(connections, hard)
}

fn check(connections: u32, limit: u64) -> anyhow::Result<()> {
    let room = limit.saturating_sub(RESERVE);
    if u64::from(connections) > room {
        bail!(
            "{connections} connections need {} open files in the client and in the server, the limit is {limit} per \
             process (ulimit -Hn): at most {room} connections fit here",
            u64::from(connections) + RESERVE
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_above_the_limit_are_refused_with_the_number_that_fits() {
        assert!(check(19_600, 20_000).is_ok());
        let error = check(25_000, 20_000).expect_err("25,000 do not fit").to_string();
        assert!(error.contains("at most 19600 connections"), "{error}");
    }
}
