//! The cluster checker, briefly: a run for each shape of Redis, and broken builds that it must catch.
//!
//! `cargo run -p rivulet-tests --bin rivulet-checker -- --help` runs it longer, with other seeds.

use std::{path::PathBuf, time::Duration};

use rivulet_tests::{
    checker::{
        judge::Kind,
        publisher::Repeats,
        run::{Outcome, Plan},
        schedule::Nemesis,
        stage::Topology,
    },
    hub,
};

use clap::ValueEnum as _;

fn plan(topology: Topology, seed: u64, seconds: u64) -> Plan {
    let fitting = Nemesis::value_variants().iter().copied().filter(|nemesis| nemesis.fits(topology));
    Plan {
        topology,
        seed,
        time: Duration::from_secs(seconds),
        nodes: 3,
        nemeses: fitting.collect(),
        rate: 200,
        repeats: Repeats::UntilAcknowledged,
        // An acknowledged update must survive the death of the server that acknowledged it.
        replicas: topology.replicas(),
        program: hub::binary(),
        fault: None,
        stops_at_violation: false,
    }
}

fn expect_clean(outcome: &Outcome) {
    let (summary, breakages, report) = (outcome.summary(), outcome.breakages(), outcome.report());
    assert!(outcome.verdict.is_clean(), "{summary}\n{breakages}\n{report}");
    assert!(outcome.verdict.acknowledged > 500, "so few updates prove nothing: {summary}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_lost_on_a_single_redis() {
    expect_clean(&plan(Topology::Standalone, 3, 28).run().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_lost_on_redis_sentinel() {
    let nemeses = [Nemesis::KillMaster, Nemesis::KillNode, Nemesis::KillPubsub, Nemesis::HalfOpen];
    let plan = Plan { nemeses: nemeses.to_vec(), ..plan(Topology::Sentinel, 3, 20) };
    expect_clean(&plan.run().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_lost_on_redis_cluster() {
    let nemeses = [Nemesis::KillPrimary, Nemesis::MigrateSlots, Nemesis::KillNode, Nemesis::Cut];
    let plan = Plan { nemeses: nemeses.to_vec(), ..plan(Topology::Cluster, 3, 20) };
    expect_clean(&plan.run().await);
}

/// The build that breaks its promises when it is told to.
fn faulty() -> PathBuf {
    let given = std::env::var_os("RIVULET_FAULTY_BIN").map(PathBuf::from);
    let path = given.unwrap_or_else(|| hub::built("rivulet-faulty"));
    assert!(
        path.is_file(),
        "{} is missing: run `cargo build -p rivulet --features faults`, copy target/debug/rivulet there, and run \
         `cargo build -p rivulet` again (tests/run does)",
        path.display()
    );
    path
}

/// Runs a broken build until the checker has caught it.
async fn expect_caught(fault: &str, nemeses: &[Nemesis]) {
    let plan = Plan {
        nemeses: nemeses.to_vec(),
        program: faulty(),
        rate: 400,
        fault: Some(fault.to_owned()),
        stops_at_violation: true,
        ..plan(Topology::Standalone, 1, 40)
    };
    let outcome = plan.run().await;
    let lost = outcome.verdict.violations.iter().filter(|violation| violation.kind == Kind::Lost).count();
    assert!(lost > 0, "{fault} was not caught: {}\n{}", outcome.summary(), outcome.report());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_build_that_drops_one_announcement_in_a_thousand_is_caught() {
    expect_caught("drop-announcement", &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_build_that_reads_nothing_after_resubscribing_is_caught() {
    expect_caught("skip-backfill", &[Nemesis::KillPubsub]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_build_that_skips_a_position_at_the_seam_is_caught() {
    expect_caught("seam-off-by-one", &[Nemesis::KillNode, Nemesis::KillPubsub]).await;
}
