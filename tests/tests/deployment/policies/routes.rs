//! What stands in front: streams are not cut, events are not held back, publishes are not repeated, new nodes get their share
//! where one can say so, and nobody speaks plain HTTP to a hub that speaks TLS.

use serde_json::Value;

use super::super::manifests::rendered::{Rendered, list, seconds, title, variable};

/// The hub's own default; what is silent for that long gets a heartbeat.
const HEARTBEAT_SECONDS: u64 = 15;

/// Whether a time without a byte outlives two heartbeats, so that one that is late does no harm.
fn outlives_silence(rendered: &Rendered, text: &Value) -> bool {
    let settings = rendered.settings();
    let heartbeat = settings.get("heartbeat").and_then(toml::Value::as_str).and_then(seconds);
    text.as_str().and_then(seconds).is_some_and(|time| time >= 2 * heartbeat.unwrap_or(HEARTBEAT_SECONDS))
}

/// Whether there is a Service of this name with this port, by name or number.
fn leads(rendered: &Rendered, service: &Value, port: &Value) -> bool {
    let found = service.as_str().and_then(|name| rendered.find("Service", name));
    found.is_some_and(|found| {
        list(&found["spec"]["ports"]).any(|own| own["port"] == *port || own["name"] == *port)
    })
}

fn http_route(rendered: &Rendered, route: &Value, found: &mut Vec<String>) {
    for rule in list(&route["spec"]["rules"]) {
        if rule["timeouts"]["request"] != "0s" || rule["timeouts"]["backendRequest"] != "0s" {
            found.push(format!("{} cuts streams", title(route)));
        }
        if !rule["retry"].is_null() {
            found.push(format!("{} repeats publishes", title(route)));
        }
        if list(&rule["backendRefs"]).any(|to| !leads(rendered, &to["name"], &to["port"])) {
            found.push(format!("{} leads nowhere", title(route)));
        }
    }
}

fn virtual_service(rendered: &Rendered, route: &Value, found: &mut Vec<String>) {
    for rule in list(&route["spec"]["http"]) {
        if rule["timeout"] != "0s" {
            found.push(format!("{} cuts streams", title(route)));
        }
        if rule["retries"]["attempts"] != 0 {
            found.push(format!("{} repeats publishes", title(route)));
        }
        let mut destinations = list(&rule["route"]).map(|route| &route["destination"]);
        if destinations.any(|to| !leads(rendered, &to["host"], &to["port"]["number"])) {
            found.push(format!("{} leads nowhere", title(route)));
        }
    }
}

/// How a mesh chooses among the nodes.
fn destination_rule(_: &Rendered, rule: &Value, found: &mut Vec<String>) {
    if rule["spec"]["trafficPolicy"]["loadBalancer"]["simple"] != "LEAST_REQUEST" {
        found.push(format!("{} leaves new nodes empty", title(rule)));
    }
}

fn ingress(rendered: &Rendered, route: &Value, found: &mut Vec<String>) {
    let annotations = &route["metadata"]["annotations"];
    let class = route["spec"]["ingressClassName"].as_str().unwrap_or_default();
    let silence = match class {
        "nginx" => &annotations["nginx.ingress.kubernetes.io/proxy-read-timeout"],
        "haproxy" => &annotations["haproxy.org/timeout-server"],
        _ => &Value::Null,
    };
    if !outlives_silence(rendered, silence) {
        found.push(format!("{} cuts streams", title(route)));
    }
    if class == "nginx" {
        let text = |name: &str| {
            annotations[format!("nginx.ingress.kubernetes.io/{name}")].as_str().unwrap_or_default()
        };
        if text("proxy-buffering") != "off" {
            found.push(format!("{} holds events back", title(route)));
        }
        if text("proxy-next-upstream").contains("non_idempotent") {
            found.push(format!("{} repeats publishes", title(route)));
        }
    }
    if class == "haproxy" {
        if annotations["haproxy.org/load-balance"] != "leastconn" {
            found.push(format!("{} leaves new nodes empty", title(route)));
        }
        if annotations["haproxy.org/abortonclose"] != "true" {
            found.push(format!("{} keeps clients that are gone", title(route)));
        }
    }
    let paths = list(&route["spec"]["rules"]).flat_map(|rule| list(&rule["http"]["paths"]));
    for to in paths.map(|path| &path["backend"]["service"]) {
        if !leads(rendered, &to["name"], &to["port"]["name"]) {
            found.push(format!("{} leads nowhere", title(route)));
        }
    }
}

fn ingress_route(rendered: &Rendered, route: &Value, found: &mut Vec<String>) {
    let rules = list(&route["spec"]["routes"]);
    if rules.clone().any(|rule| list(&rule["middlewares"]).next().is_some()) {
        found.push(format!("{} may hold events back", title(route)));
    }
    for to in rules.flat_map(|rule| list(&rule["services"])) {
        if !leads(rendered, &to["name"], &to["port"]) {
            found.push(format!("{} leads nowhere", title(route)));
        }
        if to["strategy"] != "p2c" {
            found.push(format!("{} leaves new nodes empty", title(route)));
        }
        if !to["responseForwarding"]["flushInterval"].as_str().is_some_and(|time| time.starts_with('-')) {
            found.push(format!("{} holds events back", title(route)));
        }
        let transport = to["serversTransport"].as_str().unwrap_or_default();
        if rendered.find("ServersTransport", transport).is_none() {
            found.push(format!("{}: there is no ServersTransport {transport}", title(route)));
        }
    }
}

/// See the head of this file.
pub(super) fn streams_live_and_publishes_are_not_repeated(rendered: &Rendered) -> Vec<String> {
    type Judge = fn(&Rendered, &Value, &mut Vec<String>);
    let kinds: [(&str, Judge); 5] = [
        ("DestinationRule", destination_rule),
        ("HTTPRoute", http_route),
        ("VirtualService", virtual_service),
        ("Ingress", ingress),
        ("IngressRoute", ingress_route),
    ];
    let mut found = Vec::new();
    let speaks_tls = variable(rendered.hub(), "RIVULET_TLS_CERT_FILE").is_some();
    for (kind, judge) in kinds {
        for route in rendered.of(kind) {
            judge(rendered, route, &mut found);
            if speaks_tls {
                found.push(format!("{} speaks plain HTTP to a hub that speaks TLS", title(route)));
            }
        }
    }
    found
}
