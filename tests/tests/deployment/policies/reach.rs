//! The other side of `network`: what pods have to reach, and who has to reach them, is let through. What that is, is derived from
//! what was rendered: URLs, settings, ports, and who is there beside the hub.

use serde_json::{Value, json};

use super::{
    super::manifests::rendered::{Rendered, containers, list, pod, selects, title, variable},
    network::policies_of,
};

/// One end of a connection.
#[derive(Clone, Copy)]
enum End<'a> {
    /// Pods of what was rendered.
    Pods(&'a Value),
    /// Pods of another namespace.
    Namespace(&'static str),
    /// Somewhere else: only what is open to everybody is open to it.
    Elsewhere,
}

/// A connection without which something does not work.
#[derive(Clone, Copy)]
struct Connection<'a> {
    from: End<'a>,
    to: End<'a>,
    port: u64,
    protocol: &'static str,
    /// Whose it is, for messages.
    whose: &'static str,
}

fn tcp<'a>(from: End<'a>, to: End<'a>, port: u64, whose: &'static str) -> Connection<'a> {
    Connection { from, to, port, protocol: "TCP", whose }
}

/// The same by both protocols: what is too long for UDP is asked again by TCP.
fn names_from(from: End<'_>) -> [Connection<'_>; 2] {
    let dns = tcp(from, End::Elsewhere, 53, "DNS");
    [Connection { protocol: "UDP", ..dns }, dns]
}

/// Hosts and ports of a URL, which may name several.
fn hosts(url: &str) -> Vec<(&str, u64)> {
    let (scheme, rest) = url.split_once("://").expect("a URL");
    let usual = match scheme {
        "http" => 80,
        "https" => 443,
        scheme if scheme.contains("sentinel") => 26_379,
        _ => 6_379,
    };
    let hosts = rest.split('/').next().and_then(|rest| rest.rsplit('@').next()).expect("a first part");
    let host = |host| match str::rsplit_once(host, ':') {
        Some((name, port)) => (name, port.parse().expect("a port")),
        None => (host, usual),
    };
    hosts.split(',').map(host).collect()
}

/// The pods behind the Service that a name speaks of: `redis`, `redis-0.redis`.
fn behind<'a>(rendered: &'a Rendered, host: &str) -> End<'a> {
    let name = host.split_once('.').map_or(host, |(_, service)| service);
    let service = rendered.find("Service", name);
    let pods = service.map(|service| rendered.selected(&service["spec"]["selector"])).unwrap_or_default();
    if let [workload] = pods[..] { End::Pods(workload) } else { End::Elsewhere }
}

/// The ports of a workload's pods that have this name, or all of them.
fn ports<'a>(workload: &'a Value, name: Option<&'a str>) -> impl Iterator<Item = u64> + 'a {
    let ports = containers(workload).into_iter().flat_map(|container| list(&container["ports"]));
    let named = ports.filter(move |port| name.is_none_or(|name| port["name"] == name));
    named.filter_map(|port| port["containerPort"].as_u64())
}

/// Whether keys of issuers come by https: then from anywhere.
fn fetches_keys(rendered: &Rendered) -> bool {
    let settings = rendered.settings();
    let has = |name: &str| settings.contains_key(name);
    let issuers = settings.get("trusted-issuer").map(ToString::to_string).unwrap_or_default();
    has("publisher-jwks-url") || has("subscriber-jwks-url") || issuers.contains("jwks:https://")
}

/// What the hub's nodes connect to.
fn of_the_hub(rendered: &Rendered) -> Vec<Connection<'_>> {
    let hub = rendered.hub();
    let from = End::Pods(hub);
    let mut found = names_from(from).to_vec();
    // Elsewhere, as in docs/kubernetes.md, if the URL stands in a Secret.
    let redis = variable(hub, "RIVULET_REDIS_URL").unwrap_or("rediss://redis.example.com");
    found.extend(
        hosts(redis).into_iter().map(|(host, port)| tcp(from, behind(rendered, host), port, "Redis")),
    );
    // Sentinels only say where the servers are.
    for workload in rendered.workloads() {
        found
            .extend(ports(workload, Some("redis")).map(|port| tcp(from, End::Pods(workload), port, "Redis")));
    }
    let spans = variable(hub, "OTEL_EXPORTER_OTLP_ENDPOINT").map(hosts).unwrap_or_default();
    found.extend(spans.into_iter().map(|(host, port)| tcp(from, behind(rendered, host), port, "spans")));
    if fetches_keys(rendered) {
        found.push(tcp(from, End::Elsewhere, 443, "JWK Sets"));
    }
    found
}

/// Who connects to the hub's nodes.
fn to_the_hub(rendered: &Rendered) -> Vec<Connection<'_>> {
    let hub = rendered.hub();
    let to = End::Pods(hub);
    let mut found: Vec<_> =
        ports(hub, Some("hub")).map(|port| tcp(End::Elsewhere, to, port, "clients")).collect();
    for endpoint in
        rendered.of("PodMonitor").flat_map(|monitor| list(&monitor["spec"]["podMetricsEndpoints"]))
    {
        let from = End::Namespace("monitoring");
        found.extend(ports(hub, endpoint["port"].as_str()).map(|port| tcp(from, to, port, "Prometheus")));
    }
    found
}

/// What Redis' servers, and who joins them, connect to.
fn of_redis(rendered: &Rendered) -> Vec<Connection<'_>> {
    let mut found = Vec::new();
    for servers in rendered.of("StatefulSet") {
        let to = End::Pods(servers);
        for port in ports(servers, None).filter(|_| servers["spec"]["replicas"].as_u64() > Some(1)) {
            found.push(tcp(to, to, port, "servers of each other"));
        }
        for job in rendered.of("Job") {
            found.extend(ports(servers, Some("redis")).map(|port| tcp(End::Pods(job), to, port, "the Job")));
        }
        // Those of a cluster know each other by address.
        if ports(servers, Some("sentinel")).next().is_some() {
            found.extend(names_from(to));
        }
    }
    found
}

