//! The order of a measurement: every server once per round, in turn, so that what drifts drifts for all.

use serde::Serialize;

use crate::{
    args::{CommonArgs, ServerKind},
    file_limit,
    machine::Machine,
    metric::Phase,
    report::Report,
    servers::Launcher,
};

/// One server, measured once.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Run {
    pub(crate) server: ServerKind,
    /// From 1.
    pub(crate) round: u32,
    pub(crate) phases: Vec<Phase>,
}

/// What a scenario measures in one run.
pub(crate) type Measure<'a> = dyn Fn(&Launcher, ServerKind, u32) -> anyhow::Result<Vec<Phase>> + 'a;

/// Runs all rounds of a scenario, prints the result and writes it to the JSON file if one is wanted.
pub(crate) fn run(
    scenario: &'static str,
    common: &CommonArgs,
    settings: serde_json::Value,
    (connections, rounds): (u32, u32),
    measure: &Measure<'_>,
) -> anyhow::Result<()> {
    file_limit::raise(connections)?;
    let launcher = Launcher::prepare(common)?;
    let machine = Machine::here(launcher.cores);
    let mut runs = Vec::new();
    for round in 1..=rounds {
        for &server in &common.servers {
            runs.push(Run { server, round, phases: measure(&launcher, server, round)? });
        }
    }
    let report = Report::new(scenario, settings, launcher.transport, machine, runs);
    report.print(&mut std::io::stdout().lock())?;
    common.json.as_deref().map_or(Ok(()), |path| report.write_json(path))
}
