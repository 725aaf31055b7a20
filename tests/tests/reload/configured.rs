//! A hub whose settings stand in a file that the test rewrites.

use std::{
    path::{Path, PathBuf},
    process::Output,
};

use rivulet_tests::{Backend, Hub, PATIENCE, Request, Subscriber, eventually, hub, tokens};
use tempfile::TempDir;

/// What every file of these tests says, unless a test says it otherwise.
const BASE: [(&str, &str); 5] = [
    ("anonymous", "true"),
    ("workers", "2"),
    ("drain-delay", "'0s'"),
    ("drain-period", "'0s'"),
    ("log-level", "'info'"),
];

/// See the module.
pub(crate) struct Configured {
    pub(crate) hub: Hub,
    pub(crate) dir: TempDir,
}

impl Configured {
    /// Starts a hub with the base and these settings, which may say the same otherwise.
    pub(crate) async fn start(settings: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let file = dir.path().join("rivulet.toml");
        write(&file, &text(settings));
        let path = file.display().to_string();
        let hub = Backend::Memory.hub_without_defaults(&["--config", &path]).await;
        Self { hub, dir }
    }

    /// The same on a Redis. Flags, and what [`Hub::DEFAULTS`] says, stand above the file.
    pub(crate) async fn start_at(redis_url: &str, flags: &[&str], settings: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let file = dir.path().join("rivulet.toml");
        write(&file, &text(settings));
        let path = file.display().to_string();
        let hub = Hub::start_at(redis_url, &[&["--config", &path], flags].concat()).await;
        Self { hub, dir }
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.dir.path().join("rivulet.toml")
    }

    /// Puts another file in the place of the first, in one step.
    pub(crate) fn write(&self, text: &str) {
        write(&self.file(), text);
    }

    /// The same, and waits until it is in force.
    pub(crate) async fn reload(&self, settings: &[(&str, &str)]) {
        let before = self.reloads("applied");
        self.write(&text(settings));
        self.hub.signal("HUP");
        self.expect_reloads("applied", before + 1.0).await;
    }

    /// How often a configuration was read again with this outcome.
    pub(crate) fn reloads(&self, outcome: &str) -> f64 {
        reloads(&self.hub, outcome)
    }

    pub(crate) async fn expect_reloads(&self, outcome: &str, count: f64) {
        expect_reloads(&self.hub, outcome, count).await;
    }

    pub(crate) fn gauge(&self, name: &str) -> f64 {
        self.hub.metrics().sum(name, "").expect("it is shown")
    }

    /// The status of a subscription that is refused, or 200.
    pub(crate) async fn status(&self, request: &Request) -> u16 {
        match Subscriber::try_open(self.hub.address(), request).await {
            Ok(_) => 200,
            Err(answer) => answer.status,
        }
    }

    /// The status of a publication to the topic `a` with a token that is signed with this key.
    pub(crate) async fn publish(&self, data: &str, key: &str) -> u16 {
        let header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256);
        let token = tokens::sign(&header, &serde_json::json!({"mercure": {"publish": ["*"]}}), key);
        self.hub.send(&Request::publish(&[("topic", "a"), ("data", data)]).bearer(&token)).await.status
    }
}

/// How often a configuration was read again with this outcome.
pub(crate) fn reloads(hub: &Hub, outcome: &str) -> f64 {
    let label = format!("outcome=\"{outcome}\"");
    hub.metrics().sum("rivulet_config_reloads_total", &label).expect("every outcome is shown")
}

pub(crate) async fn expect_reloads(hub: &Hub, outcome: &str, count: f64) {
    eventually(format!("{count} reloads are {outcome}"), PATIENCE, || async {
        let found = reloads(hub, outcome);
        if found >= count { Ok(()) } else { Err(format!("{found}")) }
    })
    .await;
}

/// The text of a file with the base and these settings, whose values are written as in TOML.
pub(crate) fn text(settings: &[(&str, &str)]) -> String {
    let keys = [tokens::PUBLISHER_KEY, tokens::SUBSCRIBER_KEY].map(|key| format!("'{key}'"));
    let keys = [("publisher-jwt-key", keys[0].as_str()), ("subscriber-jwt-key", keys[1].as_str())];
    // Where there is a set of a role's keys, there must be no key.
    let has_set = |role: &str| settings.iter().any(|(given, _)| given.starts_with(&format!("{role}jwks-")));
    let said = |name: &str| {
        settings.iter().any(|(given, _)| *given == name) || name.strip_suffix("jwt-key").is_some_and(has_set)
    };
    let base = keys.into_iter().chain(BASE).filter(|(name, _)| !said(name));
    base.chain(settings.iter().copied()).map(|(name, value)| format!("{name} = {value}\n")).collect()
}

/// Puts a file in place in one step.
pub(crate) fn write(path: &Path, text: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).expect("files of ours");
    std::fs::rename(new, path).expect("files of ours");
}

/// Runs `rivulet` to its end, which must come by itself, with nothing in its environment.
pub(crate) fn rivulet(arguments: &[&str]) -> Output {
    let mut command = std::process::Command::new("timeout");
    command.arg("20").arg(hub::binary()).args(arguments).env_clear();
    command.output().expect("rivulet runs")
}
