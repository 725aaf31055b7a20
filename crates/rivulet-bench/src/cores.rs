//! Which core runs what: the server under test has one for itself, the client another.

use std::process::{Child, Command};

use anyhow::Context;
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};
use serde::Serialize;

/// The cores of a measurement. With fewer than three, Redis shares the client's, so that the server keeps its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Cores {
    pub(crate) client: usize,
    pub(crate) server: usize,
    pub(crate) redis: usize,
}

impl Cores {
    /// Divides the cores that this process may use and moves it to the client's. `None` with one core: nothing is
    /// pinned then, and figures compare only with others taken so.
    pub(crate) fn divide() -> anyhow::Result<Option<Self>> {
        let set = sched_getaffinity(Pid::from_raw(0)).context("asking for the cores of this process")?;
        let allowed: Vec<usize> = (0..CpuSet::count()).filter(|core| set.is_set(*core) == Ok(true)).collect();
        let Some(cores) = Self::among(&allowed) else { return Ok(None) };
        pin_self(cores.client)?;
        Ok(Some(cores))
    }

    fn among(allowed: &[usize]) -> Option<Self> {
        match *allowed {
            [] | [_] => None,
            [client, server] => Some(Self { client, server, redis: client }),
            [client, redis, .., server] => Some(Self { client, server, redis }),
        }
    }

    /// Starts a process on a core. It inherits the place of the thread that starts it, so no thread of it ever runs
    /// elsewhere.
    pub(crate) fn spawn_on(&self, core: usize, command: &mut Command) -> anyhow::Result<Child> {
        pin_self(core)?;
        let child = command.spawn();
        pin_self(self.client)?;
        child.with_context(|| format!("starting {}", command.get_program().to_string_lossy()))
    }
}

fn pin_self(core: usize) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    set.set(core).with_context(|| format!("core {core}"))?;
    sched_setaffinity(Pid::from_raw(0), &set).with_context(|| format!("moving to core {core}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_shares_its_core_with_nobody() {
        assert_eq!(Cores::among(&[3]), None);
        assert_eq!(Cores::among(&[0, 1]), Some(Cores { client: 0, server: 1, redis: 0 }));
        assert_eq!(Cores::among(&[0, 2, 4, 6]), Some(Cores { client: 0, server: 6, redis: 2 }));
    }
}
