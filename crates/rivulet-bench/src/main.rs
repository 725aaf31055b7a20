//! The load generator of Rivulet. `idle` and `one-topic` measure a hub and a bare floor in one run; `floor` is that floor.
//! `backfill`, `failover`, `resume` and `subscribe` measure what a hub on Redis does when something was missed; `churn`,
//! `stuck`, `hostile` and `quota` what becomes of connections, whatever their clients do; `traces` what tracing costs.
//!
//! It knows Rivulet only as a program: it starts the servers itself and speaks to them through loopback sockets. Linux
//! only, because memory and CPU of the servers are read from `/proc` and from the CPU clocks of processes.

mod approach;
mod args;
mod attack;
mod attack_storm;
mod binary;
mod call;
mod chance;
mod churn_crowd;
mod churn_manner;
mod churn_visitor;
mod client;
mod collector;
mod cores;
mod deadlines;
mod event_scanner;
mod exposition;
mod file_limit;
mod flags;
mod floor;
mod floor_connection;
mod flow;
mod goal;
mod head;
mod http_get;
mod kernel;
mod load;
mod machine;
mod metric;
mod paced;
mod payload;
mod port;
mod poster;
mod process;
mod progress;
mod proxy;
mod publisher;
mod quota_clients;
mod redis_client;
mod redis_server;
mod report;
mod residue;
mod retrying_publisher;
mod rounds;
mod scenario_backfill;
mod scenario_churn;
mod scenario_failover;
mod scenario_hostile;
mod scenario_idle;
mod scenario_one_topic;
mod scenario_quota;
mod scenario_resume;
mod scenario_stuck;
mod scenario_subscribe;
mod scenario_traces;
mod sentinel;
mod servers;
mod silent;
mod spread;
mod subscriber;
mod table;
mod tally;
mod token;
mod topics;
mod usage;
mod vanishing;
mod wire;

use std::{io::Write, process::ExitCode};

use clap::Parser;

use crate::args::{Args, Command};

fn main() -> ExitCode {
    let result = match Args::parse().command {
        Command::Idle(args) => scenario_idle::run(&args),
        Command::OneTopic(args) => scenario_one_topic::run(&args),
        Command::Backfill(args) => scenario_backfill::run(&args),
        Command::Failover(args) => scenario_failover::run(&args),
        Command::Resume(args) => scenario_resume::run(&args),
        Command::Subscribe(args) => scenario_subscribe::run(&args),
        Command::Churn(args) => scenario_churn::run(&args),
        Command::Stuck(args) => scenario_stuck::run(&args),
        Command::Hostile(args) => scenario_hostile::run(&args),
        Command::Quota(args) => scenario_quota::run(&args),
        Command::Traces(args) => scenario_traces::run(&args),
        Command::Floor(args) => floor::run(args.listen),
    };
    let Err(error) = result else { return ExitCode::SUCCESS };
    // On one line and without a backtrace: what went wrong here went wrong outside. Standard error may be closed.
    let _ = writeln!(std::io::stderr(), "rivulet-bench: {error:#}");
    ExitCode::FAILURE
}
