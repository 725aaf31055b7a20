//! What is asked of Redis: how long it took and what went wrong, by script.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use rivulet_node::{CommandSnapshot, Histogram, histogram::CALL_BOUNDS};

use crate::error_type::ErrorType;

/// The name of plain commands that read.
pub(crate) const PIPELINE: &str = "pipeline";

/// All scripts, and what is none.
const NAMES: [&str; 17] = [
    "append", "tick", "read", "index", PIPELINE, "admit", "settle", "stage", "switch", "renew", "before",
    "rate", "kick", "kicked", "kicks", "open", "takeover",
];

/// See the module.
#[derive(Debug)]
pub(crate) struct CommandStats([Command; NAMES.len()]);

#[derive(Debug)]
struct Command {
    duration: Histogram,
    errors: [AtomicU64; ErrorType::ALL.len()],
}

impl CommandStats {
    pub(crate) fn new() -> Self {
        let command = |_| Command { duration: Histogram::new(CALL_BOUNDS), errors: Default::default() };
        Self(NAMES.map(command))
    }

    fn command(&self, script: &str) -> Option<&Command> {
        NAMES.iter().position(|name| *name == script).map(|place| &self.0[place])
    }

    /// A command has been answered, or given up. How long it took to see that it cannot be sent says nothing of Redis.
    pub(crate) fn note(&self, script: &str, took: Duration, error: Option<ErrorType>) {
        let was_sent = !matches!(error, Some(ErrorType::Away | ErrorType::TooMuch));
        if was_sent && let Some(command) = self.command(script) {
            command.duration.observe(took);
        }
        if let Some(error) = error {
            self.note_error(script, error);
        }
    }

    /// A command has failed: one that was not even sent, or one whose answer is not enough.
    pub(crate) fn note_error(&self, script: &str, error: ErrorType) {
        if let Some(command) = self.command(script) {
            command.errors[error as usize].fetch_add(1, Relaxed);
        }
    }

    pub(crate) fn snapshot(&self) -> Vec<CommandSnapshot> {
        let errors = |command: &Command| {
            let counts = command.errors.iter().map(|count| count.load(Relaxed));
            ErrorType::ALL.iter().map(|error| error.as_str()).zip(counts).collect()
        };
        let snapshot = |(script, command): (&'static str, &Command)| CommandSnapshot {
            script,
            duration: command.duration.snapshot(),
            errors: errors(command),
        };
        NAMES.into_iter().zip(&self.0).map(snapshot).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_script_has_its_counters() {
        let made = include_str!("script.rs").split("Self::new(").skip(1);
        let names: BTreeSet<&str> = made.filter_map(|made| made.split('"').nth(1)).collect();
        assert!(names.len() > 10, "{names:?}");
        let counted: BTreeSet<&str> = NAMES.into_iter().filter(|name| *name != PIPELINE).collect();
        assert_eq!(names, counted);
    }

    #[test]
    fn commands_are_counted_under_their_script() {
        let stats = CommandStats::new();
        stats.note("append", Duration::from_millis(3), None);
        stats.note("append", Duration::from_secs(2), Some(ErrorType::Timeout));
        stats.note("append", Duration::ZERO, Some(ErrorType::Away));
        stats.note_error("append", ErrorType::TooMuch);
        for command in stats.snapshot() {
            let total = if command.script == "append" { 2 } else { 0 };
            assert_eq!(command.duration.total(), total, "{}", command.script);
            let failed: Vec<_> = command.errors.iter().filter(|(_, count)| *count > 0).copied().collect();
            let expected: &[_] =
                if total > 0 { &[("away", 1), ("too_much", 1), ("timeout", 1)] } else { &[] };
            assert_eq!(failed, expected, "{}", command.script);
        }
    }
}
