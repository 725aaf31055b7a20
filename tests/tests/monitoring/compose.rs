//! The composition: no container engine is here, so its shape is checked by what the Compose specification says, and its
//! nodes' environment by starting a real node with it.

use std::collections::BTreeSet;

use rivulet_tests::{PATIENCE, eventually, hub, metrics, port, process::Process, redis::RedisServer};
use serde_json::{Map, Value};

use super::shipped::{member, root, yaml};

/// The members of a service, of those that the specification has, that are used.
const MEMBERS: [&str; 14] = [
    "image",
    "restart",
    "depends_on",
    "read_only",
    "cap_drop",
    "security_opt",
    "stop_grace_period",
    "ulimits",
    "deploy",
    "environment",
    "ports",
    "command",
    "volumes",
    "healthcheck",
];

fn services() -> Map<String, Value> {
    yaml("docker-compose.yml")["services"].as_object().expect("there are services").clone()
}

/// The nodes of the hub.
fn nodes() -> Vec<(String, Value)> {
    services().into_iter().filter(|(name, _)| name.starts_with("rivulet-")).collect()
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().map(|text| text.as_str().expect("a text")).collect()
}

#[test]
fn every_service_is_pinned_bounded_and_of_known_members() {
    let services = services();
    let top = yaml("docker-compose.yml");
    for member in top.as_object().expect("a mapping").keys() {
        let known = ["name", "services", "volumes"].contains(&member.as_str()) || member.starts_with("x-");
        assert!(known, "{member}");
    }
    for (name, service) in &services {
        let strange: Vec<_> = service.as_object().expect("a mapping").keys().collect();
        let strange: Vec<_> = strange.iter().filter(|member| !MEMBERS.contains(&member.as_str())).collect();
        assert!(strange.is_empty(), "{name}: {strange:?}");
        let tag = member(service, "image").rsplit_once(':').expect("a tag").1;
        assert!(tag.matches('.').count() == 2, "{name}: {tag} is no exact version");
        let limits = &service["deploy"]["resources"]["limits"];
        assert!(limits["cpus"].is_string() && limits["memory"].is_string(), "{name}: {limits}");
        if !name.starts_with("rivulet-") {
            let test = texts(&service["healthcheck"]["test"]);
            assert_eq!(test.first(), Some(&"CMD"), "{name}: {test:?}");
        }
        for needed in service["depends_on"].as_object().into_iter().flatten().map(|(needed, _)| needed) {
            assert!(services[needed]["healthcheck"].is_object(), "{name} waits for the health of {needed}");
        }
    }
    assert_eq!(nodes().len(), 3);
}

#[test]
fn ports_are_distinct_and_of_this_machine_only() {
    let mut taken = BTreeSet::new();
    for (name, service) in services() {
        for published in texts(&service["ports"]) {
            let parts: Vec<&str> = published.split(':').collect();
            let [address, port, _] = parts[..] else { panic!("{name}: {published}") };
            assert_eq!(address, "127.0.0.1", "{name}: everything is open in development mode");
            assert!(taken.insert(port.to_owned()), "{name}: {port} is taken");
        }
    }
    for port in ["4317", "4318", "16686", "9090", "3001", "9181"] {
        assert!(taken.contains(port), "{port} is not published");
    }
    let header = std::fs::read_to_string(root().join("docker-compose.yml")).expect("it can be read");
    let header: String = header.lines().take_while(|line| line.starts_with('#')).collect();
    let silent: Vec<_> = taken.iter().filter(|port| !header.contains(port.as_str())).collect();
    assert!(silent.is_empty(), "the header does not explain {silent:?}");
}

#[test]
fn what_is_mounted_is_there() {
    let volumes = yaml("docker-compose.yml")["volumes"].as_object().expect("there are volumes").clone();
    let mut mounted = Vec::new();
    for (name, service) in services() {
        for volume in texts(&service["volumes"]) {
            let source = volume.split(':').next().expect("a first part").to_owned();
            if source.starts_with("./") {
                assert!(root().join(&source).is_file(), "{name}: {source}");
                assert!(volume.ends_with(":ro"), "{name}: {volume} may be written");
            } else {
                assert!(volumes.contains_key(&source), "{name}: {source}");
            }
            mounted.push(source);
        }
    }
    assert!(mounted.contains(&"./k8s/monitoring/rules.yaml".to_owned()), "{mounted:?}");
    let configuration = yaml("k8s/monitoring/prometheus.yml");
    assert_eq!(texts(&configuration["rule_files"]), ["rules.yaml"], "it lies beside the configuration");
}

#[test]
fn prometheus_scrapes_every_node_and_every_node_exports_to_jaeger() {
    let configuration = yaml("k8s/monitoring/prometheus.yml");
    let job = &configuration["scrape_configs"][0];
    assert_eq!(job["job_name"], "rivulet", "the rules say so");
    let targets: Vec<String> =
        texts(&job["static_configs"][0]["targets"]).into_iter().map(str::to_owned).collect();
    let nodes = nodes();
    let wanted: Vec<String> = nodes.iter().map(|(name, _)| format!("{name}:9180")).collect();
    assert_eq!(targets, wanted);
    let services = services();
    for (name, node) in nodes {
        let environment = &node["environment"];
        assert_eq!(environment["OTEL_EXPORTER_OTLP_ENDPOINT"], "http://jaeger:4318", "{name}");
        assert_eq!(environment["OTEL_RESOURCE_ATTRIBUTES"], format!("service.instance.id={name}"));
        assert_eq!(environment["RIVULET_ADMIN_LISTEN"], "0.0.0.0:9180", "{name}");
        assert_eq!(environment["RIVULET_REDIS_URL"], "redis://redis:6379", "{name}");
    }
    assert!(services.contains_key("jaeger") && services.contains_key("redis"));
}

#[tokio::test]
async fn a_node_starts_with_the_environment_of_the_composition() {
    let redis = RedisServer::start().await;
    let (address, admin) = (port::free().to_string(), port::free());
    let (name, node) = nodes().remove(0);
    let mut command = hub::command();
    let names = hub::command().arg("--help").output().expect("rivulet runs");
    let help = String::from_utf8_lossy(&names.stdout).into_owned();
    for (variable, value) in node["environment"].as_object().expect("there is an environment") {
        assert!(
            !variable.starts_with("RIVULET_") || help.contains(&format!("[env: {variable}]")),
            "{variable}"
        );
        command.env(variable, value.as_str().unwrap_or_else(|| panic!("{variable} is no text: {value}")));
    }
    // What has other names here than between the containers.
    command.env("RIVULET_LISTEN", address).env("RIVULET_ADMIN_LISTEN", admin.to_string());
    command
        .env("RIVULET_REDIS_URL", redis.url())
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{}", port::free()));
    let dir = tempfile::tempdir().expect("a temporary directory");
    let _process = Process::start(&mut command, &dir.path().join("log"));
    eventually(format!("{name} is ready"), PATIENCE, || async {
        let log = || std::fs::read_to_string(dir.path().join("log")).unwrap_or_default();
        match metrics::get(admin, "/ready") {
            Ok((200, _)) => Ok(()),
            other => Err(format!("{other:?}\n{}", log())),
        }
    })
    .await;
}
