//! The rolling update under load, briefly, and three that go wrong and must be seen to.
//!
//! `cargo run --release -p rivulet-tests --bin rivulet-rolling -- --help` runs it at full size.

use std::time::Duration;

use rivulet_tests::{
    hub,
    rolling::{Drain, Fault, Outcome, Plan},
    supervisor::{Rules, diary::Happening, readiness::ProbeRules},
};

fn plan() -> Plan {
    let ms = Duration::from_millis;
    let drain = Drain { delay: ms(500), period: ms(4_000) };
    Plan {
        clients: 300,
        topics: 10,
        updates_per_second: 50.0,
        rules: Rules {
            probe: ProbeRules { period: ms(100), successes: 1, failures: 3 },
            // One drain is over when the next begins.
            min_ready: ms(4_000),
            endpoint_lag: ms(400),
            pre_stop: ms(300),
            grace: Duration::from_secs(30),
        },
        drain,
        drain_told: drain,
        ..Plan::new(hub::binary())
    }
}

/// One of two nodes is replaced.
fn brief() -> Plan {
    let plan = plan();
    let rules = Rules { min_ready: Duration::from_millis(300), ..plan.rules };
    Plan { nodes: 2, replaced: 1, clients: 120, rules, ..plan }
}

async fn run(plan: Plan) -> Outcome {
    plan.run().await.expect("the run is carried out")
}

/// The rules that were broken.
fn broken(outcome: &Outcome) -> Vec<&'static str> {
    let verdicts = outcome.verdicts().into_iter();
    verdicts.filter(|verdict| !verdict.holds).map(|verdict| verdict.rule).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn all_nodes_are_replaced_and_clients_only_come_back() {
    let outcome = run(plan()).await;
    assert!(outcome.is_clean(), "{}", outcome.report());
    assert!(outcome.published > 500 && outcome.returns() >= 300, "this proves nothing: {}", outcome.report());
    assert_eq!(outcome.stopped_with.len(), 3, "{}", outcome.report());
    // Publishers keep their connections, and have left before a node closes them.
    assert!(outcome.repeats.is_empty(), "{}", outcome.report());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_node_that_does_not_drain_is_seen() {
    let outcome = run(brief().with_fault(Fault::NoDrain)).await;
    let broken = broken(&outcome);
    for rule in ["clients came back at most twice as steeply as evenly", "no stream ended without a word"] {
        assert!(broken.contains(&rule), "{rule}\n{}", outcome.report());
    }
    assert_eq!((outcome.lost, outcome.twice), (0, 0), "{}", outcome.report());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_pod_that_is_killed_is_seen() {
    let outcome = run(brief().with_fault(Fault::Kill)).await;
    assert_eq!(outcome.happened(|what| *what == Happening::Killed), 1, "{}", outcome.report());
    let broken = broken(&outcome);
    for rule in ["no pod needed SIGKILL", "no stream ended without a word"] {
        assert!(broken.contains(&rule), "{rule}\n{}", outcome.report());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_load_balancer_that_lags_behind_a_drain_is_seen() {
    let plan = brief();
    let drain = Drain { delay: Duration::from_millis(200), period: Duration::from_secs(1) };
    let outcome = run(Plan { drain, drain_told: drain, ..plan }.with_fault(Fault::Lag)).await;
    assert!(outcome.refused > 0, "{}", outcome.report());
    assert!(broken(&outcome).contains(&"no client found nobody"), "{}", outcome.report());
    assert_eq!((outcome.lost, outcome.twice), (0, 0), "{}", outcome.report());
}
