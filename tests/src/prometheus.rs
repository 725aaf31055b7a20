//! Debian's Prometheus: the server, with a configuration of a test's own, and `promtool`.

use std::{
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{PATIENCE, eventually, port, process::Process};

/// A running server that scrapes and evaluates once a second.
#[derive(Debug)]
pub struct Prometheus {
    address: SocketAddr,
    client: reqwest::Client,
    _process: Process,
    dir: TempDir,
}

impl Prometheus {
    /// Starts one that scrapes these admin listeners as the job `rivulet` and evaluates these rules.
    pub async fn start(targets: &[SocketAddr], rules: &str) -> Self {
        let targets: Vec<String> = targets.iter().map(|target| format!("\"{target}\"")).collect();
        let config = format!(
            "global: {{ scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s }}\n\
             rule_files: [rules.yaml]\n\
             scrape_configs:\n  - job_name: rivulet\n    static_configs: [ {{ targets: [ {} ] }} ]\n",
            targets.join(", ")
        );
        Self::start_with(&config, rules).await
    }

    /// Starts one with this configuration; the rules lie beside it as `rules.yaml`.
    pub async fn start_with(config: &str, rules: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        std::fs::write(dir.path().join("prometheus.yml"), config).expect("a file in a temporary directory");
        std::fs::write(dir.path().join("rules.yaml"), rules).expect("a file in a temporary directory");
        let address = port::free();
        let mut command = Command::new("prometheus");
        command.current_dir(dir.path()).args([
            "--config.file=prometheus.yml",
            "--storage.tsdb.path=data",
            "--log.level=warn",
            "--enable-feature=exemplar-storage",
            &format!("--web.listen-address={address}"),
        ]);
        let process = Process::start(&mut command, &dir.path().join("log"));
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        let prometheus = Self { address, client, _process: process, dir };
        eventually("Prometheus answers", PATIENCE, || async {
            let log = std::fs::read_to_string(prometheus.dir.path().join("log")).unwrap_or_default();
            prometheus.query("vector(1)").await.map_err(|error| format!("{error}\n{log}"))
        })
        .await;
        prometheus
    }

    /// The samples that an expression has now: their labels, as JSON, and their values.
    ///
    /// # Errors
    /// What Prometheus has against the expression.
    pub async fn query(&self, expression: &str) -> Result<Vec<(Value, f64)>, String> {
        let data = self.ask("query", &[("query", expression)]).await?;
        let samples = data["result"].as_array().into_iter().flatten();
        Ok(samples.map(|sample| (sample["metric"].clone(), value_of(sample))).collect())
    }

    /// The labels of all exemplars that the series of an expression have had since 1970.
    ///
    /// # Errors
    /// What Prometheus has against the expression.
    pub async fn exemplars(&self, expression: &str) -> Result<Vec<Value>, String> {
        let query = [("query", expression), ("start", "0"), ("end", "9999999999")];
        let data = self.ask("query_exemplars", &query).await?;
        let series = data.as_array().into_iter().flatten();
        let exemplars = series.flat_map(|series| series["exemplars"].as_array().cloned().unwrap_or_default());
        Ok(exemplars.map(|exemplar| exemplar["labels"].clone()).collect())
    }

    async fn ask(&self, what: &str, form: &[(&str, &str)]) -> Result<Value, String> {
        let url = format!("http://{}/api/v1/{what}", self.address);
        let answer = self.client.post(url).form(form).send().await.map_err(|error| error.to_string())?;
        let text = answer.text().await.map_err(|error| error.to_string())?;
        let answer: Value = serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))?;
        if answer["status"] == "success" {
            Ok(answer["data"].clone())
        } else {
            Err(format!("{form:?}: {}", answer["error"]))
        }
    }
}

/// The value of a sample: `[time, "value"]`.
fn value_of(sample: &Value) -> f64 {
    sample["value"][1].as_str().and_then(|text| text.parse().ok()).unwrap_or(f64::NAN)
}

/// Runs `promtool` in a directory and answers what it printed.
///
/// # Errors
/// What it printed when it failed.
pub fn promtool(directory: &Path, arguments: &[&str]) -> Result<String, String> {
    let output =
        Command::new("promtool").args(arguments).current_dir(directory).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("promtool: {error}"))?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    if output.status.success() { Ok(said) } else { Err(said) }
}
