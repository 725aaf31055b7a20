//! A real node with the settings, the environment and the files that Kubernetes would give it.

use std::{net::SocketAddr, path::Path, process::Command};

use rivulet_tests::{
    PATIENCE, certificates::Authority, eventually, hub, metrics, port, process::Process, redis::RedisServer,
};
use serde_json::Value;

use super::{
    matrix::{combined, directory},
    rendered::{Rendered, containers, list},
};

/// What the downward API would say.
fn downward(variable: &Value) -> Option<String> {
    let from = &variable["valueFrom"];
    match from["fieldRef"]["fieldPath"].as_str() {
        Some("metadata.name") => return Some("rivulet-0".to_owned()),
        Some("metadata.namespace") => return Some("hub".to_owned()),
        Some("spec.nodeName") => return Some("machine".to_owned()),
        Some(other) => panic!("nobody says {other}"),
        None => {}
    }
    // Cores, rounded up, at least one: a test needs no more.
    (from["resourceFieldRef"]["resource"] == "requests.cpu").then(|| "1".to_owned())
}

/// The hub's environment, with references to variables that stand before resolved as the kubelet does.
fn environment(rendered: &Rendered) -> Vec<(String, String)> {
    let mut environment: Vec<(String, String)> = Vec::new();
    for variable in list(&containers(rendered.hub())[0]["env"]) {
        let name = variable["name"].as_str().expect("a variable has a name").to_owned();
        let written = variable["value"].as_str().map(str::to_owned);
        let secret = variable["valueFrom"]["secretKeyRef"]["name"].as_str().map(|_| String::new());
        let value = written.or_else(|| downward(variable)).or(secret);
        let mut value = value.unwrap_or_else(|| panic!("{name} has no value"));
        for (before, known) in &environment {
            value = value.replace(&format!("$({before})"), known);
        }
        assert!(!value.contains("$("), "{name} refers to what does not stand before it: {value}");
        environment.push((name, value));
    }
    environment
}

/// Writes what is mounted below `dir`, at the same paths.
fn mount(rendered: &Rendered, dir: &Path) {
    let write = |path: &str, text: &str| {
        let path = dir.join(path);
        std::fs::create_dir_all(path.parent().expect("it has a directory")).expect("it can be made");
        std::fs::write(path, text).expect("it can be written");
    };
    let map = rendered.find("ConfigMap", "rivulet").expect("there are settings");
    write("etc/rivulet/rivulet.toml", map["data"]["rivulet.toml"].as_str().expect("a file"));
    for key in ["publisher", "subscriber"] {
        write(&format!("etc/rivulet-keys/{key}"), "a-key-of-the-tests-0123456789abcdefghijklmn");
    }
    let authority = Authority::of(&["hub"]);
    for (name, file) in [("tls.crt", "hub.crt"), ("tls.key", "hub.key")] {
        let pem = std::fs::read_to_string(authority.file(file)).expect("it was made");
        write(&format!("etc/rivulet-tls/{name}"), &pem);
    }
}

/// The hub as it would be started, but for addresses, the place of files, and the URL of Redis.
fn command(rendered: &Rendered, dir: &Path, admin: SocketAddr, redis: Option<&str>) -> Command {
    mount(rendered, dir);
    let mut command = hub::command();
    let help = hub::command().arg("--help").output().expect("rivulet runs");
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    let etc = dir.join("etc").display().to_string();
    for (name, value) in environment(rendered) {
        let known = !name.starts_with("RIVULET_") || help.contains(&format!("[env: {name}]"));
        assert!(known, "{}: {name} is no setting", rendered.name);
        let value = match name.as_str() {
            "RIVULET_LISTEN" => port::free().to_string(),
            "RIVULET_ADMIN_LISTEN" => admin.to_string(),
            "RIVULET_REDIS_URL" => redis.map_or(value, str::to_owned),
            // Nobody answers there: spans are lost, and nothing else.
            "OTEL_EXPORTER_OTLP_ENDPOINT" => format!("http://{}", port::free()),
            _ => value.replace("/etc", &etc),
        };
        command.env(name, value);
    }
    command
}

async fn starts(rendered: &Rendered) {
    let redis = RedisServer::start().await;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let admin = port::free();
    let mut command = command(rendered, dir.path(), admin, Some(&redis.url()));
    // One server without replicas stands for any Redis here.
    command.env("RIVULET_REDIS_WAIT_REPLICAS", "0");
    let _process = Process::start(&mut command, &dir.path().join("log"));
    eventually(format!("{} is ready", rendered.name), PATIENCE, || async {
        let log = || std::fs::read_to_string(dir.path().join("log")).unwrap_or_default();
        match metrics::get(admin, "/ready") {
            Ok((200, _)) => Ok(()),
            other => Err(format!("{other:?}\n{}", log())),
        }
    })
    .await;
}

#[tokio::test]
async fn a_real_node_starts_with_what_each_overlay_gives_it() {
    for name in ["base", "overlays/dev", "overlays/production"] {
        starts(&directory(name)).await;
    }
}

#[tokio::test]
async fn a_real_node_starts_with_what_components_give_it() {
    for name in ["cert-manager", "otel-collector"] {
        starts(&combined(&[name]).unwrap_or_else(|said| panic!("{name}: {said}"))).await;
    }
}

/// No cluster is here: the node cannot find Redis, which exits with 69 if it is not to wait, but it has understood where that is; what it does
/// not understand exits with 64.
#[test]
fn a_real_node_understands_where_each_kind_of_redis_is() {
    for name in ["redis", "sentinel", "redis-cluster"] {
        let rendered = combined(&[name]).unwrap_or_else(|said| panic!("{name}: {said}"));
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut hub = command(&rendered, dir.path(), port::free(), None);
        hub.env("RIVULET_REDIS_START_WAIT", "0s");
        let mut bounded = Command::new("timeout");
        bounded.args(["30"]).arg(hub.get_program());
        for (name, value) in hub.get_envs() {
            match value {
                Some(value) => bounded.env(name, value),
                None => bounded.env_remove(name),
            };
        }
        let output = bounded.output().expect("timeout can be started");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(69), "{name}: {said}");
    }
}
