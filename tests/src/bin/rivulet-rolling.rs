//! Replaces all nodes of a deployment under load, from the command line, and judges what clients noticed.

use std::{io::Write as _, path::PathBuf, process::ExitCode, time::Duration};

use clap::Parser;
use rivulet_tests::{
    hub,
    rolling::{Drain, Fault, Plan},
};

/// Replaces all nodes one by one under load, as Kubernetes does, and checks that clients notice nothing but coming back.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many clients
    #[arg(long, default_value_t = 6_000)]
    clients: usize,
    /// Updates per second on the topics of some; one more per second goes to all clients
    #[arg(long, default_value_t = 500.0)]
    updates_per_second: f64,
    /// Topics of some: each client has one of them
    #[arg(long, default_value_t = 100)]
    topics: usize,
    /// How many nodes
    #[arg(long, default_value_t = 3)]
    nodes: usize,
    /// The program of the nodes; without it, RIVULET_BIN, or the one that was built beside this one
    #[arg(long)]
    rivulet: Option<PathBuf>,
    /// The programs by which they are replaced, one rolling update after another; without it, the same program
    #[arg(long = "then", value_delimiter = ',')]
    then: Vec<PathBuf>,
    /// --drain-delay of the nodes, in seconds
    #[arg(long, default_value_t = 5.0)]
    drain_delay: f64,
    /// --drain-period of the nodes, in seconds
    #[arg(long, default_value_t = 20.0)]
    drain_period: f64,
    /// preStop: {sleep}, in seconds
    #[arg(long, default_value_t = 5.0)]
    pre_stop: f64,
    /// minReadySeconds
    #[arg(long, default_value_t = 20.0)]
    min_ready: f64,
    /// terminationGracePeriodSeconds
    #[arg(long, default_value_t = 60.0)]
    grace: f64,
    /// How long load balancers take to hear of a change, in seconds
    #[arg(long, default_value_t = 1.5)]
    endpoint_lag: f64,
    /// --shed of the nodes
    #[arg(long, default_value_t = 0.0)]
    shed: f64,
    /// How long the run goes on after the last update, in seconds, to see what --shed does
    #[arg(long, default_value_t = 0.0)]
    linger: f64,
    /// What is done wrong on purpose
    #[arg(long)]
    fault: Option<Fault>,
    /// Write all figures to a file
    #[arg(long)]
    json: Option<PathBuf>,
}

impl Arguments {
    fn plan(&self) -> Plan {
        let seconds = Duration::from_secs_f64;
        // Nodes are started in directories of their own.
        let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
        let program = self.rivulet.as_ref().map_or_else(hub::binary, absolute);
        let drain = Drain { delay: seconds(self.drain_delay), period: seconds(self.drain_period) };
        let mut plan = Plan::new(program);
        if !self.then.is_empty() {
            plan.then = self.then.iter().map(absolute).collect();
        }
        (plan.nodes, plan.clients, plan.topics) = (self.nodes.max(1), self.clients, self.topics.max(1));
        plan.updates_per_second = self.updates_per_second;
        (plan.drain, plan.drain_told) = (drain, drain);
        (plan.rules.pre_stop, plan.rules.grace) = (seconds(self.pre_stop), seconds(self.grace));
        plan.rules.min_ready = seconds(self.min_ready);
        plan.rules.endpoint_lag = seconds(self.endpoint_lag);
        (plan.shed_percent, plan.linger) = (self.shed, seconds(self.linger));
        match self.fault {
            Some(fault) => plan.with_fault(fault),
            None => plan,
        }
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // A closed pipe does not end a run.
    let outcome = match arguments.plan().run().await {
        Ok(outcome) => outcome,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "the run was not carried out: {error}");
            return ExitCode::FAILURE;
        }
    };
    let _ = writeln!(std::io::stdout(), "{}", outcome.report());
    if let Some(path) = &arguments.json
        && let Err(error) = std::fs::write(path, format!("{:#}\n", outcome.json()))
    {
        let _ = writeln!(std::io::stderr(), "{}: {error}", path.display());
        return ExitCode::FAILURE;
    }
    if outcome.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
