//! The workflows of GitHub and GitLab: valid to their linters, in the order that a release needs, bounded, without more
//! rights than they use, and naming nothing that is not there.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

use regex::Regex;
use rivulet_tests::{
    repository::{root, text, yaml},
    tools::tool,
};
use serde_json::{Map, Value};

const CI: &str = ".github/workflows/ci.yml";
const RELEASE: &str = ".github/workflows/release.yml";
const GITLAB: &str = ".gitlab-ci.yml";
const FILES: [&str; 3] = [CI, RELEASE, GITLAB];

/// What every release does, in this order.
const RELEASE_ORDER: [&str; 7] = ["test", "scan", "build", "sign", "push", "release", "deploy"];

/// The jobs of a workflow of GitHub.
fn github(path: &str) -> Map<String, Value> {
    yaml(path)["jobs"].as_object().expect("there are jobs").clone()
}

/// The jobs of GitLab: what has a stage.
fn gitlab() -> BTreeMap<String, Value> {
    let file = yaml(GITLAB);
    let members = file.as_object().expect("a mapping").clone();
    members.into_iter().filter(|(_, member)| member["stage"].is_string()).collect()
}

/// One text or several.
fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

fn steps(job: &Value) -> Vec<Value> {
    job["steps"].as_array().cloned().unwrap_or_default()
}

/// Runs a linter at the top of the repository; it must find nothing.
fn finds_nothing(name: &str, arguments: &[&str]) {
    let mut command = Command::new(tool(name));
    let output = command.args(arguments).current_dir(root()).output().expect("a linter can be started");
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{name} {arguments:?}: {}", String::from_utf8_lossy(&said));
}

#[test]
fn linters_and_schemas_find_nothing() {
    finds_nothing("actionlint", &["-no-color", CI, RELEASE]);
    finds_nothing("check-jsonschema", &["--builtin-schema", "vendor.github-workflows", CI, RELEASE]);
    let transform = ["--builtin-schema", "vendor.gitlab-ci", "--data-transform", "gitlab-ci", GITLAB];
    finds_nothing("check-jsonschema", &transform);
}

#[test]
fn a_release_is_tested_scanned_built_signed_pushed_released_and_deployed_in_this_order() {
    let jobs = github(RELEASE);
    assert_eq!(jobs.keys().map(String::as_str).collect::<BTreeSet<_>>(), RELEASE_ORDER.into());
    for pair in RELEASE_ORDER.windows(2) {
        let [before, after] = pair else { unreachable!("windows of two") };
        assert!(texts(&jobs[*after]["needs"]).contains(before), "{after} does not wait for {before}");
    }
    assert_eq!(yaml(RELEASE)["on"]["push"]["tags"][0].as_str(), Some("v[0-9]+.[0-9]+.[0-9]+*"));
    assert_eq!(jobs["test"]["uses"], format!("./{CI}"), "what every commit has to pass");
    assert!(jobs["deploy"]["environment"].is_string(), "an environment has reviewers");

    let file = yaml(GITLAB);
    assert_eq!(texts(&file["stages"]), ["test", "scan", "build", "sign", "deploy"]);
    let used: BTreeSet<String> =
        gitlab().values().map(|job| job["stage"].as_str().expect("a stage").to_owned()).collect();
    assert_eq!(used, ["build", "deploy", "scan", "sign", "test"].map(str::to_owned).into());
    assert_eq!(texts(&gitlab()["production"]["needs"]), ["push", "sign"]);
    let rules = &gitlab()["production"]["rules"];
    assert_eq!(rules.as_array().map(Vec::len), Some(1));
    assert_eq!(rules[0]["when"], "manual", "somebody decides");
}

#[test]
fn an_image_is_signed_before_it_has_its_versions_name() {
    let named = "imagetools create --tag \"$IMAGE:${GITHUB_REF_NAME#v}\"";
    for (name, job) in github(RELEASE) {
        let is_here =
            steps(&job).iter().any(|step| step["run"].as_str().is_some_and(|run| run.contains(named)));
        assert_eq!(is_here, name == "push", "{name}");
    }
    let release = text(RELEASE);
    for part in
        ["cosign sign --yes", "provenance: mode=max", "sbom: true", "push-by-digest=true", "sha256sum -- *"]
    {
        assert!(release.contains(part), "{part}");
    }
    for platform in ["linux/amd64", "linux/arm64"] {
        assert!(release.contains(&format!("platform: {platform}")), "{platform}");
    }
}

