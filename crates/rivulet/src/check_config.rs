//! `rivulet check-config`: what `serve` would say of its configuration before it starts, and what it would do. Nothing is
//! started, nobody is connected to.

use std::{io::Write as _, process::ExitCode};

use clap::ArgMatches;

use crate::{
    config::Config,
    exit::{Code, Failure},
    layers::Environment,
};

/// Writes the configuration that would be in force to standard output, and warnings to standard error.
///
/// # Errors
///
/// Every mistake, in the words of `serve`.
pub(crate) fn run(matches: &ArgMatches, environment: &Environment) -> Result<ExitCode, Failure> {
    let config = Config::read(matches, environment).map_err(Failure::mistakes)?;
    for warning in &config.warnings {
        // Standard error may be closed; the exit code says the rest.
        let _ = writeln!(std::io::stderr(), "rivulet: warning: {warning}");
    }
    let unwritten = |error| Failure::new(Code::Io, format!("standard output cannot be written: {error}"));
    std::io::stdout().write_all(config.layers.document().as_bytes()).map_err(unwritten)?;
    Ok(ExitCode::SUCCESS)
}
