//! A node that must not start: what it says, what it exits with, and how long it takes.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use crate::{Hub, hub, port};

/// How long a start may take until it is refused. `timeout` exits with 124 then.
const DEADLINE: &str = "30";

/// How a start was refused.
#[derive(Debug)]
pub struct Refusal {
    /// The exit code.
    pub code: Option<i32>,
    /// Everything it wrote.
    pub said: String,
    /// How long it took.
    pub took: Duration,
}

impl Refusal {
    /// Starts a node with [`Hub::DEFAULTS`] and waits until it ends by itself. Blocks.
    ///
    /// # Panics
    /// If it cannot be run.
    pub fn of(redis_url: &str, flags: &[&str]) -> Self {
        let started = Instant::now();
        let hub = hub::command();
        let mut command = Command::new("timeout");
        command.arg(DEADLINE).arg(hub.get_program()).envs(Hub::DEFAULTS);
        for (name, value) in hub.get_envs() {
            if value.is_none() {
                command.env_remove(name);
            }
        }
        let (listen, admin) = (port::free().to_string(), port::free().to_string());
        command.args(["--listen", &listen, "--admin-listen", &admin, "--redis-url", redis_url]).args(flags);
        let output = command.output().expect("rivulet runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        Self { code: output.status.code(), said, took: started.elapsed() }
    }

    /// Checks the exit code and that the last line holds all of these words; answers that line.
    ///
    /// # Panics
    /// If it is not so.
    pub fn expect(&self, code: i32, words: &[&str]) -> &str {
        assert_eq!(self.code, Some(code), "after {:?}: {}", self.took, self.said);
        let line = self.said.lines().last().unwrap_or_default();
        for word in words {
            assert!(line.contains(word), "{word:?} is not in {line:?}");
        }
        line
    }
}
