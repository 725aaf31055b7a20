//! The combinations that make sense, rendered by `kubectl kustomize`: each choice together with each other one.
//!
//! | choice | one of |
//! |---|---|
//! | Redis | elsewhere, redis, sentinel, redis-cluster |
//! | who scales | the base's autoscaler, keda |
//! | in front | nothing, gateway, ingress-nginx, ingress-haproxy, ingress-traefik, istio, cert-manager |
//!
//! every third with monitoring and otel-collector; and the base, each overlay, and each component alone.

use std::{path::Path, process::Command, sync::Mutex};

use rivulet_tests::{repository::root, tools::tool};

use super::rendered::Rendered;

const REDIS: [&str; 4] = ["", "redis", "sentinel", "redis-cluster"];
const SCALERS: [&str; 2] = ["", "keda"];
const FRONTS: [&str; 7] =
    ["", "gateway", "ingress-nginx", "ingress-haproxy", "ingress-traefik", "istio", "cert-manager"];
const OBSERVED: [&str; 2] = ["monitoring", "otel-collector"];

/// Renderings at the same time: each is a process that mostly computes.
const AT_ONCE: usize = 2;

/// The names of the directories in one below k8s/, sorted.
pub(crate) fn directories(below: &str) -> Vec<String> {
    let entries = std::fs::read_dir(root().join("k8s").join(below)).expect("it can be listed");
    let names = entries.map(|entry| entry.expect("an entry can be read").file_name());
    let mut names: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// What Kustomize says of a directory.
pub(crate) fn kustomize(directory: &Path) -> Result<String, String> {
    let output = Command::new(tool("kubectl"))
        .arg("kustomize")
        .arg(directory)
        .current_dir(root())
        .output()
        .expect("kubectl can be started");
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(String::from_utf8(output.stdout).expect("YAML is UTF-8"))
}

fn documents(yaml: &str) -> Vec<serde_json::Value> {
    serde_saphyr::from_multiple(yaml).unwrap_or_else(|error| panic!("{error}"))
}

/// The base with these components on it, or why Kustomize does not make that.
pub(crate) fn combined(components: &[&str]) -> Result<Rendered, String> {
    combined_with(components, "")
}

/// The same with these lines in the kustomization as well.
pub(crate) fn combined_with(components: &[&str], lines: &str) -> Result<Rendered, String> {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory for tests");
    // Kustomize takes no absolute paths.
    let up = "../".repeat(directory.path().components().count() - 1);
    let k8s = format!("{}{}", up.trim_end_matches('/'), root().join("k8s").display());
    let list: Vec<_> = components.iter().map(|name| format!("\n  - {k8s}/components/{name}")).collect();
    let list = if list.is_empty() { " []".to_owned() } else { list.concat() };
    let text = format!(
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nnamespace: hub\n\
         resources:\n  - {k8s}/base\ncomponents:{list}\n{lines}"
    );
    std::fs::write(directory.path().join("kustomization.yaml"), text).expect("a directory for tests");
    let yaml = kustomize(directory.path())?;
    Ok(Rendered { name: format!("base + {}", components.join(" + ")), documents: documents(&yaml) })
}

/// A directory below k8s/.
///
/// # Panics
/// If it cannot be rendered.
pub(crate) fn directory(name: &str) -> Rendered {
    let yaml = kustomize(&root().join("k8s").join(name)).unwrap_or_else(|said| panic!("{name}: {said}"));
    Rendered { name: name.to_owned(), documents: documents(&yaml) }
}

/// The base and the overlays.
pub(crate) fn shipped() -> Vec<Rendered> {
    let overlays = directories("overlays").into_iter().map(|name| format!("overlays/{name}"));
    std::iter::once("base".to_owned()).chain(overlays).map(|name| directory(&name)).collect()
}

/// The names of the components of each combination: any two of different choices are together in one of them.
fn choices<'a>() -> Vec<Vec<&'a str>> {
    let mut choices = Vec::new();
    for (row, redis) in REDIS.into_iter().enumerate() {
        for (column, front) in FRONTS.into_iter().enumerate() {
            let scaler = SCALERS[(row + column) % 2];
            let observed = if (row + column) % 3 == 0 { &OBSERVED[..] } else { &[] };
            let chosen = [redis, scaler, front].into_iter().filter(|name| !name.is_empty());
            choices.push(chosen.chain(observed.iter().copied()).collect());
        }
    }
    choices
}

/// Everything: what is shipped, each component alone, the combinations.
///
/// # Panics
/// If something cannot be rendered.
pub(crate) fn all() -> Vec<Rendered> {
    let components = directories("components");
    let mut waiting = choices();
    waiting.extend(components.iter().map(|name| vec![name.as_str()]));
    let (waiting, done) = (Mutex::new(waiting), Mutex::new(shipped()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let Some(choice) = waiting.lock().expect("nobody panicked").pop() else { return };
                    let rendered = combined(&choice).unwrap_or_else(|said| panic!("{choice:?}: {said}"));
                    done.lock().expect("nobody panicked").push(rendered);
                }
            });
        }
    });
    done.into_inner().expect("nobody panicked")
}

#[test]
fn every_two_components_that_go_together_are_together_in_a_combination() {
    let choices = choices();
    let groups: [&[&str]; 4] = [&REDIS, &SCALERS, &FRONTS, &OBSERVED[..1]];
    for (index, group) in groups.iter().enumerate() {
        for (one, other) in group
            .iter()
            .flat_map(|one| groups[index + 1..].concat().into_iter().map(move |other| (*one, other)))
        {
            let has = |choice: &Vec<&str>, name: &str| name.is_empty() || choice.contains(&name);
            assert!(choices.iter().any(|choice| has(choice, one) && has(choice, other)), "{one} + {other}");
        }
    }
    for component in directories("components") {
        assert!(choices.iter().any(|choice| choice.contains(&component.as_str())), "{component}");
    }
}

#[test]
fn two_kinds_of_redis_at_once_are_refused() {
    for (one, other) in [("redis", "sentinel"), ("sentinel", "redis-cluster"), ("redis", "redis-cluster")] {
        let said = combined(&[one, other]).expect_err("both have a Service `redis`");
        assert!(said.contains("already registered id: Service"), "{one} + {other}: {said}");
    }
}
