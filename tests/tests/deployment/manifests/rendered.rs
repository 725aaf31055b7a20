//! What Kustomize makes of a combination, and how to find one's way in it.

use serde_json::Value;

/// The documents of one combination.
#[derive(Clone, Debug)]
pub(crate) struct Rendered {
    /// What was combined.
    pub(crate) name: String,
    /// The documents.
    pub(crate) documents: Vec<Value>,
}

/// Labels that pods have, or must have.
pub(crate) type Labels = serde_json::Map<String, Value>;

impl Rendered {
    /// All documents of a kind.
    pub(crate) fn of<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.documents.iter().filter(move |document| document["kind"] == kind)
    }

    /// The document of this kind and name.
    pub(crate) fn find<'a>(&'a self, kind: &'a str, name: &str) -> Option<&'a Value> {
        self.of(kind).find(|document| document["metadata"]["name"] == name)
    }

    /// What runs pods.
    pub(crate) fn workloads(&self) -> impl Iterator<Item = &Value> {
        ["Deployment", "StatefulSet", "Job"].into_iter().flat_map(|kind| self.of(kind))
    }

    /// The hub's own Deployment.
    pub(crate) fn hub(&self) -> &Value {
        self.find("Deployment", "rivulet").expect("every combination has the hub")
    }

    /// The workloads whose pods have these labels.
    pub(crate) fn selected(&self, labels: &Value) -> Vec<&Value> {
        self.workloads().filter(|workload| selects(labels, workload)).collect()
    }

    /// The hub's settings file.
    pub(crate) fn settings(&self) -> toml::Table {
        let file = self.find("ConfigMap", "rivulet").expect("the hub has its settings");
        let text = file["data"]["rivulet.toml"].as_str().expect("a file in it");
        text.parse().unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }
}

/// Whether all of these labels are on the workload's pods. No labels select nothing here: everything would be a mistake.
pub(crate) fn selects(labels: &Value, workload: &Value) -> bool {
    let own = &workload["spec"]["template"]["metadata"]["labels"];
    let wanted = labels.as_object().filter(|wanted| !wanted.is_empty());
    wanted.is_some_and(|wanted: &Labels| wanted.iter().all(|(name, value)| own[name] == *value))
}

/// Kind and name, for messages.
pub(crate) fn title(document: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    format!("{} {}", text(&document["kind"]), text(&document["metadata"]["name"]))
}

/// The pod of a workload.
pub(crate) fn pod(workload: &Value) -> &Value {
    &workload["spec"]["template"]["spec"]
}

/// The members of a list, none if it is missing.
pub(crate) fn list(value: &Value) -> impl Iterator<Item = &Value> + Clone {
    value.as_array().into_iter().flatten()
}

/// The containers of a workload's pods, those for their start included.
pub(crate) fn containers(workload: &Value) -> Vec<&Value> {
    let pod = pod(workload);
    list(&pod["initContainers"]).chain(list(&pod["containers"])).collect()
}

/// The value of a variable of the hub, if it is written there.
pub(crate) fn variable<'a>(workload: &'a Value, name: &str) -> Option<&'a str> {
    let container = containers(workload).into_iter().next()?;
    list(&container["env"]).find(|variable| variable["name"] == name)?["value"].as_str()
}

/// Seconds of a duration as settings and manifests write them: `15s`, `0s`, `1m`, `360h`, `60`.
pub(crate) fn seconds(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let factor = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3_600,
        _ => return None,
    };
    Some(digits.parse::<u64>().ok()? * factor)
}

/// Bytes or cores of a quantity: `512Mi`, `1Gi`, `250m`, `2`.
pub(crate) fn quantity(value: &Value) -> Option<f64> {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match &text[digits.len()..] {
        "" => 1.0,
        "m" => 0.001,
        "Ki" => 1_024.0,
        "Mi" => 1_048_576.0,
        "Gi" => 1_073_741_824.0,
        _ => return None,
    };
    Some(digits.parse::<f64>().ok()? * factor)
}

#[test]
fn durations_and_quantities_are_read() {
    for (text, wanted) in
        [("15s", Some(15)), ("2m", Some(120)), ("60", Some(60)), ("0s", Some(0)), ("5d", None)]
    {
        assert_eq!(seconds(text), wanted, "{text}");
    }
    for (text, wanted) in
        [("250m", Some(0.25)), ("1Gi", Some(1_073_741_824.0)), ("2", Some(2.0)), ("2x", None)]
    {
        assert_eq!(quantity(&Value::from(text)), wanted, "{text}");
    }
}
