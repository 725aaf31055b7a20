//! A deployment of real nodes that is treated as Kubernetes treats pods, by processes instead of containers.
//!
//! What the kubelet does: readiness probes with thresholds, the pause before a stop, `SIGTERM`, the grace period,
//! `SIGKILL`. What the controllers do: a rolling update that adds one pod and takes one away, the endpoints, which are the
//! pods that are ready and not about to end. What a load balancer does: it hears of the endpoints a while later, and
//! chooses one for each connection.

pub mod balancer;
pub mod deployment;
pub mod diary;
pub mod pod;
pub mod readiness;

use std::time::Duration;

use readiness::ProbeRules;

/// The numbers that a manifest, and the network in front of it, would have.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// `readinessProbe`.
    pub probe: ProbeRules,
    /// How long a pod must have been ready before it counts: `minReadySeconds`.
    pub min_ready: Duration,
    /// How long after a change load balancers know of it.
    pub endpoint_lag: Duration,
    /// `preStop: {sleep}`.
    pub pre_stop: Duration,
    /// `terminationGracePeriodSeconds`: it begins when the pod is deleted, before the pause.
    pub grace: Duration,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            probe: ProbeRules { period: Duration::from_secs(1), successes: 1, failures: 3 },
            min_ready: Duration::from_secs(20),
            endpoint_lag: Duration::from_millis(1_500),
            pre_stop: Duration::from_secs(5),
            grace: Duration::from_secs(60),
        }
    }
}
