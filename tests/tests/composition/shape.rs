//! What the composition says, without starting anything.

use std::{collections::BTreeSet, net::Ipv4Addr, path::Path, process::Command};

use regex::Regex;
use rivulet_tests::{hub, tools::tool};
use serde_json::Value;

use super::shipped::{nodes, profile, root, services, text, texts, yaml};

fn validate(path: &Path) -> (bool, String) {
    let mut command = Command::new(tool("check-jsonschema"));
    let output = command.args(["--builtin-schema", "vendor.compose-spec"]).arg(path).output();
    let output = output.expect("it runs");
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn it_is_valid_by_the_compose_specification() {
    let (valid, said) = validate(&root().join("docker-compose.yml"));
    assert!(valid, "{said}");
    // The validator would have told.
    let dir = tempfile::tempdir().expect("a temporary directory");
    let broken = dir.path().join("docker-compose.yml");
    let text = text("docker-compose.yml").replacen("    healthcheck:\n", "    healthchek:\n", 1);
    std::fs::write(&broken, text).expect("a temporary directory");
    let (valid, said) = validate(&broken);
    assert!(!valid && said.contains("healthchek"), "{said}");
}

#[test]
fn every_service_is_pinned_bounded_and_without_rights_that_it_does_not_need() {
    for (name, service) in services() {
        let image = service["image"].as_str().expect("an image");
        // Where several services build one image, each tags it, at the same time.
        assert_eq!(service["build"].is_object(), name == "rivulet-1", "{name}");
        if name.starts_with("rivulet-") {
            assert_eq!(image, "${RIVULET_IMAGE:-rivulet:local}", "{name}");
        } else {
            let tag = image.rsplit_once(':').expect("a tag").1;
            assert_eq!(tag.matches('.').count(), 2, "{name}: {tag} is no exact version");
        }
        let limits = &service["deploy"]["resources"]["limits"];
        assert!(limits["cpus"].is_string() && limits["memory"].is_string(), "{name}: {limits}");
        // Jaeger, Prometheus and Grafana run as their images have it.
        if !["jaeger", "prometheus", "grafana"].contains(&&*name) {
            assert_eq!(texts(&service["cap_drop"]), ["ALL"], "{name}");
            assert_eq!(service["read_only"], true, "{name}");
        }
    }
}

#[test]
fn whoever_is_waited_for_can_come_about() {
    let services = services();
    for (name, service) in &services {
        for (needed, how) in service["depends_on"].as_object().into_iter().flatten() {
            let other = &services[needed];
            let same = profile(other).is_none() || profile(other) == profile(service);
            assert!(same, "{name} needs {needed}, which its profile does not start");
            match how["condition"].as_str() {
                Some("service_healthy") => {
                    let test = texts(&other["healthcheck"]["test"]);
                    assert_eq!(test.first(), Some(&"CMD"), "{name} waits for the health of {needed}");
                }
                Some("service_completed_successfully") => {
                    let restart = other["restart"].as_str().expect("it says so");
                    assert!(restart == "no" || restart.starts_with("on-failure"), "{needed} never ends");
                }
                other => panic!("{name} waits for {needed}: {other:?}"),
            }
        }
    }
}

#[test]
fn ports_are_distinct_of_this_machine_only_and_those_of_the_header() {
    let mut taken = BTreeSet::new();
    for (name, service) in services() {
        for published in texts(&service["ports"]) {
            let parts: Vec<&str> = published.split(':').collect();
            let [address, port, _] = parts[..] else { panic!("{name}: {published}") };
            assert_eq!(address, "127.0.0.1", "{name}: everything is open in development mode");
            assert!(taken.insert(port.to_owned()), "{name}: {port} is taken");
        }
    }
    let text = text("docker-compose.yml");
    let header: Vec<&str> = text.lines().take_while(|line| line.starts_with('#')).collect();
    let number = Regex::new(r"\b\d{4,5}\b").expect("a pattern");
    let header = header.join("\n");
    let explained: BTreeSet<String> =
        number.find_iter(&header).map(|found| found.as_str().to_owned()).collect();
    assert_eq!(explained, taken, "left: the header, right: the services");
}

#[test]
fn what_is_mounted_is_there() {
    let volumes = yaml("docker-compose.yml")["volumes"].as_object().expect("there are volumes").clone();
    let (mut mounted, mut used) = (BTreeSet::new(), BTreeSet::new());
    for (name, service) in services() {
        for volume in texts(&service["volumes"]) {
            let source = volume.split(':').next().expect("a first part").to_owned();
            if source.starts_with("./") {
                assert!(root().join(&source).is_file(), "{name}: {source}");
                assert!(volume.ends_with(":ro"), "{name}: {volume} may be written");
                mounted.insert(source);
            } else {
                used.insert(source);
            }
        }
    }
    assert_eq!(used, volumes.keys().cloned().collect(), "left: used volumes, right: those that are made");
    for file in ["docs/proxies/nginx.conf", "docs/proxies/haproxy.cfg", "k8s/monitoring/rules.yaml"] {
        assert!(mounted.contains(&format!("./{file}")), "{file} is not mounted: {mounted:?}");
    }
    let configuration = yaml("k8s/monitoring/prometheus.yml");
    assert_eq!(texts(&configuration["rule_files"]), ["rules.yaml"], "it lies beside the configuration");
}

#[test]
fn every_variable_of_a_node_is_a_setting() {
    let help = hub::command().args(["serve", "--help"]).output().expect("rivulet runs");
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    for profile in [None, Some("sentinel"), Some("cluster")] {
        for (name, node) in nodes(profile) {
            for (variable, value) in node["environment"].as_object().expect("there is an environment") {
                assert!(value.is_string(), "{name}: {variable} is {value}: YAML would change it");
                let known = help.contains(&format!("[env: {variable}]"))
                    || help.contains(&format!("[env: {variable}="));
                assert!(known || variable.starts_with("OTEL_"), "{name}: {variable}");
            }
            assert_eq!(node["environment"]["OTEL_EXPORTER_OTLP_ENDPOINT"], "http://jaeger:4318", "{name}");
            let instance = format!("service.instance.id={name}");
            assert_eq!(node["environment"]["OTEL_RESOURCE_ATTRIBUTES"], instance);
        }
    }
}

fn seconds(value: &Value) -> u64 {
    let text = value.as_str().and_then(|text| text.strip_suffix('s')).expect("seconds");
    text.parse().expect("a number")
}

#[test]
fn a_node_has_the_time_to_drain() {
    for (name, node) in nodes(None) {
        let environment = &node["environment"];
        let drain =
            seconds(&environment["RIVULET_DRAIN_DELAY"]) + seconds(&environment["RIVULET_DRAIN_PERIOD"]);
        assert_eq!(seconds(&node["stop_grace_period"]), drain + 30, "{name}");
        assert_eq!(texts(&node["healthcheck"]["test"]), ["CMD", "/rivulet", "healthcheck"], "{name}");
    }
}

#[test]
fn nodes_trust_the_proxies_and_nobody_else() {
    let composition = yaml("docker-compose.yml");
    let config = &composition["networks"]["default"]["ipam"]["config"][0];
    assert_eq!(config["subnet"], "10.231.77.0/24");
    assert_eq!(config["ip_range"], "10.231.77.128/25", "others get the upper half");
    let mut fixed = BTreeSet::new();
    let mut proxies = Vec::new();
    for (name, service) in services() {
        let Some(address) = service["networks"]["default"]["ipv4_address"].as_str() else { continue };
        let octets = address.parse::<Ipv4Addr>().expect("an address").octets();
        assert!(octets[..3] == [10, 231, 77] && (2..128).contains(&octets[3]), "{name}: {address}");
        assert!(fixed.insert(octets), "{name}: {address} is taken");
        if ["nginx", "haproxy"].contains(&&*name) {
            proxies.push(address.to_owned());
        }
    }
    for (name, node) in nodes(None) {
        let trusted = node["environment"]["RIVULET_TRUSTED_PROXY"].as_str().expect("it names them");
        let trusted: Vec<&str> = trusted.split(' ').collect();
        assert!(
            trusted.len() == 2 && proxies.iter().all(|proxy| trusted.contains(&&**proxy)),
            "{name}: {trusted:?}"
        );
    }
}

#[test]
fn proxies_look_names_up_again_when_a_node_is_made_anew() {
    for proxy in ["nginx", "haproxy"] {
        let services = services();
        for (node, _) in nodes(None) {
            assert_eq!(services[proxy]["depends_on"][&node]["restart"], true, "{proxy}, {node}");
        }
    }
}

#[test]
fn a_profile_adds_what_it_says() {
    let named = |wanted: &str, start: &str| {
        let services = services();
        services
            .iter()
            .filter(|(name, service)| profile(service) == Some(wanted) && name.starts_with(start))
            .count()
    };
    assert_eq!(named("haproxy", ""), 1);
    let sentinel =
        [named("sentinel", "sentinel-redis-"), named("sentinel", "sentinel-"), named("sentinel", "rivulet-")];
    assert_eq!(sentinel, [3, 6, 2], "servers, with Sentinels, nodes");
    let cluster = [
        named("cluster", "cluster-redis-"),
        named("cluster", "cluster-create"),
        named("cluster", "rivulet-"),
    ];
    assert_eq!(cluster, [6, 1, 2], "servers, who joins them, nodes");
    let others: Vec<_> = services()
        .into_iter()
        .filter(|(_, service)| !matches!(profile(service), None | Some("haproxy" | "sentinel" | "cluster")))
        .collect();
    assert!(others.is_empty(), "{others:?}");
    assert_eq!(nodes(None).len(), 3);
}

#[test]
fn prometheus_scrapes_every_node_and_grafana_reads_what_there_is() {
    let configuration = yaml("k8s/monitoring/prometheus.yml");
    let job = &configuration["scrape_configs"][0];
    assert_eq!(job["job_name"], "rivulet", "the rules say so");
    let wanted: Vec<String> = nodes(None).iter().map(|(name, _)| format!("{name}:9180")).collect();
    assert_eq!(texts(&job["static_configs"][0]["targets"]), wanted);

    let services = services();
    let sources = yaml("k8s/monitoring/grafana-datasources.yaml");
    let sources = sources["datasources"].as_array().expect("a list");
    let uids: Vec<&str> = sources.iter().filter_map(|source| source["uid"].as_str()).collect();
    for source in sources {
        let url = source["url"].as_str().and_then(|url| url.strip_prefix("http://")).expect("a URL");
        let (host, port) = url.split_once(':').expect("a port");
        let ports = texts(&services[host]["ports"]);
        assert!(ports.iter().any(|published| published.ends_with(&format!(":{port}"))), "{url}: {ports:?}");
    }
    let led_to = &sources[0]["jsonData"]["exemplarTraceIdDestinations"][0];
    assert!(uids.contains(&led_to["datasourceUid"].as_str().expect("a source")), "{led_to}");
    let provider = yaml("k8s/monitoring/grafana-dashboards.yaml");
    let directory = provider["providers"][0]["options"]["path"].as_str().expect("a path").to_owned();
    let home = services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"].clone();
    let mounted = format!("./k8s/monitoring/dashboard.json:{}:ro", home.as_str().expect("a path"));
    assert!(texts(&services["grafana"]["volumes"]).contains(&&*mounted), "{mounted}");
    assert!(mounted.contains(&format!(":{directory}/")), "{mounted} is not in {directory}");
}
