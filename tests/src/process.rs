//! A child process whose end is watched.

use std::{
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use crate::deadline::eventually_blocking;

/// A running program; killed when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
}

impl Process {
    /// Starts a command with both outputs going to a file.
    ///
    /// # Panics
    /// When the program cannot be started: a missing program is a failed test, not a skipped one.
    pub fn start(command: &mut Command, log: &Path) -> Self {
        let name = command.get_program().to_string_lossy().into_owned();
        let out = std::fs::File::create(log).expect("a log file in a temporary directory");
        let err = out.try_clone().expect("one more handle");
        let child = command.stdin(Stdio::null()).stdout(out).stderr(err).spawn();
        let child = child.unwrap_or_else(|error| panic!("{name} cannot be started: {error}"));
        Self { name, child }
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it did.
    pub fn status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be asked")
    }

    /// Sends a signal, by name: `TERM`, `KILL`, `STOP`, `CONT`.
    pub fn signal(&self, name: &str) {
        let command = format!("kill -{name} {}", self.id());
        let status = Command::new("sh").args(["-c", &command]).stderr(Stdio::null()).status();
        status.expect("a shell");
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// When it goes on after `deadline`.
    pub fn wait(&mut self, deadline: Duration) -> Result<ExitStatus, String> {
        let name = self.name.clone();
        eventually_blocking(deadline, || self.status().ok_or(format!("{name} runs on")))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail if it ended already, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
