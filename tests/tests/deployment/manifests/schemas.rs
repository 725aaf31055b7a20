//! Every rendered document against the schemas of its kind: what no schema knows, no controller would ever look at.

use std::{
    collections::BTreeMap,
    io::Write as _,
    path::PathBuf,
    process::{Command, Stdio},
};

use rivulet_tests::{repository::root, tools::tool};
use serde_json::{Value, json};

use super::rendered::Rendered;

/// The oldest release of Kubernetes that the manifests are for, and the newest whose schemas there are.
const VERSIONS: [&str; 2] = ["1.34", "1.37"];

/// What a validator says of what it is given.
fn judged(program: PathBuf, script: &str, given: &Value) -> Vec<String> {
    let mut process = Command::new(program)
        .arg(root().join("tests").join(script))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the validator can be started");
    let mut input = process.stdin.take().expect("it is piped");
    input.write_all(given.to_string().as_bytes()).expect("the validator reads");
    drop(input);
    let output = process.wait_with_output().expect("the validator ends");
    assert!(output.status.success(), "{script} failed");
    serde_json::from_slice(&output.stdout).expect("the validator answers JSON")
}

/// What Kubernetes itself has against these documents.
fn by_kubernetes(documents: &[Value]) -> Vec<String> {
    let given = json!({ "versions": VERSIONS, "documents": documents });
    judged(tool("python3"), "tools/kubernetes.py", &given)
}

/// What the definitions of custom resources have against these documents.
fn by_definitions(documents: &[Value]) -> Vec<String> {
    judged("node".into(), "js/custom-resources.mjs", &Value::from(documents))
}

/// Kinds of Kubernetes' own: their groups have no dot, or end with its domain.
fn is_of_kubernetes(document: &Value) -> bool {
    let version = document["apiVersion"].as_str().expect("a document has an apiVersion");
    let Some((group, _)) = version.split_once('/') else { return true };
    !group.contains('.') || (group.ends_with(".k8s.io") && group != "gateway.networking.k8s.io")
}

/// What is wrong with what was rendered, each different document judged once.
pub(crate) fn mistakes(all: &[Rendered]) -> Vec<String> {
    let documents = all.iter().flat_map(|rendered| &rendered.documents);
    let different: BTreeMap<String, Value> =
        documents.map(|document| (document.to_string(), document.clone())).collect();
    let (own, custom): (Vec<_>, Vec<_>) = different.into_values().partition(is_of_kubernetes);
    for kind in ["Deployment", "StatefulSet", "NetworkPolicy", "HorizontalPodAutoscaler", "Job", "Ingress"] {
        assert!(own.iter().any(|document| document["kind"] == kind), "there is no {kind}");
    }
    for kind in ["HTTPRoute", "ScaledObject", "PodMonitor", "PrometheusRule", "IngressRoute", "Certificate"] {
        assert!(custom.iter().any(|document| document["kind"] == kind), "there is no {kind}");
    }
    let mut found = by_kubernetes(&own);
    found.extend(by_definitions(&custom));
    found
}

#[test]
fn what_no_schema_knows_is_found() {
    let service =
        |spec| json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "a" }, "spec": spec });
    assert_eq!(by_kubernetes(&[service(json!({ "ports": [{ "port": 80 }] }))]), [""; 0]);
    let found =
        by_kubernetes(&[service(json!({ "prts": [] })), service(json!({ "ports": [{ "port": "x" }] }))]);
    assert_eq!(found.len(), 4, "two versions, two mistakes: {found:?}");
    let route = |timeouts| {
        let rules = json!([{ "timeouts": timeouts, "backendRefs": [{ "name": "a", "port": 80 }] }]);
        json!({ "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": { "name": "a" },
            "spec": { "rules": rules } })
    };
    assert_eq!(by_definitions(&[route(json!({ "request": "0s" }))]), [""; 0]);
    for wrong in [json!({ "reqest": "0s" }), json!({ "request": "never" })] {
        assert_eq!(by_definitions(&[route(wrong.clone())]).len(), 1, "{wrong}");
    }
    let strange = json!({ "apiVersion": "example.com/v1", "kind": "A", "metadata": { "name": "a" } });
    assert_eq!(by_definitions(&[strange]), ["A a: nobody knows example.com/v1"]);
}
