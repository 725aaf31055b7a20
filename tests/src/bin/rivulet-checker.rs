//! Runs the cluster checker from the command line: seeds, shapes of Redis, nemeses, and a time.

use std::{io::Write as _, path::PathBuf, process::ExitCode, time::Duration};

use clap::{Parser, ValueEnum as _};
use rivulet_tests::{
    checker::{publisher::Repeats, run::Plan, schedule::Nemesis, stage::Topology},
    hub,
};

/// Breaks everything around real nodes on a real Redis and checks that no update is lost, doubled or out of order.
#[derive(Debug, Parser)]
struct Arguments {
    /// The shapes of Redis: standalone, sentinel, cluster, or all
    #[arg(long, default_value = "standalone", value_delimiter = ',')]
    topology: Vec<String>,
    /// The first seed; it tells the whole schedule
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds, counting up
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// For how long things are broken with each seed
    #[arg(long, default_value_t = 1.0)]
    minutes: f64,
    /// How many nodes
    #[arg(long, default_value_t = 3)]
    nodes: usize,
    /// What is broken; without it, everything that can be
    #[arg(long, value_delimiter = ',')]
    nemesis: Vec<Nemesis>,
    /// Updates per second
    #[arg(long, default_value_t = 250)]
    rate: u32,
    /// Do not repeat a publication without an answer
    #[arg(long)]
    no_repeats: bool,
    /// For how many replicas nodes wait before they acknowledge; default: what makes a failover safe
    #[arg(long)]
    wait_replicas: Option<usize>,
    /// The program under test; without it, the one that was built beside this one
    #[arg(long)]
    rivulet: Option<PathBuf>,
    /// Say of each seed what was broken and when
    #[arg(long)]
    verbose: bool,
    /// The fault of a broken build
    #[arg(long)]
    fault: Option<String>,
}

impl Arguments {
    fn topologies(&self) -> Result<Vec<Topology>, String> {
        if self.topology.iter().any(|name| name == "all") {
            return Ok(Topology::value_variants().to_vec());
        }
        self.topology.iter().map(|name| Topology::from_str(name, true)).collect()
    }

    fn plan(&self, topology: Topology, seed: u64) -> Plan {
        let chosen = if self.nemesis.is_empty() { Nemesis::value_variants() } else { &self.nemesis };
        let fitting = chosen.iter().copied().filter(|nemesis| nemesis.fits(topology));
        Plan {
            topology,
            seed,
            time: Duration::from_secs_f64(self.minutes * 60.0),
            nodes: self.nodes.max(2),
            nemeses: fitting.collect(),
            rate: self.rate,
            repeats: if self.no_repeats { Repeats::Never } else { Repeats::UntilAcknowledged },
            replicas: self.wait_replicas.unwrap_or(topology.replicas()),
            program: self.rivulet.clone().map_or_else(hub::binary, absolute),
            fault: self.fault.clone(),
            stops_at_violation: false,
        }
    }
}

/// Nodes are started in directories of their own.
fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

#[tokio::main(flavor = "multi_thread", worker_threads = 4)]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut out = std::io::stdout();
    let topologies = match arguments.topologies() {
        Ok(topologies) => topologies,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "--topology: {error}");
            return ExitCode::from(64);
        }
    };
    let (mut passed, mut failed) = (0, 0);
    for topology in topologies {
        for seed in arguments.seed..arguments.seed.saturating_add(arguments.seeds) {
            let outcome = arguments.plan(topology, seed).run().await;
            if outcome.verdict.is_clean() {
                passed += 1;
            } else {
                failed += 1;
            }
            // A closed pipe does not end a run.
            let _ = writeln!(out, "{}", outcome.summary());
            if arguments.verbose {
                let _ = writeln!(out, "{}", outcome.breakages());
            }
            if !outcome.verdict.is_clean() {
                let _ = writeln!(out, "{}", outcome.report());
            }
        }
    }
    let _ = writeln!(out, "{passed} passed, {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
