//! A process that the bench starts, watches and ends.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, bail};
use nix::{
    time::{clock_getcpuclockid, clock_gettime},
    unistd::Pid,
};

use crate::cores::Cores;

/// How much of a failed process's log is shown.
const LOG_SHOWN_LEN: u64 = 2_000;

/// A child process; dropping it ends it. What it writes goes to an unnamed temporary file.
pub(crate) struct Process {
    name: &'static str,
    child: Child,
    log: File,
}

impl Process {
    /// Starts `command` on the core that `choose` picks, or anywhere if nothing is pinned.
    pub(crate) fn start(
        name: &'static str,
        mut command: Command,
        cores: Option<&Cores>,
        choose: impl Fn(&Cores) -> usize,
    ) -> anyhow::Result<Self> {
        let log = tempfile::tempfile().context("creating a log file")?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log.try_clone()?);
        let child = match cores {
            Some(cores) => cores.spawn_on(choose(cores), &mut command)?,
            None => command.spawn().with_context(|| format!("starting {name}"))?,
        };
        Ok(Self { name, child, log })
    }

    /// User and system time of the whole process so far, ended threads included, to the nanosecond: `/proc/PID/stat`
    /// counts in hundredths of a second.
    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        cpu_of(self.pid()?).with_context(|| format!("reading the CPU clock of {}", self.name))
    }

    /// Resident memory in bytes, from `smaps_rollup`, which walks the page tables: the counters in `statm` and `status`
    /// lag behind by a batch per core.
    pub(crate) fn resident(&self) -> anyhow::Result<u64> {
        let path = format!("/proc/{}/smaps_rollup", self.child.id());
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("reading {path} of {}", self.name))?;
        parse_kib(&text, "Rss:").with_context(|| format!("{path} has no line \"Rss:\""))
    }

    /// The most memory that was resident since the last [`Process::forget_peak`], in bytes.
    pub(crate) fn peak(&self) -> anyhow::Result<u64> {
        let path = format!("/proc/{}/status", self.child.id());
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("reading {path} of {}", self.name))?;
        parse_kib(&text, "VmHWM:").with_context(|| format!("{path} has no line \"VmHWM:\""))
    }

    /// How many threads it has.
    pub(crate) fn threads(&self) -> anyhow::Result<u64> {
        let path = format!("/proc/{}/status", self.child.id());
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("reading {path} of {}", self.name))?;
        let line = text.lines().find_map(|line| line.strip_prefix("Threads:"));
        line.and_then(|count| count.trim().parse().ok())
            .with_context(|| format!("{path} has no line \"Threads:\""))
    }

    /// Lets the peak begin anew at what is resident now.
    pub(crate) fn forget_peak(&self) -> anyhow::Result<()> {
        let path = format!("/proc/{}/clear_refs", self.child.id());
        std::fs::write(&path, "5").with_context(|| format!("writing {path} of {}", self.name))
    }

    /// Ends it at once and waits until it is gone.
    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill().with_context(|| format!("killing {}", self.name))?;
        self.child.wait().with_context(|| format!("waiting for the end of {}", self.name))?;
        Ok(())
    }

    /// Says why it is gone, if it is.
    pub(crate) fn check_alive(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait().with_context(|| format!("asking for the state of {}", self.name))? {
            None => Ok(()),
            Some(status) => {
                let (name, last_words) = (self.name, self.last_words());
                bail!("{name} has ended ({status}); its last words:\n{last_words}")
            }
        }
    }

    /// The end of what it wrote.
    pub(crate) fn last_words(&mut self) -> String {
        let text = self.read_log_end().map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        text.unwrap_or_else(|error| format!("(its log cannot be read: {error})"))
    }

    fn read_log_end(&mut self) -> io::Result<Vec<u8>> {
        let len = self.log.seek(SeekFrom::End(0))?;
        self.log.seek(SeekFrom::Start(len.saturating_sub(LOG_SHOWN_LEN)))?;
        let mut bytes = Vec::new();
        (&self.log).take(LOG_SHOWN_LEN).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn pid(&self) -> anyhow::Result<Pid> {
        Ok(Pid::from_raw(i32::try_from(self.child.id()).context("a process id that is no i32")?))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It holds nothing that outlives the measurement, so nothing is lost by ending it at once. Both calls fail
        // only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The CPU time of this process: the client's.
pub(crate) fn own_cpu() -> anyhow::Result<Duration> {
    cpu_of(Pid::this()).context("reading the client's CPU clock")
}

fn cpu_of(pid: Pid) -> nix::Result<Duration> {
    Ok(Duration::from(clock_gettime(clock_getcpuclockid(pid)?)?))
}

/// The value of a line of `smaps_rollup` or `status`, in bytes.
fn parse_kib(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_read_from_the_rollup() {
        let text = "55cf-7fff ---p 00000000 00:00 0   [rollup]\nRss:                1784 kB\nPss:   388 kB\n";
        assert_eq!(parse_kib(text, "Rss:"), Some(1784 * 1024));
        assert_eq!(parse_kib("Pss: 1 kB\n", "Rss:"), None);
    }

    #[test]
    fn a_process_that_ends_is_reported_with_its_last_words() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo the reason; exit 3"]);
        let mut process = Process::start("sh", command, None, |cores| cores.server).unwrap();
        process.child.wait().unwrap();
        let error = process.check_alive().expect_err("it has ended").to_string();
        assert!(error.contains("the reason") && error.contains('3'), "{error}");
    }

    #[test]
    fn the_cpu_clock_of_a_process_advances_with_its_work() {
        let before = own_cpu().unwrap();
        while own_cpu().unwrap() == before {}
        assert!(own_cpu().unwrap() > before);
    }
}
