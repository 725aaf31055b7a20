//! Containers of what was rendered, as processes. Each pod has a loopback address of its own instead of a name, listens there
//! on the ports that the manifests know, and has its volumes in a temporary directory.
//!
//! What is rewritten: names of pods, paths of volumes, and where a server listens (a pod has all addresses for itself).

use std::{path::PathBuf, process::Command};

use rivulet_tests::process::Process;
use serde_json::Value;
use tempfile::TempDir;

use super::{
    matrix::combined,
    rendered::{Rendered, containers, list, pod},
};

/// One cluster, as far as the processes of a component are concerned.
pub(super) struct Machine {
    rendered: Rendered,
    /// Three octets of loopback that no other test has.
    network: [u8; 3],
    dir: TempDir,
}

impl Machine {
    pub(super) fn with(component: &str) -> Self {
        let rendered = combined(&[component]).unwrap_or_else(|said| panic!("{component}: {said}"));
        let network = [127, rand::random_range(1..=250), rand::random_range(1..=250)];
        Self { rendered, network, dir: tempfile::tempdir().expect("a temporary directory") }
    }

    /// The address of `redis-NUMBER`.
    pub(super) fn ip(&self, number: usize) -> String {
        let [a, b, c] = self.network;
        format!("{a}.{b}.{c}.{}", number + 1)
    }

    fn volume(&self, pod: &str, name: &str) -> PathBuf {
        self.dir.path().join(pod).join(name)
    }

    /// A text of the manifests with addresses and paths of this machine.
    fn local(&self, text: &str, pod: &str, mounts: &[&Value]) -> String {
        let mut text = text.to_owned();
        for number in 0..10 {
            text = text.replace(&format!("redis-{number}.redis"), &self.ip(number));
        }
        for mount in mounts {
            let [path, name] = ["mountPath", "name"].map(|member| mount[member].as_str().expect("a text"));
            text = text.replace(path, &self.volume(pod, name).to_string_lossy());
        }
        text
    }

    /// Makes the volumes of a pod where they are not there yet, with what a ConfigMap holds.
    fn mount(&self, workload: &Value, own: &str, ip: &str, mounts: &[&Value]) {
        for mount in mounts {
            let name = mount["name"].as_str().expect("a name");
            let directory = self.volume(own, name);
            // Another container of the pod may be reading what is there.
            if directory.exists() {
                continue;
            }
            std::fs::create_dir_all(&directory).expect("a temporary directory");
            let volume = list(&pod(workload)["volumes"]).find(|volume| volume["name"] == name);
            let map = volume.and_then(|volume| volume["configMap"]["name"].as_str());
            let map = map.map(|map| self.rendered.find("ConfigMap", map).expect("it was rendered"));
            for (file, text) in map.and_then(|map| map["data"].as_object()).into_iter().flatten() {
                let mut text = self.local(text.as_str().expect("a text"), own, mounts);
                if file == "redis.conf" {
                    text = format!("{text}\nbind {ip}\nbind-source-addr {ip}\n");
                }
                let text = text.replace("port 26379\n", &format!("port 26379\nbind {ip}\n"));
                std::fs::write(directory.join(file), text).expect("a temporary directory");
            }
        }
    }

    /// Starts a container of the pod `redis-NUMBER` of a StatefulSet, or of a Job.
    pub(super) fn start(&self, (kind, name): (&str, &str), number: usize, container: &str) -> Process {
        let (own, ip) = (format!("{name}-{number}"), self.ip(number));
        let workload = self.rendered.find(kind, name).expect("it was rendered");
        let all = containers(workload);
        let mut mounts: Vec<_> = all.iter().flat_map(|one| list(&one["volumeMounts"])).collect();
        // One may lie in another.
        mounts.sort_by_key(|mount| std::cmp::Reverse(mount["mountPath"].as_str()));
        mounts.dedup_by_key(|mount| mount["mountPath"].as_str());
        let container = all.into_iter().find(|one| one["name"] == container).expect("it was rendered");
        self.mount(workload, &own, &ip, &mounts);
        let mut environment: Vec<(String, String)> = Vec::new();
        let expand = |text: &str, known: &[(String, String)]| {
            let expanded = known
                .iter()
                .fold(text.to_owned(), |text, (name, value)| text.replace(&format!("$({name})"), value));
            self.local(&expanded, &own, &mounts)
        };
        for variable in list(&container["env"]) {
            let value = match variable["valueFrom"]["fieldRef"]["fieldPath"].as_str() {
                Some("metadata.name") => own.clone(),
                Some("status.podIP") => ip.clone(),
                _ => expand(variable["value"].as_str().expect("a value"), &environment),
            };
            environment.push((variable["name"].as_str().expect("a name").to_owned(), value));
        }
        let words = list(&container["command"]).map(|word| word.as_str().expect("a text"));
        let words: Vec<String> = words.map(|word| expand(word, &environment)).collect();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).envs(environment).current_dir(self.dir.path());
        Process::start(&mut command, &self.log(name, number, &container["name"]))
    }

    /// What happens to volumes when a pod goes: those of its own are gone, claims stay.
    pub(super) fn forget(&self, name: &str, number: usize) {
        let workload = self.rendered.find("StatefulSet", name).expect("it was rendered");
        for volume in list(&pod(workload)["volumes"]).filter(|volume| volume["emptyDir"].is_object()) {
            let directory =
                self.volume(&format!("{name}-{number}"), volume["name"].as_str().expect("a name"));
            std::fs::remove_dir_all(directory).expect("it was made");
        }
    }

    fn log(&self, name: &str, number: usize, container: &Value) -> PathBuf {
        self.dir.path().join(format!("{name}-{number}-{}.log", container.as_str().expect("a name")))
    }

    /// What a container has written since its last start.
    pub(super) fn said(&self, name: &str, number: usize, container: &str) -> String {
        std::fs::read_to_string(self.log(name, number, &Value::from(container))).unwrap_or_default()
    }
}