#[test]
fn every_job_has_its_time() {
    for path in [CI, RELEASE] {
        for (name, job) in github(path) {
            // Who calls a workflow cannot say; its jobs do.
            let bounded = job["timeout-minutes"].as_u64().is_some_and(|minutes| minutes <= 60);
            assert!(bounded || job["uses"].is_string(), "{path}: {name}");
        }
    }
    for (name, job) in gitlab() {
        assert!(job["timeout"].as_str().is_some_and(|time| time.ends_with(" minutes")), "{GITLAB}: {name}");
    }
}

#[test]
fn tests_leave_their_report_in_junit() {
    let report = "tests/results/junit.xml";
    let uploads = steps(&github(CI)["tests"]);
    let upload =
        uploads.iter().find(|step| step["with"]["path"] == report).expect("a step that keeps the report");
    assert!(upload["uses"].as_str().is_some_and(|action| action.starts_with("actions/upload-artifact@")));
    assert_eq!(upload["if"], "always()", "above all when tests have failed");
    let artifacts = &gitlab()["tests"]["artifacts"];
    assert_eq!(artifacts["reports"]["junit"], report);
    assert_eq!(artifacts["when"], "always");
    // Where the one script that both run puts it.
    let run = text("tests/run");
    assert!(run.contains("results=tests/results\n") && run.contains("\"$results/junit.xml\""));
    assert!(text(".config/nextest.toml").contains("path = \"junit.xml\""));
}

#[test]
fn jobs_have_the_rights_that_they_use_and_no_others() {
    assert_eq!(yaml(CI)["permissions"], serde_json::json!({ "contents": "read" }));
    assert_eq!(yaml(RELEASE)["permissions"], serde_json::json!({}), "each job says what it needs");
    let writes: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("build", &["packages"][..]),
        ("sign", &["id-token", "packages"]),
        ("push", &["packages"]),
        ("release", &["contents", "id-token"]),
    ]);
    for (name, job) in github(RELEASE) {
        let rights = job["permissions"].as_object().unwrap_or_else(|| panic!("{name} says nothing"));
        let written: Vec<&str> =
            rights.iter().filter(|(_, right)| *right == "write").map(|(scope, _)| scope.as_str()).collect();
        let mut written = written;
        written.sort_unstable();
        assert_eq!(written, writes.get(name.as_str()).copied().unwrap_or_default(), "{name}");
    }
    for (name, job) in github(CI) {
        assert!(job["permissions"].is_null(), "{name} has those of the workflow");
    }
}

#[test]
fn everything_is_of_a_version() {
    for path in FILES {
        assert!(!text(path).contains("latest"), "{path}: the latest of today is not that of tomorrow");
    }
    let version = Regex::new(r"@v\d+(\.\d+\.\d+)?$").expect("a pattern");
    for path in [CI, RELEASE] {
        for (name, job) in github(path) {
            for step in steps(&job) {
                let Some(action) = step["uses"].as_str() else { continue };
                assert!(version.is_match(action), "{path}: {name}: {action}");
            }
            let container = job["container"].as_str().or(job["container"]["image"].as_str());
            assert!(container.is_none_or(|image| image.contains(".0-")), "{path}: {name}: {container:?}");
        }
    }
    for (name, job) in gitlab() {
        let image = job["image"].as_str().or(job["image"]["name"].as_str()).expect("an image");
        let tag = image.rsplit_once(':').expect("a tag").1;
        assert!(tag.matches('.').count() == 2, "{name}: {image}");
    }
}

#[test]
fn all_that_they_name_is_there() {
    let path =
        Regex::new(r"(?:^|[\s:=/])((?:crates|docs|k8s|tests|\.github)/[\w./-]*\w)").expect("a pattern");
    let mut named = BTreeSet::new();
    for file in FILES {
        for (number, line) in text(file).lines().enumerate() {
            for found in path.captures_iter(line) {
                named.insert((found[1].to_owned(), format!("{file}:{}", number + 1)));
            }
        }
    }
    let names: BTreeSet<&str> = named.iter().map(|(name, _)| name.as_str()).collect();
    for known in
        ["crates/rivulet/Dockerfile", "crates/rivulet/image/check.sh", "k8s/overlays/production", "tests/run"]
    {
        assert!(names.contains(known), "{known} is not found: {names:?}");
    }
    // Reports are made by the tests; overlays stand on a base.
    let has_base = root().join("k8s/base").exists();
    let is_absent =
        |name: &str| name.starts_with("tests/results/") || name.starts_with("k8s/overlays/") && !has_base;
    let missing: Vec<_> =
        named.iter().filter(|(name, _)| !is_absent(name) && !root().join(name).exists()).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
