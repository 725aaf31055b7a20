//! Pods: what they run as, what they may take, how they are asked, how they end and are replaced.

use serde_json::{Value, json};

use super::super::manifests::rendered::{
    Rendered, containers, list, pod, quantity, seconds, selects, title, variable,
};

/// Every container of every workload, with its title.
fn each(rendered: &Rendered) -> Vec<(String, &Value)> {
    let workloads = rendered.workloads();
    workloads
        .flat_map(|workload| {
            let name = title(workload);
            containers(workload)
                .into_iter()
                .map(move |container| (format!("{name}: {}", container["name"]), container))
        })
        .collect()
}

/// An exact version, or a digest.
pub(super) fn images_are_pinned(rendered: &Rendered) -> Vec<String> {
    let is_pinned = |image: &str| {
        let last = image.rsplit('/').next().unwrap_or_default();
        let tag = last.split_once(':').map_or("", |(_, tag)| tag);
        let version = tag.split('-').next().unwrap_or_default();
        let is_exact =
            version.split('.').count() == 3 && version.split('.').all(|part| part.parse::<u32>().is_ok());
        is_exact || image.contains("@sha256:")
    };
    let loose = each(rendered)
        .into_iter()
        .filter(|(_, container)| !container["image"].as_str().is_some_and(is_pinned));
    loose
        .map(|(name, container)| format!("{name} runs {}, which is no exact version", container["image"]))
        .collect()
}

/// The profile `restricted` of Pod Security, and what it leaves open: a root file system that is read only, no token.
pub(super) fn pods_are_restricted(rendered: &Rendered) -> Vec<String> {
    let mut found = Vec::new();
    for workload in rendered.workloads() {
        let (pod, name) = (pod(workload), title(workload));
        let security = &pod["securityContext"];
        let uid = security["runAsUser"].as_u64().unwrap_or_default();
        if security["runAsNonRoot"] != true || uid == 0 {
            found.push(format!("{name} may run as root"));
        }
        if security["seccompProfile"]["type"] != "RuntimeDefault" {
            found.push(format!("{name} has no seccomp profile"));
        }
        if pod["automountServiceAccountToken"] != false || pod["enableServiceLinks"] != false {
            found.push(format!("{name} is given a token or the addresses of services"));
        }
        let shares = ["hostNetwork", "hostPID", "hostIPC"].iter().any(|member| pod[member] == true);
        if shares || list(&pod["volumes"]).any(|volume| volume["hostPath"].is_object()) {
            found.push(format!("{name} shares something with its machine"));
        }
    }
    for (name, container) in each(rendered) {
        let security = &container["securityContext"];
        let exact = json!({ "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
            "capabilities": { "drop": ["ALL"] } });
        if *security != exact {
            found.push(format!("{name} may do more than {exact}: {security}"));
        }
        if list(&container["ports"]).any(|port| port["hostPort"].is_number()) {
            found.push(format!("{name} takes a port of its machine"));
        }
    }
    found
}

/// Requests of both, a limit of memory, none of CPU: throttled threads stop all streams of a node.
pub(super) fn containers_are_bounded(rendered: &Rendered) -> Vec<String> {
    let mut found = Vec::new();
    for (name, container) in each(rendered) {
        let of = |kind: &str, what: &str| quantity(&container["resources"][kind][what]).unwrap_or(0.0);
        if of("requests", "cpu") <= 0.0 || of("requests", "memory") <= 0.0 {
            found.push(format!("{name} requests nothing"));
        }
        if of("limits", "memory") < of("requests", "memory").max(1.0) {
            found.push(format!("{name} has no limit of memory, or less than it requests"));
        }
        if container["resources"]["limits"]["cpu"] != Value::Null {
            found.push(format!("{name} has a limit of CPU"));
        }
    }
    found
}

