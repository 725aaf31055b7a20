//! The admin listener of a real process: TLS, certificates of clients, and a node whose memory is tight.

use std::{net::SocketAddr, path::Path};

use reqwest::{Certificate, Client, Identity};
use rivulet_tests::{
    Backend, Hub, PATIENCE, Request, certificates::Authority, eventually, hub, port, process::Process,
    refusal::Refusal, tokens,
};

/// A hub whose admin listener speaks TLS, or that has an environment of its own: the harness' own has neither.
struct AdminHub {
    admin: SocketAddr,
    dir: tempfile::TempDir,
    _process: Process,
}

impl AdminHub {
    fn start(environment: &[(&str, &str)], flags: &[&str]) -> Self {
        let admin = port::free();
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (listen, admin_listen) = (port::free().to_string(), admin.to_string());
        let mut command = hub::command();
        command.envs(Hub::DEFAULTS).envs(environment.iter().copied());
        command.args(["--listen", &listen, "--admin-listen", &admin_listen]).args(flags);
        let process = Process::start(&mut command, &dir.path().join("log"));
        Self { admin, dir, _process: process }
    }

    /// Waits for the first answer.
    async fn ready(&self, client: &Client) -> u16 {
        eventually("an answer", PATIENCE, || async { self.get(client, "https", "/ready").await }).await
    }

    /// The status of an answer.
    async fn get(&self, client: &Client, scheme: &str, path: &str) -> Result<u16, String> {
        let sent = client.get(format!("{scheme}://{}{path}", self.admin)).send().await;
        let log = || std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
        sent.map(|response| response.status().as_u16()).map_err(|error| format!("{error:?}\n{}", log()))
    }
}

/// A client that trusts this authority, with a certificate that another may have signed.
fn client(authority: &Authority, identity: Option<(&Authority, &str)>) -> Client {
    let read = |path: String| std::fs::read(path).expect("openssl has written it");
    let root = Certificate::from_pem(&read(authority.file("ca.crt"))).expect("a certificate");
    let mut builder = Client::builder().tls_certs_only([root]);
    if let Some((signer, name)) = identity {
        let files = [format!("{name}.key"), format!("{name}.crt")].map(|name| read(signer.file(&name)));
        builder = builder.identity(Identity::from_pem(&files.concat()).expect("a key and a certificate"));
    }
    builder.build().expect("a client")
}

#[tokio::test]
async fn the_admin_listener_speaks_tls_and_nothing_else_with_a_certificate() {
    let authority = Authority::of(&["server"]);
    let (certificate, key) = (authority.file("server.crt"), authority.file("server.key"));
    let hub = AdminHub::start(&[], &["--admin-tls-cert-file", &certificate, "--admin-tls-key-file", &key]);
    let trusting = client(&authority, None);
    assert_eq!(hub.ready(&trusting).await, 200);
    assert_eq!(hub.get(&trusting, "https", "/metrics").await, Ok(200));
    assert_eq!(hub.get(&trusting, "https", "/nothing").await, Ok(404));
    assert!(hub.get(&trusting, "http", "/ready").await.is_err(), "plain HTTP is not answered");
    let stranger = client(&Authority::of(&[]), None);
    assert!(hub.get(&stranger, "https", "/ready").await.is_err(), "this certificate is nobody else's");
}

#[tokio::test]
async fn with_a_client_ca_only_its_clients_are_let_in() {
    let (authority, other) = (Authority::of(&["server", "client"]), Authority::of(&["client"]));
    let [certificate, key, ca] = ["server.crt", "server.key", "ca.crt"].map(|name| authority.file(name));
    let hub = AdminHub::start(
        &[],
        &[
            "--admin-tls-cert-file",
            &certificate,
            "--admin-tls-key-file",
            &key,
            "--admin-tls-client-ca-file",
            &ca,
        ],
    );
    let known = client(&authority, Some((&authority, "client")));
    assert_eq!(hub.ready(&known).await, 200);
    let without = client(&authority, None);
    assert!(hub.get(&without, "https", "/live").await.is_err(), "no certificate");
    let foreign = client(&authority, Some((&other, "client")));
    assert!(hub.get(&foreign, "https", "/live").await.is_err(), "a certificate of another authority");
    assert_eq!(hub.get(&known, "https", "/debug/pprof/heap").await, Ok(200));
}

#[tokio::test]
async fn an_allocator_that_takes_no_samples_is_told_apart_from_an_empty_heap() {
    for conf in ["prof:false", "prof_active:false"] {
        let hub = AdminHub::start(&[("_RJEM_MALLOC_CONF", conf)], &[]);
        let client = Client::new();
        eventually("an answer", PATIENCE, || async { hub.get(&client, "http", "/live").await }).await;
        let answer = Request::new("GET", "/debug/pprof/heap").send(hub.admin).await;
        answer.expect_problem(501, "profile-off");
    }
}

