//! The result of a measurement: every run, the medians and the ratios, as a table and as JSON.

use std::{
    collections::BTreeMap,
    io::Write,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, ensure};
use serde::Serialize;

use crate::{
    args::{ServerKind, Transport},
    goal::{self, Goal, Verdict},
    machine::Machine,
    rounds::{Plan, Run},
    spread::Spread,
    table,
};

/// The version of the JSON's shape: it grows when a name changes its meaning or goes away.
const JSON_VERSION: u32 = 1;

/// Everything about one measurement.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    json_version: u32,
    bench_version: &'static str,
    scenario: &'static str,
    /// When the measurement ended, in seconds since the Unix epoch.
    ended_unix_s: u64,
    machine: Machine,
    /// What Rivulet ran on; the floor has none.
    transport: Transport,
    settings: serde_json::Value,
    runs: Vec<Run>,
    summary: Vec<Comparison>,
    goals: Vec<Verdict>,
    /// The figures of goals that were not measured.
    #[serde(skip)]
    unmeasured: Vec<&'static str>,
}

/// One figure of one phase, over all rounds and servers.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Comparison {
    pub(crate) phase: &'static str,
    pub(crate) metric: &'static str,
    pub(crate) servers: BTreeMap<ServerKind, Spread>,
    /// Rivulet's median divided by the floor's, where both have one and the floor's is not 0.
    pub(crate) rivulet_by_floor: Option<f64>,
}

impl Report {
    /// Sums up.
    pub(crate) fn new(plan: Plan<'_>, transport: Transport, machine: Machine, runs: Vec<Run>) -> Self {
        let ended_unix_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
        let summary = summarize(&runs);
        let goals = plan.goals.iter().filter_map(|goal| goal.judge(&summary)).collect();
        let is_unmeasured = |goal: &&Goal| goal.judge(&summary).is_none();
        let unmeasured = plan.goals.iter().filter(is_unmeasured).map(Goal::metric).collect();
        let (json_version, bench_version) = (JSON_VERSION, env!("CARGO_PKG_VERSION"));
        Self {
            json_version,
            bench_version,
            scenario: plan.scenario,
            ended_unix_s,
            machine,
            transport,
            settings: plan.settings,
            runs,
            summary,
            goals,
            unmeasured,
        }
    }

    /// Writes the table.
    pub(crate) fn print(&self, out: &mut impl Write) -> anyhow::Result<()> {
        writeln!(out, "rivulet-bench {}: {}", self.bench_version, self.machine.describe())?;
        if self.runs.iter().any(|run| run.server == ServerKind::Rivulet) {
            let transport = match self.transport {
                Transport::Memory => "memory",
                Transport::Redis => "redis",
            };
            writeln!(out, "{}: rivulet with one worker, transport {transport}", self.scenario)?;
        }
        write!(out, "{}{}", table::render(&self.summary), table::render_goals(&self.goals))?;
        self.print_notes(out)
    }

    fn print_notes(&self, out: &mut impl Write) -> anyhow::Result<()> {
        let phases = self.runs.iter().flat_map(|run| run.phases.iter().map(move |phase| (run.round, phase)));
        let notes = phases
            .flat_map(|(round, phase)| phase.notes.iter().map(move |note| (round, phase.phase, note)))
            .enumerate();
        for (index, (round, phase, note)) in notes {
            let heading = if index == 0 { "\nnotes\n" } else { "" };
            writeln!(out, "{heading}  {phase}, round {round}: {note}")?;
        }
        Ok(())
    }

    /// Fails where a goal was missed, or its figure was not measured.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        ensure!(self.unmeasured.is_empty(), "not measured: {}", self.unmeasured.join(", "));
        goal::check(&self.goals)
    }

    /// Writes everything to a file.
    pub(crate) fn write_json(&self, path: &Path) -> anyhow::Result<()> {
        let mut text = serde_json::to_string_pretty(self).context("turning the result into JSON")?;
        text.push('\n');
        std::fs::write(path, text).with_context(|| format!("--json {}", path.display()))
    }
}

/// Medians and ratios, in the order in which phases and figures first appear.
fn summarize(runs: &[Run]) -> Vec<Comparison> {
    let mut order: Vec<(&'static str, &'static str)> = Vec::new();
    let mut values: BTreeMap<(&str, &str, ServerKind), Vec<f64>> = BTreeMap::new();
    for run in runs {
        for phase in &run.phases {
            for metric in &phase.metrics {
                if !order.contains(&(phase.phase, metric.name)) {
                    order.push((phase.phase, metric.name));
                }
                values.entry((phase.phase, metric.name, run.server)).or_default().push(metric.value);
            }
        }
    }
    let compare = |(phase, metric): (&'static str, &'static str)| {
        let spread = |server| Some((server, Spread::of(values.get(&(phase, metric, server))?)?));
        let servers: BTreeMap<_, _> =
            [ServerKind::Rivulet, ServerKind::Floor].into_iter().filter_map(spread).collect();
        let median = |server| servers.get(&server).map(|spread: &Spread| spread.median);
        let rivulet_by_floor = median(ServerKind::Rivulet)
            .zip(median(ServerKind::Floor))
            .and_then(|(rivulet, floor)| (floor != 0.0).then(|| rivulet / floor));
        Comparison { phase, metric, servers, rivulet_by_floor }
    };
    order.into_iter().map(compare).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::{Phase, metric};

    fn run(server: ServerKind, round: u32, value: f64) -> Run {
        Run { server, round, phases: vec![Phase::new("p", vec![metric("m", value)])] }
    }

    #[test]
    fn the_summary_compares_medians() {
        let (rivulet, floor) = (ServerKind::Rivulet, ServerKind::Floor);
        let runs = [run(rivulet, 1, 9.0), run(floor, 1, 2.0), run(rivulet, 2, 3.0), run(floor, 2, 4.0)];
        let [comparison] = &summarize(&runs)[..] else { panic!("one figure makes one comparison") };
        assert_eq!(comparison.servers[&rivulet], Spread { median: 6.0, min: 3.0, max: 9.0 });
        assert_eq!(comparison.rivulet_by_floor, Some(2.0));
    }

    #[test]
    fn without_a_floor_there_is_no_ratio() {
        let summary = summarize(&[run(ServerKind::Rivulet, 1, 9.0)]);
        assert_eq!(summary[0].rivulet_by_floor, None);
        assert_eq!(
            summarize(&[run(ServerKind::Rivulet, 1, 1.0), run(ServerKind::Floor, 1, 0.0)])[0]
                .rivulet_by_floor,
            None
        );
    }
}
