//! The page of Kubernetes: its commands work, in the order in which they stand there, and it tells of all that there is.

use std::{collections::BTreeSet, path::Path, process::Command};

use rivulet_tests::{
    repository::{root, text},
    tools::tool,
};
use serde_json::Value;

use super::{
    matrix::{combined_with, directories, kustomize},
    rendered::{containers, list, pod, title},
};

fn page() -> String {
    text("docs/kubernetes.md")
}

/// The commands of the page: all lines of its blocks for shells, also of those in lists.
fn commands(page: &str) -> Vec<String> {
    let blocks = page.split("```sh\n").skip(1).map(|rest| rest.split("```").next().expect("a first part"));
    let lines = blocks.flat_map(|block| {
        block.replace("\\\n", " ").lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>()
    });
    lines.filter(|line| !line.is_empty()).collect()
}

/// What an API server would have been given, in the order of the page.
#[derive(Default)]
struct Cluster {
    /// Namespace, kind and name; namespaces are in none.
    objects: BTreeSet<[String; 3]>,
}

impl Cluster {
    fn has(&self, namespace: &str, kind: &str, name: &str) -> bool {
        self.objects.contains(&[namespace, kind, name].map(str::to_owned))
    }

    /// Takes what is applied at once, in its order, if its namespace is there, and secrets are before the pods that need them.
    fn apply(&mut self, documents: &[Value]) -> Result<(), String> {
        for document in documents {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let namespace = text(&document["metadata"]["namespace"]);
            if !namespace.is_empty() && !self.has("", "Namespace", &namespace) {
                return Err(format!("{}: there is no namespace {namespace}", title(document)));
            }
            for secret in secrets(document) {
                if !self.has(&namespace, "Secret", secret) {
                    return Err(format!("{}: there is no secret {secret}", title(document)));
                }
            }
            self.objects.insert([namespace, text(&document["kind"]), text(&document["metadata"]["name"])]);
        }
        Ok(())
    }

    /// What a command asks of the API server; `None` if it needs none, and can be run.
    fn ask(&mut self, command: &str, directory: &Path) -> Option<Result<(), String>> {
        let words: Vec<&str> = command.split(' ').collect();
        match words[..] {
            ["kubectl", "apply", "-f", file] => Some(self.apply(&read(&directory.join(file)))),
            ["kubectl", "apply", "-k", overlay] => {
                let yaml = kustomize(&directory.join(overlay));
                Some(yaml.and_then(|yaml| self.apply(&documents(&yaml))))
            }
            ["kubectl", "-n", namespace, "rollout", _, what] => {
                let (kind, name) = what.split_once('/').expect("a kind and a name");
                let kind = if kind == "deployment" { "Deployment" } else { kind };
                let is_there = self.has(namespace, kind, name);
                Some(is_there.then_some(()).ok_or(format!("there is no {what} in {namespace}")))
            }
            _ => None,
        }
    }
}

/// The secrets that the pods of a workload mount or read.
fn secrets(document: &Value) -> Vec<&str> {
    let mounted = list(&pod(document)["volumes"]).map(|volume| &volume["secret"]["secretName"]);
    let variables = containers(document).into_iter().flat_map(|container| list(&container["env"]));
    let read = variables.map(|variable| &variable["valueFrom"]["secretKeyRef"]["name"]);
    mounted.chain(read).filter_map(Value::as_str).collect()
}

fn documents(yaml: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(yaml).unwrap_or_else(|error| panic!("{error}"))
}

fn read(file: &Path) -> Vec<Value> {
    documents(&std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display())))
}

/// Runs commands one after the other, in a copy of what the page works in: they write files, and change the manifests.
fn run(commands: &[String]) -> Result<Cluster, String> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let copied = Command::new("cp").arg("-r").arg(root().join("k8s")).arg(dir.path()).status().expect("cp");
    assert!(copied.success());
    let tools = tool("kubectl").parent().expect("a directory").to_owned();
    let path = format!("{}:{}", tools.display(), std::env::var("PATH").expect("there is a PATH"));
    let mut cluster = Cluster::default();
    for command in commands {
        if let Some(answer) = cluster.ask(command, dir.path()) {
            answer.map_err(|said| format!("{command}: {said}"))?;
            continue;
        }
        let mut shell = Command::new("sh");
        shell.args(["-euc", command]).current_dir(dir.path()).env("PATH", &path);
        let output = shell.output().expect("there is a shell");
        if !output.status.success() {
            return Err(format!("{command}: {}", String::from_utf8_lossy(&output.stderr)));
        }
    }
    Ok(cluster)
}

#[test]
fn every_command_of_the_page_works_after_those_before_it() {
    let commands = commands(&page());
    assert!(commands.len() >= 10, "{commands:?}");
    let cluster = run(&commands).unwrap_or_else(|said| panic!("{said}"));
    let pods = [("Secret", "rivulet-redis"), ("Secret", "rivulet-keys"), ("Deployment", "rivulet")];
    for (kind, name) in pods {
        assert!(cluster.has("rivulet", kind, name), "the page does not lead to {kind} {name}");
    }
}

#[test]
fn what_comes_too_early_is_found() {
    let all = commands(&page());
    let place = |start: &str| {
        let place = all.iter().position(|command| command.starts_with(start));
        place.unwrap_or_else(|| panic!("no command begins with {start}: {all:?}"))
    };
    let namespace = place("kubectl apply -f k8s/overlays/production/namespace.yaml");
    let secrets = place("kubectl apply -f secrets.yaml");
    let rollout = place("kubectl apply -k k8s/overlays/production");
    for (without, says) in [
        (namespace, "there is no namespace rivulet"),
        (secrets, "there is no secret rivulet-"),
        (rollout, "there is no deployment/rivulet"),
    ] {
        let mut commands = all.clone();
        let left = commands.remove(without);
        let said = run(&commands).map(|cluster| cluster.objects).expect_err("a step is missing");
        assert!(said.contains(says), "without {left}: {said}");
    }
}

#[test]
fn the_page_tells_of_every_component_and_overlay() {
    let page = page();
    for (below, names) in ["components", "overlays"].map(|below| (below, directories(below))) {
        for name in names {
            assert!(
                page.contains(&format!("`{name}`")),
                "docs/kubernetes.md does not tell of {below}/{name}"
            );
        }
    }
}

#[test]
fn the_patch_for_kube_prometheus_stack_labels_what_it_selects() {
    let page = page();
    let (_, told) = page.split_once("**kube-prometheus-stack**").expect("the page tells of it");
    let block = told.split("```").nth(1).and_then(|block| block.strip_prefix("yaml\n")).expect("a patch");
    let rendered = combined_with(&["monitoring"], block).unwrap_or_else(|said| panic!("{said}"));
    for document in &rendered.documents {
        let selected = ["PodMonitor", "PrometheusRule"].iter().any(|kind| document["kind"] == *kind);
        let label = &document["metadata"]["labels"]["release"];
        assert_eq!(label == "kube-prometheus-stack", selected, "{}: {label}", title(document));
    }
    assert!(
        rendered.find("PodMonitor", "rivulet").is_some()
            && rendered.find("PrometheusRule", "rivulet").is_some()
    );
}
