//! What the manifests make of other files: alerts and dashboard, which have one source each, and the files that servers read.

use std::process::Command;

use rivulet_tests::{
    port,
    process::Process,
    repository::{root, text},
};
use serde_json::Value;

use super::{
    matrix::{combined, directories},
    rendered::Rendered,
};

fn with(component: &str) -> Rendered {
    combined(&[component]).unwrap_or_else(|said| panic!("{component}: {said}"))
}

#[test]
fn the_operators_rules_are_those_of_prometheus() {
    let rules: Value = serde_saphyr::from_str(&text("k8s/monitoring/rules.yaml")).expect("YAML");
    let rendered = with("monitoring");
    let rule = rendered.find("PrometheusRule", "rivulet").expect("there are rules");
    assert_eq!(rule["spec"], rules, "run k8s/components/monitoring/make");
}

#[test]
fn the_script_that_makes_the_operators_rules_has_been_run() {
    let rules = text("k8s/monitoring/rules.yaml");
    let groups = &rules[rules.find("\ngroups:").expect("there are groups") + 1..];
    let indented =
        groups.lines().map(|line| if line.is_empty() { line.to_owned() } else { format!("  {line}") });
    let indented: Vec<String> = indented.collect();
    let made = text("k8s/components/monitoring/prometheus-rule.yaml");
    assert!(
        made.ends_with(&format!("spec:\n{}\n", indented.join("\n"))),
        "run k8s/components/monitoring/make"
    );
}

#[test]
fn the_dashboard_is_the_one_that_is_tested() {
    let rendered = with("monitoring");
    let map = rendered.find("ConfigMap", "rivulet-dashboard").expect("there is a dashboard");
    assert_eq!(map["data"]["rivulet.json"], text("k8s/monitoring/dashboard.json"));
    assert_eq!(map["metadata"]["labels"]["grafana_dashboard"], "1", "Grafana's sidecar looks for it");
}

#[tokio::test]
async fn a_real_redis_takes_each_configuration() {
    for component in ["redis", "sentinel", "redis-cluster"] {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let data = dir.path().display().to_string();
        let configuration = text(&format!("k8s/components/{component}/redis.conf")).replace("/data", &data);
        std::fs::write(dir.path().join("redis.conf"), configuration).expect("it can be written");
        let [port, bus] = [(); 2].map(|()| port::free().port().to_string());
        let mut command = Command::new("redis-server");
        command.arg(dir.path().join("redis.conf")).args(["--bind", "127.0.0.1", "--port", &port]);
        // Else its bus listens on a port that nobody has drawn, ten thousand above.
        command.args(["--cluster-port", &bus]);
        let _server = Process::start(&mut command, &dir.path().join("log"));
        let said = || std::fs::read_to_string(dir.path().join("log")).unwrap_or_default();
        rivulet_tests::eventually(component, rivulet_tests::PATIENCE, || async {
            let asked = ["-p", &port, "config", "get", "maxmemory-policy"];
            let answer = Command::new("redis-cli").args(asked).output().map_err(|error| error.to_string())?;
            let answer = String::from_utf8_lossy(&answer.stdout).into_owned();
            if answer.contains("noeviction") { Ok(()) } else { Err(format!("{answer}\n{}", said())) }
        })
        .await;
    }
}

#[test]
fn every_script_is_one_of_a_plain_shell() {
    let mut scripts = Vec::new();
    for component in directories("components") {
        let names = directories(&format!("components/{component}"));
        let names = names.into_iter().filter(|name| name.ends_with(".sh") || name == "make");
        scripts.extend(names.map(|name| format!("k8s/components/{component}/{name}")));
    }
    assert_eq!(scripts.len(), 5, "{scripts:?}");
    for script in scripts {
        let output =
            Command::new("sh").arg("-n").arg(root().join(&script)).output().expect("there is a shell");
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
