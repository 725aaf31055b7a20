//! The `rivulet` binary: configuration, wiring, admin listener, signals, and the commands beside the hub.
//!
//! Read in this order: `settings` (what can be configured), `layers` (where a value comes from), `config` (what it
//! means), `serve` (how the parts are put together).

mod admin;
mod cgroup;
mod check_config;
mod cli;
mod client;
mod config;
mod connect;
mod drain;
mod event_stream;
mod exit;
mod healthcheck;
mod keys;
mod layers;
mod logs;
mod memory;
mod mercure;
mod metrics;
mod observed;
mod process;
mod publish;
mod quantity;
mod reload;
mod serve;
mod settings;
mod signals;
mod subscribe;
mod telemetry;
mod token;
mod trace;

use std::{io::Write as _, process::ExitCode};

use clap::ArgMatches;

use crate::{
    exit::{Code, Failure},
    layers::Environment,
};

/// Less memory per connection than the system's allocator, and it tells how much is in use.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    // Before anything speaks TLS: with two providers in the dependency tree rustls would not choose one.
    // An error says that there is one already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match run() {
        Ok(code) => code,
        Err(failure) => {
            // Standard error may be closed; the exit code says the rest.
            let _ = writeln!(std::io::stderr(), "rivulet: {failure}");
            ExitCode::from(failure.code as u8)
        }
    }
}

fn run() -> Result<ExitCode, Failure> {
    let matches = match cli::command().try_get_matches() {
        Ok(matches) => matches,
        Err(error) => return usage(&error),
    };
    match matches.subcommand() {
        None => serve::run(&matches, &environment()),
        Some(("serve", matches)) => serve::run(matches, &environment()),
        Some(("check-config", matches)) => check_config::run(matches, &environment()),
        Some(("healthcheck", matches)) => block_on(healthcheck::run(matches, &environment())),
        Some(("publish", matches)) => block_on(publish::run(args(matches)?)),
        Some(("subscribe", matches)) => block_on(subscribe::run(args(matches)?)),
        Some(("trace", matches)) => block_on(trace::run(args(matches)?)),
        Some(("token", matches)) => token::run(&args(matches)?).map(|()| ExitCode::SUCCESS),
        Some((name, _)) => Err(Failure::new(Code::Software, format!("the command {name} does nothing"))),
    }
}

/// `--help` and `--version` are answered; everything else is a mistake on the command line, told in one line.
fn usage(error: &clap::Error) -> Result<ExitCode, Failure> {
    if error.use_stderr() {
        let text = error.render().to_string();
        let lines = text.lines().take_while(|line| !line.is_empty()).map(str::trim);
        let line = lines.collect::<Vec<_>>().join(" ");
        return Err(Failure::usage(format!("{}; see rivulet --help", line.trim_start_matches("error: "))));
    }
    // A closed standard output is no mistake here.
    let _ = error.print();
    Ok(ExitCode::SUCCESS)
}

fn args<T: clap::FromArgMatches>(matches: &ArgMatches) -> Result<T, Failure> {
    T::from_arg_matches(matches).map_err(|error| Failure::usage(error.to_string()))
}

/// The variables that are readable; no setting is written in anything but UTF-8.
fn environment() -> Environment {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

fn block_on(command: impl Future<Output = Result<(), Failure>>) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime
        .map_err(|error| Failure::new(Code::Software, format!("the runtime does not start: {error}")))?;
    runtime.block_on(command).map(|()| ExitCode::SUCCESS)
}
