//! Headless Chromium, driven over the WebDriver protocol by Debian's chromedriver.

use std::{net::SocketAddr, process::Command, time::Duration};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{PATIENCE, eventually, metrics, port, process::Process};

/// One page in one headless browser.
#[derive(Debug)]
pub struct Browser {
    client: reqwest::Client,
    session: String,
    process: Process,
    _profile: TempDir,
}

impl Browser {
    /// Starts a browser with an empty profile.
    pub async fn start() -> Self {
        let profile = tempfile::tempdir().expect("a temporary directory");
        let address = port::free();
        let mut command = Command::new("chromedriver");
        command.arg(format!("--port={}", address.port())).current_dir(profile.path());
        let process = Process::start(&mut command, &profile.path().join("chromedriver.log"));
        eventually("chromedriver answers", PATIENCE, || async { metrics::get(address, "/status") }).await;
        let client = reqwest::Client::builder().no_proxy().timeout(4 * PATIENCE).build().expect("a client");
        let session = open(&client, address, &profile).await;
        Self { client, session, process, _profile: profile }
    }

    /// Opens a page.
    pub async fn visit(&self, url: &str) {
        self.ask("url", &json!({"url": url})).await;
    }

    /// Runs the body of a function in the page and answers what it returns.
    pub async fn run(&self, script: &str) -> Value {
        self.ask("execute/sync", &json!({"script": script, "args": []})).await
    }

    /// Waits until an expression in the page is true (or an object), and answers it.
    pub async fn wait_for(&self, what: &str, expression: &str) -> Value {
        eventually(what, Duration::from_secs(30), || async {
            match self.run(&format!("return {expression}")).await {
                Value::Bool(false) | Value::Null => {
                    Err(self.run("return JSON.stringify(window.seen)").await.to_string())
                }
                found => Ok(found),
            }
        })
        .await
    }

    /// Closes the browser.
    pub async fn close(mut self) {
        let answer = self.client.delete(&self.session).send().await;
        assert!(answer.is_ok_and(|answer| answer.status().is_success()), "the browser closes");
        self.process.signal("TERM");
        self.process.wait(PATIENCE).expect("chromedriver ends");
    }

    async fn ask(&self, command: &str, body: &Value) -> Value {
        post(&self.client, &format!("{}/{command}", self.session), body).await
    }
}

async fn open(client: &reqwest::Client, address: SocketAddr, profile: &TempDir) -> String {
    let arguments = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        &format!("--user-data-dir={}", profile.path().join("profile").display()),
    ];
    // Certificates of tests are signed by authorities of their own.
    let wanted = json!({"goog:chromeOptions": {"args": arguments}, "acceptInsecureCerts": true});
    let body = json!({"capabilities": {"alwaysMatch": wanted}});
    let value = post(client, &format!("http://{address}/session"), &body).await;
    let id = value["sessionId"].as_str().unwrap_or_else(|| panic!("no session: {value}"));
    format!("http://{address}/session/{id}")
}

async fn post(client: &reqwest::Client, url: &str, body: &Value) -> Value {
    let request = client.post(url).header("Content-Type", "application/json").body(body.to_string());
    let answer = request.send().await.unwrap_or_else(|error| panic!("{url}: {error}"));
    let text = answer.text().await.unwrap_or_else(|error| panic!("{url}: {error}"));
    let mut answer: Value =
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{url}: {error}: {text}"));
    assert!(answer["value"]["error"].is_null(), "{url}: {text}");
    answer["value"].take()
}