/// What a start with these flags says, line by line; it must end with 64.
fn mistakes(flags: &[(&str, &Path)]) -> Vec<String> {
    let flags: Vec<String> =
        flags.iter().map(|(name, path)| format!("--{name}={}", path.display())).collect();
    let refusal = Refusal::of("redis://127.0.0.1:1", &flags.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(refusal.code, Some(64), "{refusal:?}");
    refusal.said.lines().map(str::to_owned).collect()
}

#[test]
fn every_wrong_file_is_named_at_the_start() {
    let (authority, other) = (Authority::of(&["server"]), Authority::of(&["server"]));
    let path = |authority: &Authority, name: &str| Path::new(&authority.file(name)).to_owned();
    let [certificate, key, text] =
        ["server.crt", "server.key", "openssl.cnf"].map(|name| path(&authority, name));
    let foreign_key = path(&other, "server.key");
    let missing = Path::new("/nowhere/server.crt");
    let (cert, key_flag, ca) = ("admin-tls-cert-file", "admin-tls-key-file", "admin-tls-client-ca-file");
    let check = |flags: &[(&str, &Path)], expected: &[&[&str]]| {
        let said = mistakes(flags);
        assert_eq!(said.len(), expected.len(), "{flags:?}: {said:#?}");
        for words in expected {
            let is_said = |line: &String| words.iter().all(|word| line.contains(word));
            assert!(said.iter().any(is_said), "{words:?} is not in {said:#?}");
        }
    };
    check(&[(cert, &certificate)], &[&["--admin-tls-cert-file needs --admin-tls-key-file"]]);
    check(&[(key_flag, &key)], &[&["--admin-tls-key-file needs --admin-tls-cert-file"]]);
    check(&[(ca, &certificate)], &[&["--admin-tls-client-ca-file needs --admin-tls-cert-file"]]);
    check(
        &[(cert, missing), (key_flag, &text), (ca, &key)],
        &[
            &["--admin-tls-cert-file \"/nowhere/server.crt\" cannot be read"],
            &["--admin-tls-key-file", "BEGIN PRIVATE KEY"],
            &["--admin-tls-client-ca-file", "BEGIN CERTIFICATE"],
        ],
    );
    check(
        &[(cert, &certificate), (key_flag, &foreign_key)],
        &[&["--admin-tls-key-file", "must be the key of the first certificate"]],
    );
    check(
        &[(cert, &key), (key_flag, &certificate)],
        &[&["--admin-tls-cert-file", "BEGIN CERTIFICATE"], &["--admin-tls-key-file", "BEGIN PRIVATE KEY"]],
    );
}

#[tokio::test]
async fn a_node_whose_memory_is_tight_is_not_ready_and_says_why() {
    let hub = Backend::Memory.hub_with(&["--memory-max", "64MiB"]).await;
    assert_eq!(hub.metrics().sum("rivulet_memory_max_bytes", ""), Some(f64::from(64 << 20)));
    assert_eq!(hub.metrics().sum("rivulet_memory_tight", ""), Some(0.0));
    let data = "x".repeat(1_000_000);
    let large = Request::publish(&[("topic", "a"), ("data", &data)]).bearer(&tokens::publisher(&["*"]));
    // The log is in memory here: it grows until the node takes nothing large any more.
    let refusal = eventually("memory is tight", PATIENCE, || async {
        let answer = hub.send(&large).await;
        if answer.status == 200 { Err("it is ample") } else { Ok(answer) }
    });
    refusal.await.expect_problem(503, "memory-tight");
    hub.send(&Request::subscribe("topic=a")).await.expect_problem(503, "memory-tight");
    hub.publish(&[("topic", "a"), ("data", "small")]).await;
    let answer = eventually("not ready", PATIENCE, || async {
        let answer = Request::new("GET", "/ready").send(hub.admin()).await;
        if answer.status == 503 { Ok(answer) } else { Err(hub.metrics().text().to_owned()) }
    });
    let reasons = answer.await.json();
    assert_eq!(reasons["reason"], "the node has hardly any memory left", "{reasons}");
    assert!(reasons["memory_used_bytes"].as_u64() >= Some((64 << 20) / 100 * 90), "{reasons}");
    assert_eq!(hub.metrics().sum("rivulet_memory_tight", ""), Some(1.0));
    let said = hub.log().lines().filter(|line| line.contains("Memory is tight")).count();
    assert_eq!(said, 1, "it is said once: {}", hub.log());
}
