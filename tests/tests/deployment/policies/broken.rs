//! Each policy finds what it is for: one thing at a time is broken in what was rendered, and exactly that is said.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    super::manifests::{matrix::combined, rendered::Rendered},
    violations,
};

/// What is broken: in `combination`, the member at `place` of the document `kind name` becomes `value`; null removes it.
struct Break {
    combination: &'static [&'static str],
    document: (&'static str, &'static str),
    place: &'static str,
    value: Value,
    says: &'static str,
}

const POD: &str = "/spec/template/spec";

fn broken(document: &mut Value, place: &str, value: Value) {
    let (parent, member) = place.rsplit_once('/').expect("a place below the top");
    let parent = document.pointer_mut(parent).unwrap_or_else(|| panic!("there is no {parent}"));
    match parent {
        Value::Array(members) => members[member.parse::<usize>().expect("an index")] = value,
        Value::Object(members) if value.is_null() => drop(members.remove(&member.replace("~1", "/"))),
        Value::Object(members) => drop(members.insert(member.replace("~1", "/"), value)),
        other => panic!("{other} has no members"),
    }
}

/// Breaks each and compares what is said.
fn check(breaks: Vec<Break>) {
    let mut known: BTreeMap<String, Rendered> = BTreeMap::new();
    for one in breaks {
        let combination = one.combination.join(" + ");
        let rendered = known
            .entry(combination)
            .or_insert_with(|| combined(one.combination).unwrap_or_else(|said| panic!("{said}")))
            .clone();
        assert_eq!(violations(&rendered), [""; 0], "nothing is broken yet");
        let mut rendered = rendered;
        let (kind, name) = one.document;
        let is_it = |document: &&mut Value| document["kind"] == kind && document["metadata"]["name"] == name;
        let document = rendered.documents.iter_mut().find(is_it);
        let document = document.unwrap_or_else(|| panic!("there is no {kind} {name}"));
        let place = one.place.replace("POD", POD);
        broken(document, &place, one.value.clone());
        let found = violations(&rendered);
        let says = found.iter().any(|found| found.contains(one.says));
        assert!(says, "{kind} {name}, {place} = {}: {:?} is not in {found:?}", one.value, one.says);
    }
}

fn hub(place: &'static str, value: Value, says: &'static str) -> Break {
    Break { combination: &[], document: ("Deployment", "rivulet"), place, value, says }
}

fn of(kind: &'static str, place: &'static str, value: Value, says: &'static str) -> Break {
    Break { combination: &[], document: (kind, "rivulet"), place, value, says }
}

fn with(
    combination: &'static [&'static str],
    document: (&'static str, &'static str),
    place: &'static str,
    value: Value,
    says: &'static str,
) -> Break {
    Break { combination, document, place, value, says }
}

#[test]
fn a_pod_that_may_too_much_is_found() {
    let image = "POD/containers/0/image";
    let security = "POD/containers/0/securityContext/readOnlyRootFilesystem";
    check(vec![
        hub(image, json!("ghcr.io/rivulet-sse/rivulet:latest"), "no exact version"),
        hub(image, json!("ghcr.io/rivulet-sse/rivulet"), "no exact version"),
        hub(image, json!("host:5000/rivulet:0.1"), "no exact version"),
        hub("POD/securityContext/runAsNonRoot", json!(null), "may run as root"),
        hub("POD/securityContext/runAsUser", json!(0), "may run as root"),
        hub("POD/securityContext/seccompProfile", json!(null), "no seccomp profile"),
        hub("POD/automountServiceAccountToken", json!(true), "given a token"),
        hub("POD/enableServiceLinks", json!(null), "addresses of services"),
        hub("POD/hostNetwork", json!(true), "shares something"),
        hub("POD/volumes/0", json!({ "name": "config", "hostPath": { "path": "/" } }), "shares something"),
        hub("POD/containers/0/ports/0/hostPort", json!(3000), "a port of its machine"),
        hub(security, json!(false), "may do more"),
        hub("POD/containers/0/securityContext/capabilities/add", json!(["NET_ADMIN"]), "may do more"),
        hub("POD/containers/0/resources/limits", json!(null), "no limit of memory"),
        hub("POD/containers/0/resources/limits/memory", json!("1Mi"), "less than it requests"),
        hub("POD/containers/0/resources/limits/cpu", json!("1"), "a limit of CPU"),
        hub("POD/containers/0/resources/requests/cpu", json!(null), "requests nothing"),
    ]);
}