/// All three probes on every container of what runs on, at ports that there are.
pub(super) fn long_runners_are_probed(rendered: &Rendered) -> Vec<String> {
    let mut found = Vec::new();
    for workload in rendered.workloads().filter(|workload| workload["kind"] != "Job") {
        for container in list(&pod(workload)["containers"]) {
            for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
                let how = &container[probe];
                let port = [&how["httpGet"]["port"], &how["tcpSocket"]["port"]]
                    .into_iter()
                    .find(|port| !port.is_null());
                let is_there = port.map_or(how["exec"].is_object(), |port| {
                    list(&container["ports"]).any(|own| own["name"] == *port)
                });
                if !is_there {
                    found.push(format!(
                        "{}: {} has no {probe} that can work",
                        title(workload),
                        container["name"]
                    ));
                }
            }
        }
    }
    found
}

/// Readiness is /ready; liveness is /live, since a Redis that is away must not have nodes killed.
pub(super) fn the_hub_is_probed_by_what_it_says(rendered: &Rendered) -> Vec<String> {
    let hub = containers(rendered.hub())[0];
    let wanted = [("startupProbe", "/live"), ("readinessProbe", "/ready"), ("livenessProbe", "/live")];
    let wrong = wanted.into_iter().filter(|(probe, path)| {
        let get = &hub[probe]["httpGet"];
        get["path"] != *path || get["port"] != "admin"
    });
    wrong.map(|(probe, path)| format!("the hub's {probe} does not ask {path} at the admin port")).collect()
}

/// preStop + drain-delay + drain-period + 30 s, computed from what is deployed; one of preStop and drain-delay, not both.
pub(super) fn a_drain_has_its_time(rendered: &Rendered) -> Vec<String> {
    let hub = rendered.hub();
    let time = |name: &str| variable(hub, name).and_then(seconds);
    let (Some(delay), Some(period)) = (time("RIVULET_DRAIN_DELAY"), time("RIVULET_DRAIN_PERIOD")) else {
        return vec!["the hub's drain times are not in its environment".to_owned()];
    };
    let stop = containers(hub)[0]["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64().unwrap_or(0);
    let mut found = Vec::new();
    let needed = stop + delay + period + 30;
    let grace = pod(hub)["terminationGracePeriodSeconds"].as_u64();
    if grace != Some(needed) {
        found.push(format!("terminationGracePeriodSeconds is {grace:?}, a drain needs {needed}"));
    }
    if stop > 0 && delay > 0 {
        found.push("preStop and drain-delay wait for the same thing, one after the other".to_owned());
    }
    found
}

/// One node more, never one less; spread over zones and machines; a budget for those who drain machines.
pub(super) fn a_rollout_is_gentle(rendered: &Rendered) -> Vec<String> {
    let hub = rendered.hub();
    let mut found = Vec::new();
    if hub["spec"]["strategy"]["rollingUpdate"] != json!({ "maxSurge": 1, "maxUnavailable": 0 }) {
        found.push("a rollout of the hub takes nodes away, or several at once".to_owned());
    }
    // A rollout does not wait for a pod to end: two that drain at once are twice the slope.
    let between = hub["spec"]["minReadySeconds"].as_u64().unwrap_or(0);
    if variable(hub, "RIVULET_DRAIN_PERIOD").and_then(seconds).is_none_or(|period| between < period) {
        found.push(format!("a rollout of the hub does not wait for a drain: minReadySeconds is {between}"));
    }
    for key in ["topology.kubernetes.io/zone", "kubernetes.io/hostname"] {
        let spread = list(&pod(hub)["topologySpreadConstraints"]).find(|spread| spread["topologyKey"] == key);
        if !spread.is_some_and(|spread| selects(&spread["labelSelector"]["matchLabels"], hub)) {
            found.push(format!("the hub is not spread over {key}"));
        }
    }
    for workload in rendered.workloads().filter(|workload| {
        *workload == hub || workload["spec"]["replicas"].as_u64().is_some_and(|replicas| replicas > 1)
    }) {
        let budgets = rendered.of("PodDisruptionBudget");
        let own: Vec<_> =
            budgets.filter(|one| selects(&one["spec"]["selector"]["matchLabels"], workload)).collect();
        if own.len() != 1 || own[0]["spec"]["maxUnavailable"] != 1 {
            found.push(format!("{} has no budget of one pod", title(workload)));
        }
    }
    found
}
