//! The order of a measurement: every server once per round, in turn, so that what drifts drifts for all.

use serde::Serialize;

use crate::{
    args::{CommonArgs, ProgramArgs, ServerKind, Transport},
    file_limit,
    goal::Goal,
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

/// What is measured, on which servers, and what it is held against.
pub(crate) struct Plan<'a> {
    pub(crate) scenario: &'static str,
    program: &'a ProgramArgs,
    servers: &'a [ServerKind],
    transport: Option<Transport>,
    pub(crate) settings: serde_json::Value,
    /// The most files that one process has open at a time, beside a few.
    pub(crate) connections: u32,
    pub(crate) rounds: u32,
    pub(crate) goals: Vec<Goal>,
}

impl<'a> Plan<'a> {
    /// A measurement of all servers that the arguments name.
    pub(crate) fn comparing(
        scenario: &'static str,
        common: &'a CommonArgs,
        settings: serde_json::Value,
        (connections, rounds): (u32, u32),
    ) -> Self {
        Self {
            scenario,
            program: &common.program,
            servers: &common.servers,
            transport: common.transport,
            settings,
            connections,
            rounds,
            goals: Vec::new(),
        }
    }

    /// A measurement of what only Rivulet with Redis does.
    pub(crate) fn of_rivulet(
        scenario: &'static str,
        program: &'a ProgramArgs,
        settings: serde_json::Value,
        (connections, rounds): (u32, u32),
        goals: Vec<Goal>,
    ) -> Self {
        let (servers, transport) = (&[ServerKind::Rivulet][..], Some(Transport::Redis));
        Self { scenario, program, servers, transport, settings, connections, rounds, goals }
    }

    /// Runs all rounds, prints the result and writes it to the JSON file if one is wanted.
    pub(crate) fn run(self, measure: &Measure<'_>) -> anyhow::Result<()> {
        file_limit::raise(self.connections)?;
        let launcher = Launcher::prepare(self.program, self.servers, self.transport)?;
        let machine = Machine::here(launcher.cores);
        let mut runs = Vec::new();
        for round in 1..=self.rounds {
            for &server in self.servers {
                runs.push(Run { server, round, phases: measure(&launcher, server, round)? });
            }
        }
        let (json, is_strict) = (self.program.json.as_deref(), self.program.strict);
        let report = Report::new(self, launcher.transport, machine, runs);
        report.print(&mut std::io::stdout().lock())?;
        json.map_or(Ok(()), |path| report.write_json(path))?;
        if is_strict { report.check() } else { Ok(()) }
    }
}