#[test]
fn a_pod_that_lives_or_ends_badly_is_found() {
    let budget = "/spec/selector/matchLabels/app.kubernetes.io~1name";
    let stop = json!({ "preStop": { "sleep": { "seconds": 10 } } });
    check(vec![
        hub("POD/containers/0/startupProbe", json!(null), "no startupProbe"),
        hub("POD/containers/0/readinessProbe/httpGet/port", json!("hub2"), "no readinessProbe that can work"),
        hub("POD/containers/0/livenessProbe/httpGet/path", json!("/ready"), "does not ask /live"),
        hub("POD/containers/0/readinessProbe/httpGet/path", json!("/live"), "does not ask /ready"),
        hub("POD/terminationGracePeriodSeconds", json!(60), "a drain needs 105"),
        hub("POD/terminationGracePeriodSeconds", json!(null), "a drain needs 105"),
        hub("POD/containers/0/env", json!([]), "drain times"),
        hub("POD/containers/0/lifecycle", stop.clone(), "a drain needs 115"),
        hub("POD/containers/0/lifecycle", stop, "one after the other"),
        hub("/spec/strategy/rollingUpdate/maxUnavailable", json!(1), "takes nodes away"),
        hub("/spec/strategy", json!(null), "takes nodes away"),
        hub("/spec/minReadySeconds", json!(null), "does not wait"),
        hub("/spec/minReadySeconds", json!(59), "minReadySeconds is 59"),
        hub(
            "POD/topologySpreadConstraints/0/topologyKey",
            json!("x"),
            "not spread over topology.kubernetes.io/zone",
        ),
        hub(
            "POD/topologySpreadConstraints/1/labelSelector",
            json!(null),
            "not spread over kubernetes.io/hostname",
        ),
        of("PodDisruptionBudget", budget, json!("hub"), "no budget of one pod"),
        of("PodDisruptionBudget", "/spec/maxUnavailable", json!(2), "no budget of one pod"),
    ]);
}

#[test]
fn a_network_that_is_open_is_found() {
    let everybody = json!({ "ports": [{ "port": "admin" }] });
    check(vec![
        of("NetworkPolicy", "/spec/policyTypes", json!(["Ingress"]), "is open"),
        of("NetworkPolicy", "/spec/podSelector/matchLabels", json!({}), "is open"),
        of(
            "NetworkPolicy",
            "/spec/ingress/0",
            json!({ "ports": [{ "port": 80 }] }),
            "speaks of port \"hub\"",
        ),
        of("NetworkPolicy", "/spec/egress/1", json!({}), "connect to any port"),
        of("NetworkPolicy", "/spec/ingress/1/from", json!(null), "everybody reaches the admin port"),
        of("NetworkPolicy", "/spec/ingress/0", everybody, "everybody reaches the admin port"),
        of("NetworkPolicy", "/spec/ingress/0", json!({}), "everybody reaches the admin port"),
        of("Service", "/spec/ports/0/targetPort", json!("admin"), "leads to the admin port"),
        of("Service", "/spec/ports/0/targetPort", json!(9180), "leads to the admin port"),
        with(
            &["redis"],
            ("NetworkPolicy", "redis"),
            "/spec/podSelector",
            json!({}),
            "StatefulSet redis is open",
        ),
    ]);
}

/// A rule that opens nothing that anybody needs.
fn shut() -> Value {
    json!({ "ports": [{ "port": 1 }] })
}

