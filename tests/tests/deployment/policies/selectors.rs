//! What refers to something finds it: names, selectors, ports, volumes.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::manifests::rendered::{Rendered, containers, list, pod, selects, title};

/// Secrets that the manifests do not hold, as docs/kubernetes.md says, or that cert-manager makes.
const SECRETS: [&str; 3] = ["rivulet-keys", "rivulet-redis", "rivulet-tls"];

/// No two documents of one group, kind, namespace and name.
pub(super) fn names_are_unique(rendered: &Rendered) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let twice = rendered.documents.iter().filter(|document| {
        let group = document["apiVersion"].as_str().unwrap_or_default();
        let group = group.split_once('/').map_or("", |(group, _)| group);
        !seen.insert(format!("{group} {} {}", title(document), document["metadata"]["namespace"]))
    });
    twice.map(|document| format!("{} is there twice", title(document))).collect()
}

/// Workloads select their own pods, and everything else that selects pods selects some.
pub(super) fn selectors_match_pods(rendered: &Rendered) -> Vec<String> {
    let mut found = Vec::new();
    for workload in rendered.workloads().filter(|workload| workload["kind"] != "Job") {
        if !selects(&workload["spec"]["selector"]["matchLabels"], workload) {
            found.push(format!("{} does not select its own pods", title(workload)));
        }
    }
    let places = [
        ("Service", "/spec/selector"),
        ("NetworkPolicy", "/spec/podSelector/matchLabels"),
        ("PodDisruptionBudget", "/spec/selector/matchLabels"),
        ("PodMonitor", "/spec/selector/matchLabels"),
    ];
    for (kind, place) in places {
        for document in rendered.of(kind) {
            let labels = document.pointer(place).unwrap_or(&Value::Null);
            if rendered.selected(labels).len() != 1 {
                found.push(format!("{} does not select the pods of one workload", title(document)));
            }
        }
    }
    found.extend(monitored(rendered));
    found
}

/// Who scrapes finds the port, and calls the job what the rules call it.
fn monitored(rendered: &Rendered) -> Vec<String> {
    let mut found = Vec::new();
    for monitor in rendered.of("PodMonitor") {
        let label = monitor["spec"]["jobLabel"].as_str().unwrap_or_default();
        if rendered.hub()["spec"]["template"]["metadata"]["labels"][label] != "rivulet" {
            found.push(format!("{} does not scrape the job `rivulet`", title(monitor)));
        }
        for endpoint in list(&monitor["spec"]["podMetricsEndpoints"]) {
            let hub = containers(rendered.hub())[0];
            if !list(&hub["ports"]).any(|port| port["name"] == endpoint["port"]) {
                found.push(format!("{}: no pod has the port {}", title(monitor), endpoint["port"]));
            }
        }
    }
    found
}

/// Every port of a Service leads to one that a container has.
pub(super) fn service_ports_have_targets(rendered: &Rendered) -> Vec<String> {
    let mut found = Vec::new();
    for service in rendered.of("Service") {
        let pods = rendered.selected(&service["spec"]["selector"]);
        let own: Vec<&Value> =
            pods.into_iter().flat_map(containers).flat_map(|container| list(&container["ports"])).collect();
        for port in list(&service["spec"]["ports"]) {
            if !own.iter().any(|own| own["name"] == port["targetPort"]) {
                found.push(format!("{}: nobody has the port {}", title(service), port["targetPort"]));
            }
        }
    }
    found
}

/// Volumes, variables and certificates name what there is, and what is mounted is a volume.
pub(super) fn what_is_mounted_is_there(rendered: &Rendered) -> Vec<String> {
    let mut found = Vec::new();
    for workload in rendered.workloads() {
        let (pod, name) = (pod(workload), title(workload));
        for volume in list(&pod["volumes"]) {
            if let Some(map) = volume["configMap"]["name"].as_str()
                && rendered.find("ConfigMap", map).is_none()
            {
                found.push(format!("{name}: there is no ConfigMap {map}"));
            }
        }
        let variables = containers(workload).into_iter().flat_map(|container| list(&container["env"]));
        let keys = variables.filter_map(|variable| variable["valueFrom"]["secretKeyRef"]["name"].as_str());
        let volumes = list(&pod["volumes"]).filter_map(|volume| volume["secret"]["secretName"].as_str());
        for secret in keys.chain(volumes) {
            if !SECRETS.contains(&secret) && rendered.find("Secret", secret).is_none() {
                found.push(format!("{name}: there is no Secret {secret}"));
            }
        }
        let claims = list(&workload["spec"]["volumeClaimTemplates"]).map(|claim| &claim["metadata"]["name"]);
        let volumes: Vec<&Value> =
            list(&pod["volumes"]).map(|volume| &volume["name"]).chain(claims).collect();
        for mount in containers(workload).into_iter().flat_map(|container| list(&container["volumeMounts"])) {
            if !volumes.contains(&&mount["name"]) || !mount["subPath"].is_null() {
                found.push(format!("{name}: {} is no volume that changes with its source", mount["name"]));
            }
        }
    }
    for certificate in rendered.of("Certificate") {
        let own = &certificate["spec"]["secretName"];
        if !list(&pod(rendered.hub())["volumes"]).any(|volume| volume["secret"]["secretName"] == *own) {
            found.push(format!("{}: nobody mounts {own}", title(certificate)));
        }
    }
    found
}
