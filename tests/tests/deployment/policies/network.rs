//! Who may talk to whom: every port is spoken of, and the admin port is nobody's.

use serde_json::Value;

use super::super::manifests::rendered::{Rendered, containers, list, selects, title};

/// The policies that hold for a workload's pods.
pub(super) fn policies_of<'a>(rendered: &'a Rendered, workload: &'a Value) -> Vec<&'a Value> {
    let policies = rendered.of("NetworkPolicy");
    policies.filter(|policy| selects(&policy["spec"]["podSelector"]["matchLabels"], workload)).collect()
}

/// Whether a rule speaks of a container's port, by name or by number.
fn names(rule: &Value, port: &Value) -> bool {
    list(&rule["ports"]).any(|named| named["port"] == port["name"] || named["port"] == port["containerPort"])
}

/// Both directions are closed, and each port of each container is open to somebody.
pub(super) fn every_port_has_its_policy(rendered: &Rendered) -> Vec<String> {
    let mut found = Vec::new();
    let listens =
        |workload: &&Value| containers(workload).iter().any(|one| list(&one["ports"]).next().is_some());
    for workload in rendered.workloads().filter(listens) {
        let policies = policies_of(rendered, workload);
        let closes = |direction: &str| {
            policies.iter().any(|policy| list(&policy["spec"]["policyTypes"]).any(|kind| kind == direction))
        };
        if !closes("Ingress") || !closes("Egress") {
            found.push(format!("{} is open", title(workload)));
        }
        for port in containers(workload).into_iter().flat_map(|container| list(&container["ports"])) {
            let mut rules = policies.iter().flat_map(|policy| list(&policy["spec"]["ingress"]));
            if !rules.any(|rule| names(rule, port)) {
                found.push(format!("{}: no policy speaks of port {}", title(workload), port["name"]));
            }
        }
        let mut egress = policies.iter().flat_map(|policy| list(&policy["spec"]["egress"]));
        if egress.any(|rule| list(&rule["ports"]).next().is_none()) {
            found.push(format!("{} may connect to any port", title(workload)));
        }
    }
    found
}

/// The admin port is in no Service, and open to some only.
pub(super) fn the_admin_port_is_private(rendered: &Rendered) -> Vec<String> {
    let hub = rendered.hub();
    let container = containers(hub)[0];
    let Some(admin) = list(&container["ports"]).find(|port| port["name"] == "admin") else {
        return vec!["the hub has no admin port".to_owned()];
    };
    let mut found = Vec::new();
    let is_admin = |port: &Value| *port == admin["name"] || *port == admin["containerPort"];
    for service in rendered.of("Service").filter(|service| selects(&service["spec"]["selector"], hub)) {
        if list(&service["spec"]["ports"]).any(|port| is_admin(&port["targetPort"])) {
            found.push(format!("{} leads to the admin port", title(service)));
        }
    }
    let rules = policies_of(rendered, hub).into_iter().flat_map(|policy| list(&policy["spec"]["ingress"]));
    for rule in rules {
        let is_open = list(&rule["ports"]).next().is_none() || names(rule, admin);
        if is_open && list(&rule["from"]).next().is_none() {
            found.push("everybody reaches the admin port".to_owned());
        }
    }
    found
}