#[test]
fn a_network_that_cuts_the_hub_off_is_found() {
    let policy = |place, value, says| of("NetworkPolicy", place, value, says);
    let strangers = json!([{ "podSelector": { "matchLabels": { "app": "a" } } }]);
    let namespace = "/spec/ingress/1/from/0/namespaceSelector/matchLabels/kubernetes.io~1metadata.name";
    let redis =
        |place, value| with(&["redis"], ("NetworkPolicy", "redis"), place, value, "for Redis (TCP 6379)");
    let sentinel = |place, says| with(&["sentinel"], ("NetworkPolicy", "rivulet"), place, json!(1), says);
    let spans = |policy, place, value| {
        with(&["otel-collector"], ("NetworkPolicy", policy), place, value, "for spans")
    };
    check(vec![
        policy("/spec/egress/0", shut(), "for DNS (UDP 53)"),
        policy("/spec/egress/0/ports/1/port", json!(54), "for DNS (TCP 53)"),
        policy("/spec/egress/0/ports/0/protocol", json!(null), "for DNS (UDP 53)"),
        policy("/spec/egress/1", shut(), "for Redis (TCP 6379)"),
        policy("/spec/egress/1/to", strangers.clone(), "for Redis (TCP 6379)"),
        policy("/spec/ingress/0/from", strangers.clone(), "for clients (TCP 3000)"),
        policy("/spec/ingress/0", shut(), "for clients (TCP 3000)"),
        with(&["monitoring"], ("NetworkPolicy", "rivulet"), namespace, json!("metrics"), "for Prometheus"),
        redis("/spec/ingress/0", shut()),
        redis("/spec/ingress/0/from", strangers.clone()),
        sentinel("/spec/egress/1/ports/0/port", "for Redis (TCP 6379)"),
        sentinel("/spec/egress/1/ports/1/port", "for Redis (TCP 26379)"),
        spans("rivulet", "/spec/egress/2/ports/1/port", json!(1)),
        spans("rivulet", "/spec/egress/2/to", strangers.clone()),
        spans("otel-collector", "/spec/ingress/0/from", strangers),
        spans("otel-collector", "/spec/egress/1", shut()),
    ]);
}

#[test]
fn a_network_that_cuts_off_what_is_beside_the_hub_is_found() {
    let label = "/spec/template/metadata/labels/sidecar.istio.io~1inject";
    let sentinel = |place, says| with(&["sentinel"], ("NetworkPolicy", "redis"), place, shut(), says);
    let cluster = |place, says| with(&["redis-cluster"], ("NetworkPolicy", "redis"), place, shut(), says);
    let sidecar = |document, place, value| {
        with(
            &["istio", "redis", "otel-collector"],
            document,
            place,
            value,
            "for the sidecar's istiod (TCP 15012)",
        )
    };
    check(vec![
        sentinel("/spec/ingress/0/from/1", "for servers of each other (TCP 26379)"),
        sentinel("/spec/egress/0", "for servers of each other (TCP 6379)"),
        sentinel("/spec/egress/1", "for DNS (UDP 53)"),
        cluster("/spec/ingress/0/from/1", "for the Job (TCP 6379)"),
        cluster("/spec/ingress/1/ports/1", "for servers of each other (TCP 16379)"),
        cluster("/spec/egress/0", "for servers of each other (TCP 16379)"),
        sidecar(("NetworkPolicy", "rivulet-sidecar"), "/spec/egress/0", shut()),
        sidecar(("StatefulSet", "redis"), label, json!(null)),
        sidecar(("Deployment", "otel-collector"), label, json!("true")),
    ]);
}

#[test]
fn a_network_that_keeps_keys_of_issuers_away_is_found() {
    let mut base = combined(&[]).unwrap_or_else(|said| panic!("{said}"));
    let place = |rendered: &Rendered, kind: &str| {
        rendered.documents.iter().position(|document| document["kind"] == kind).expect("there is one")
    };
    let (policy, map) = (place(&base, "NetworkPolicy"), place(&base, "ConfigMap"));
    broken(&mut base.documents[policy], "/spec/egress/3", shut());
    assert_eq!(violations(&base), [""; 0], "no set of keys is asked for");
    let settings = base.documents[map]["data"]["rivulet.toml"].as_str().expect("a file").to_owned();
    for line in [
        "publisher-jwks-url = \"https://example.com/keys\"",
        "trusted-issuer = [\"https://example.com=jwks:https://example.com/keys\"]",
    ] {
        let mut rendered = base.clone();
        rendered.documents[map]["data"]["rivulet.toml"] = json!(format!("{line}\n{settings}"));
        let found = violations(&rendered);
        assert!(found.iter().any(|found| found.contains("for JWK Sets (TCP 443)")), "{line}: {found:?}");
    }
}