/// What the collector of traces sends on to.
fn of_the_collector(rendered: &Rendered) -> Vec<Connection<'_>> {
    let Some(collector) = rendered.find("Deployment", "otel-collector") else { return Vec::new() };
    // Its name ends with a hash of what it holds.
    let map = list(&pod(collector)["volumes"]).find_map(|volume| volume["configMap"]["name"].as_str());
    let map = map.and_then(|name| rendered.find("ConfigMap", name)).expect("it has a configuration");
    let text = map["data"]["config.yaml"].as_str().expect("a file in it");
    let config: Value = serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}"));
    let endpoint = config["exporters"]["otlp"]["endpoint"].as_str().expect("somebody keeps the traces");
    let from = End::Pods(collector);
    let (host, port) = endpoint.rsplit_once(':').expect("a port");
    let port = port.parse().expect("a port");
    names_from(from).into_iter().chain([tcp(from, behind(rendered, host), port, "spans sent on")]).collect()
}

/// What sidecars connect to: every pod may get one, unless it says no.
fn of_sidecars(rendered: &Rendered) -> Vec<Connection<'_>> {
    let has_mesh = rendered.of("DestinationRule").next().is_some();
    let labels = |workload: &Value| workload["spec"]["template"]["metadata"]["labels"].clone();
    let gets_one =
        |workload: &&Value| has_mesh && labels(workload)["sidecar.istio.io/inject"] != json!("false");
    let istiod = End::Namespace("istio-system");
    let from = rendered.workloads().filter(gets_one);
    from.map(|workload| tcp(End::Pods(workload), istiod, 15_012, "the sidecar's istiod")).collect()
}

/// Whether a rule speaks of the port of a connection, by number or by the name that it has where it leads.
fn has_port(rule: &Value, connection: &Connection<'_>) -> bool {
    let is_it = |named: &Value| match (named, connection.to) {
        (Value::String(name), End::Pods(workload)) => {
            ports(workload, Some(name)).any(|port| port == connection.port)
        }
        (number, _) => *number == connection.port,
    };
    let mut ports = list(&rule["ports"]);
    let protocol = |named: &Value| named["protocol"].as_str().unwrap_or("TCP") == connection.protocol;
    ports.clone().next().is_none() || ports.any(|named| protocol(named) && is_it(&named["port"]))
}

/// Whether one who is named in a rule is the other end.
fn is_peer(peer: &Value, other: End<'_>) -> bool {
    let (pods, namespaces) = (&peer["podSelector"], &peer["namespaceSelector"]);
    let every = json!({});
    match other {
        End::Elsewhere => peer["ipBlock"]["cidr"] == "0.0.0.0/0",
        End::Namespace(name) => {
            let labels = &namespaces["matchLabels"];
            pods.is_null()
                && (*namespaces == every || *labels == json!({ "kubernetes.io/metadata.name": name }))
        }
        End::Pods(workload) => {
            let own_namespace = namespaces.is_null() && !pods.is_null();
            let selected = pods.is_null() || *pods == every || selects(&pods["matchLabels"], workload);
            selected && (own_namespace || *namespaces == every)
        }
    }
}

/// What shuts a connection out at one of its ends, if that has policies for the direction and none of their rules lets it
/// through.
fn shut_out(
    rendered: &Rendered,
    connection: &Connection<'_>,
    direction: &'static str,
    (own, other): (End<'_>, End<'_>),
) -> Option<String> {
    let End::Pods(workload) = own else { return None };
    let (rules, peers) = if direction == "Ingress" { ("ingress", "from") } else { ("egress", "to") };
    let holds = |policy: &&Value| list(&policy["spec"]["policyTypes"]).any(|kind| kind == direction);
    let policies: Vec<_> = policies_of(rendered, workload).into_iter().filter(holds).collect();
    let lets = |rule: &Value| {
        let mut named = list(&rule[peers]);
        has_port(rule, connection)
            && (named.clone().next().is_none() || named.any(|peer| is_peer(peer, other)))
    };
    let is_open = policies.iter().any(|policy| list(&policy["spec"][rules]).any(lets));
    (!policies.is_empty() && !is_open).then(|| {
        let Connection { port, protocol, whose, .. } = connection;
        format!("{direction} of {} has no rule for {whose} ({protocol} {port})", title(workload))
    })
}

/// See the head of this file.
pub(super) fn who_needs_somebody_reaches_them(rendered: &Rendered) -> Vec<String> {
    let all = [of_the_hub, to_the_hub, of_redis, of_the_collector, of_sidecars];
    let connections = all.into_iter().flat_map(|these| these(rendered));
    let both = connections.flat_map(|connection| {
        let Connection { from, to, .. } = connection;
        let out = shut_out(rendered, &connection, "Egress", (from, to));
        [out, shut_out(rendered, &connection, "Ingress", (to, from))]
    });
    both.flatten().collect()
}

#[test]
fn hosts_of_urls_are_read() {
    for (url, wanted) in [
        ("rediss://rivulet:PASSWORD@redis.example.com", vec![("redis.example.com", 6_379)]),
        ("redis+sentinel://a.redis:1,b.redis/rivulet", vec![("a.redis", 1), ("b.redis", 26_379)]),
        ("http://otel-collector:4318", vec![("otel-collector", 4_318)]),
        ("https://collector.example.com/v1", vec![("collector.example.com", 443)]),
    ] {
        assert_eq!(hosts(url), wanted, "{url}");
    }
}
