//! How a command ends: the exit codes (those of BSD's sysexits, so that scripts can tell causes apart) and the line
//! on standard error that goes with them.

use std::fmt;

/// Why a command did not do what was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    /// What the process exits with.
    pub(crate) code: Code,
    /// For a person. Usually one line; one line per mistake for a configuration.
    pub(crate) message: String,
}

/// The exit codes. `rivulet --help` lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Code {
    /// What `healthcheck` asked is not so: the code that container runtimes and orchestrators take for it.
    Unhealthy = 1,
    /// The command line or the configuration is wrong; nothing was started.
    Usage = 64,
    /// What was sent is not acceptable to the hub (it answered 400, 413 or alike), or what was read is no trace.
    Data = 65,
    /// A hub, an address or Redis is not available: no connection, the port is taken.
    Unavailable = 69,
    /// A mistake of this program.
    Software = 70,
    /// Reading or writing a file or standard input or output failed.
    Io = 74,
    /// The hub asks to come back later (429 or 503).
    TryLater = 75,
    /// The hub refuses this token (401 or 403).
    Permission = 77,
}

impl Failure {
    /// A failure with this code.
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// [`Code::Usage`].
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Code::Usage, message)
    }

    /// A configuration with these mistakes, a line each.
    #[expect(clippy::needless_pass_by_value, reason = "what `map_err` calls takes the error")]
    pub(crate) fn mistakes(mistakes: Vec<String>) -> Self {
        Self::usage(mistakes.join("\nrivulet: "))
    }

    /// [`Code::Unavailable`].
    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(Code::Unavailable, message)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.message.fmt(f)
    }
}

/// For the end of `--help`.
pub(crate) const HELP: &str = "\
Exit codes:
  0   done; for serve: stopped by SIGTERM or SIGINT; for check-config: nothing is wrong
  1   for healthcheck: the hub is not ready (with --live: not live), or does not answer
  64  the command line or the configuration is wrong (every mistake is listed; nothing was started)
  65  the hub does not accept what was sent; for trace: that is no trace
  69  the hub, an address to listen on, or Redis is not available
  70  a mistake of this program
  74  reading or writing a file, standard input or standard output failed
  75  the hub asks to come back later
  77  the hub refuses the token
  130, 143  a second SIGINT or SIGTERM came while stopping";