#[test]
fn what_refers_to_nothing_is_found() {
    let name = "/spec/selector/matchLabels/app.kubernetes.io~1name";
    let labels = "/spec/template/metadata/labels/app.kubernetes.io~1name";
    let monitoring: &[&str] = &["monitoring"];
    let monitor = ("PodMonitor", "rivulet");
    let keys = json!({ "name": "keys", "secret": { "secretName": "keys" } });
    let map = json!({ "name": "config", "configMap": { "name": "settings" } });
    check(vec![
        hub(labels, json!("hub"), "does not select its own pods"),
        hub(name, json!("hub"), "does not select its own pods"),
        of(
            "Service",
            "/spec/selector",
            json!({ "app": "rivulet" }),
            "does not select the pods of one workload",
        ),
        of("Service", "/spec/ports/0/targetPort", json!("http"), "nobody has the port"),
        hub("POD/volumes/1", keys, "there is no Secret keys"),
        hub("POD/volumes/0", map, "there is no ConfigMap settings"),
        hub("POD/containers/0/volumeMounts/0/name", json!("settings"), "is no volume"),
        hub("POD/containers/0/volumeMounts/0/subPath", json!("rivulet.toml"), "changes with its source"),
        hub("POD/containers/0/env/3/valueFrom/secretKeyRef/name", json!("redis"), "there is no Secret redis"),
        with(monitoring, monitor, "/spec/jobLabel", json!("app"), "does not scrape the job"),
        with(
            monitoring,
            monitor,
            "/spec/podMetricsEndpoints/0/port",
            json!("metrics"),
            "no pod has the port",
        ),
        with(
            &["cert-manager"],
            ("Certificate", "rivulet"),
            "/spec/secretName",
            json!("tls"),
            "nobody mounts",
        ),
        with(
            &["redis"],
            ("Service", "redis"),
            "/metadata/name",
            json!("rivulet"),
            "Service rivulet is there twice",
        ),
    ]);
}

#[test]
fn what_scales_badly_is_found() {
    let scaler = "HorizontalPodAutoscaler";
    let pods = "/spec/metrics/0/pods";
    let keda: &[&str] = &["keda"];
    let object = ("ScaledObject", "rivulet");
    let query = "/spec/triggers/0/metadata/query";
    let window = "/spec/advanced/horizontalPodAutoscalerConfig/behavior/scaleDown/stabilizationWindowSeconds";
    check(vec![
        hub("/spec/replicas", json!(3), "a fixed number: true"),
        of(scaler, "/kind", json!("Autoscaler"), "decided on by []"),
        of(scaler, "/spec/scaleTargetRef/name", json!("hub"), "scales"),
        of(scaler, "/spec/metrics/0/pods/metric/name", json!("rivulet_streams_total"), "docs/metrics.md"),
        of(scaler, "/spec/metrics/0/pods/target/averageValue", json!("19000"), "aims at 19000"),
        of(scaler, pods, json!({}), "aims at 0"),
        of(scaler, "/spec/metrics", json!([]), "goes by nothing"),
        of(scaler, "/spec/behavior", json!(null), "takes nodes away at once"),
        with(keda, object, query, json!("sum(connections{job=\"rivulet\"})"), "docs/metrics.md"),
        with(keda, object, "/spec/triggers/0/metadata/threshold", json!("30000"), "aims at 30000"),
        with(keda, object, window, json!(60), "takes nodes away at once"),
    ]);
}

#[test]
fn a_front_that_cuts_streams_is_found() {
    let nginx =
        |place, value, says| with(&["ingress-nginx"], ("Ingress", "rivulet-nginx"), place, value, says);
    let traefik =
        |place, value, says| with(&["ingress-traefik"], ("IngressRoute", "rivulet"), place, value, says);
    let gateway = |place, value, says| with(&["gateway"], ("HTTPRoute", "rivulet"), place, value, says);
    let istio = |place, value, says| with(&["istio"], ("VirtualService", "rivulet"), place, value, says);
    let rule = |place, value, says| with(&["istio"], ("DestinationRule", "rivulet"), place, value, says);
    let haproxy =
        |place, value, says| with(&["ingress-haproxy"], ("Ingress", "rivulet-haproxy"), place, value, says);
    check(vec![
        gateway("/spec/rules/0/timeouts", json!(null), "cuts streams"),
        gateway("/spec/rules/0/timeouts/request", json!("30s"), "cuts streams"),
        gateway("/spec/rules/0/retry", json!({ "attempts": 2 }), "repeats publishes"),
        gateway("/spec/rules/0/backendRefs/0/port", json!(3000), "leads nowhere"),
        istio("/spec/http/0/timeout", json!(null), "cuts streams"),
        istio("/spec/http/0/retries", json!(null), "repeats publishes"),
        istio("/spec/http/0/route/0/destination/host", json!("hub"), "leads nowhere"),
        nginx(
            "/metadata/annotations/nginx.ingress.kubernetes.io~1proxy-read-timeout",
            json!("20"),
            "cuts streams",
        ),
        nginx(
            "/metadata/annotations/nginx.ingress.kubernetes.io~1proxy-buffering",
            json!(null),
            "holds events back",
        ),
        nginx(
            "/metadata/annotations/nginx.ingress.kubernetes.io~1proxy-next-upstream",
            json!("error non_idempotent"),
            "repeats publishes",
        ),
        nginx("/spec/rules/0/http/paths/0/backend/service/port/name", json!("https"), "leads nowhere"),
        haproxy("/metadata/annotations/haproxy.org~1timeout-server", json!(null), "cuts streams"),
        haproxy("/metadata/annotations/haproxy.org~1load-balance", json!(null), "leaves new nodes empty"),
        haproxy(
            "/metadata/annotations/haproxy.org~1abortonclose",
            json!(null),
            "keeps clients that are gone",
        ),
        rule("/spec/trafficPolicy/loadBalancer/simple", json!("ROUND_ROBIN"), "leaves new nodes empty"),
        traefik("/spec/routes/0/services/0/strategy", json!(null), "leaves new nodes empty"),
        traefik("/spec/routes/0/middlewares", json!([{ "name": "compress" }]), "may hold events back"),
        traefik("/spec/routes/0/services/0/responseForwarding", json!(null), "holds events back"),
        traefik("/spec/routes/0/services/0/serversTransport", json!("x"), "no ServersTransport x"),
        traefik("/spec/routes/0/services/0/name", json!("hub"), "leads nowhere"),
    ]);
}

#[test]
fn tls_at_the_hub_and_a_front_that_speaks_plain_http_are_found() {
    for front in ["gateway", "ingress-nginx", "ingress-haproxy", "ingress-traefik", "istio"] {
        let rendered = combined(&["cert-manager", front]).unwrap_or_else(|said| panic!("{said}"));
        let found = violations(&rendered);
        assert!(found.iter().any(|found| found.contains("speaks TLS")), "{front}: {found:?}");
    }
}

#[test]
fn two_that_scale_the_hub_are_found() {
    let mut rendered = combined(&["keda"]).unwrap_or_else(|said| panic!("{said}"));
    assert_eq!(rendered.of("HorizontalPodAutoscaler").count(), 0, "KEDA's component takes the base's away");
    let base = combined(&[]).unwrap_or_else(|said| panic!("{said}"));
    rendered.documents.extend(base.of("HorizontalPodAutoscaler").cloned());
    let found = violations(&rendered);
    assert!(found.iter().any(|found| found.contains("decided on by")), "{found:?}");
}
