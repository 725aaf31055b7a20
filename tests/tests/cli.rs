//! The command line: bad configurations, tokens, and the two clients, end to end.

use std::process::{Command, Output, Stdio};

use rivulet_tests::{Backend, Hub, Request, eventually, hub, port, process::Process};

const DEVELOPMENT_KEY: &str = "!ChangeThisMercureHubJWTSecretKey!";

/// Runs `rivulet` to its end, which must come by itself.
fn rivulet(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new("timeout");
    command.arg("20").arg(hub::binary()).args(arguments).env_clear().envs(environment.iter().copied());
    command.stdin(Stdio::null()).output().expect("rivulet runs")
}

/// Checks that a configuration is refused with exit code 64 and all of these words.
fn expect_refused(arguments: &[&str], environment: &[(&str, &str)], words: &[&str]) {
    let output = rivulet(arguments, environment);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(64), "{arguments:?} {environment:?}: {said}");
    for word in words {
        assert!(said.contains(word), "{word:?} is not in what {arguments:?} {environment:?} says: {said}");
    }
}

#[test]
fn without_keys_it_says_what_to_configure() {
    expect_refused(&[], &[], &["--publisher-jwt-key", "--trusted-issuer", "--dev"]);
    expect_refused(&["serve"], &[], &["--publisher-jwt-key", "--dev"]);
}

#[test]
fn the_development_key_is_for_development() {
    for name in ["RIVULET_PUBLISHER_JWT_KEY", "MERCURE_PUBLISHER_JWT_KEY"] {
        expect_refused(&[], &[(name, DEVELOPMENT_KEY)], &["--dev"]);
    }
    let issuer = format!("https://a.example=HS256:{DEVELOPMENT_KEY}");
    expect_refused(&["--trusted-issuer", &issuer, "--resource", "https://a.example/"], &[], &["--dev"]);
}

#[test]
fn every_mistake_is_listed_at_once() {
    let key = ("RIVULET_PUBLISHER_JWT_KEY", "a-key-that-is-long-enough-0123456789");
    let arguments = [
        "--heartbeat",
        "soon",
        "--listen",
        "nowhere",
        "--body-limit",
        "much",
        "--workers",
        "none",
        "--cors-origin",
        "example.com",
        "--redis-url",
        "mysql://x",
        "--subscriber-jwt-alg",
        "ROT13",
    ];
    let words =
        ["--heartbeat", "--listen", "--body-limit", "--workers", "--cors-origin", "--redis-url", "ROT13"];
    expect_refused(&arguments, &[key], &words);
}

#[test]
fn an_unknown_flag_or_directive_is_named() {
    expect_refused(&["--heartbeet", "1s"], &[], &["--heartbeet"]);
    let key = ("MERCURE_PUBLISHER_JWT_KEY", "a-key-that-is-long-enough-0123456789");
    let directives = ("MERCURE_EXTRA_DIRECTIVES", "anonymous\nheartbeat 40s\ntransport bolt\nui");
    expect_refused(&[], &[key, directives], &["MERCURE_EXTRA_DIRECTIVES", "transport", "ui"]);
}

#[test]
fn a_secret_is_never_repeated() {
    let secret = "a-secret-that-nobody-may-read-0123456789";
    let output = rivulet(&["--publisher-jwt-key", secret, "--heartbeat", "soon"], &[]);
    assert_eq!(output.status.code(), Some(64));
    assert!(!String::from_utf8_lossy(&output.stderr).contains(secret));
    assert!(!String::from_utf8_lossy(&output.stdout).contains(secret));
}

#[test]
fn an_address_in_use_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("an address").to_string();
    let output = rivulet(&["--dev", "--listen", &address, "--admin-listen", &port::free().to_string()], &[]);
    assert_eq!(output.status.code(), Some(69), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains(&address), "{output:?}");
}

#[test]
fn the_help_tells_everything() {
    for arguments in [
        &["--help"][..],
        &["serve", "--help"],
        &["publish", "--help"],
        &["subscribe", "--help"],
        &["token", "--help"],
    ] {
        let output = rivulet(arguments, &[]);
        assert!(output.status.success() && output.stdout.len() > 200, "{arguments:?}: {output:?}");
    }
    let output = rivulet(&["serve", "--help"], &[]);
    let help = String::from_utf8_lossy(&output.stdout);
    for word in
        ["MERCURE_EXTRA_DIRECTIVES", "RIVULET_", "--redis-url", "127.0.0.1:3000", "127.0.0.1:9180", "15s"]
    {
        assert!(help.contains(word), "{word} is not in {help}");
    }
    let version = rivulet(&["--version"], &[]);
    assert!(String::from_utf8_lossy(&version.stdout).starts_with("rivulet "), "{version:?}");
}

/// What `docker-compose.yml` files in the wild set.
#[tokio::test]
async fn an_existing_deployments_environment_is_understood() {
    let mut command = hub::command();
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (address, admin) = (port::free(), port::free());
    let name = format!(":{}", address.port());
    command.env("SERVER_NAME", format!("http://localhost{name}"));
    command.env("MERCURE_PUBLISHER_JWT_KEY", rivulet_tests::tokens::PUBLISHER_KEY);
    command.env("MERCURE_SUBSCRIBER_JWT_KEY", rivulet_tests::tokens::SUBSCRIBER_KEY);
    command.env(
        "MERCURE_EXTRA_DIRECTIVES",
        "anonymous\ncors_origins https://app.example.com\nheartbeat 40s\nsubscriptions\n",
    );
    command.args(["--admin-listen", &admin.to_string()]);
    let mut process = Process::start(&mut command, &dir.path().join("log"));
    eventually("ready", rivulet_tests::PATIENCE, || async {
        match rivulet_tests::metrics::get(admin, "/ready")? {
            (200, _) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let request = Request::subscribe("topic=a").header("Origin", "https://app.example.com");
    let mut stream = rivulet_tests::Subscriber::open(address, &request).await;
    assert_eq!(stream.head().header("Access-Control-Allow-Origin"), Some("https://app.example.com"));
    let publish =
        Request::publish(&[("topic", "a"), ("data", "x")]).bearer(&rivulet_tests::tokens::publisher(&["*"]));
    assert_eq!(publish.send(address).await.status, 200);
    assert_eq!(stream.data(1).await, ["x"]);
    drop(stream);
    process.signal("TERM");
    assert!(process.wait(rivulet_tests::PATIENCE).expect("it ends").success());
}

async fn development_hub() -> Hub {
    Backend::Memory.hub_without_defaults(&["--dev"]).await
}

#[tokio::test]
async fn development_mode_takes_the_tokens_that_the_command_makes() {
    let hub = development_hub().await;
    assert!(hub.log().to_lowercase().contains("not for production"), "{}", hub.log());
    let mut stream = hub.subscribe("topic=a").await;
    for dialect in ["0.x", "1.0"] {
        let output = rivulet(&["token", "--dialect", dialect, "--publish", "*"], &[]);
        assert!(output.status.success(), "{output:?}");
        let token = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let response = hub.send(&Request::publish(&[("topic", "a"), ("data", dialect)]).bearer(&token)).await;
        assert_eq!(response.status, 200, "{dialect}: {response:?}\n{}", response.text());
        assert_eq!(stream.data(1).await, [dialect]);
    }
    let open = hub.open(&Request::subscribe("topic=a").header("Origin", "https://anything.example")).await;
    assert_eq!(open.head().header("Access-Control-Allow-Origin"), Some("*"));
}

#[tokio::test]
async fn what_the_publish_command_sends_the_subscribe_command_prints() {
    let mut hub = development_hub().await;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let printed = dir.path().join("printed");
    let mut command = hub::command();
    command.args(["subscribe", "--url", &hub.url(), "--topic", "a"]);
    let mut client = Process::start(&mut command, &printed);
    hub.expect_connections(1).await;
    let publish = |hub: &Hub, data: &str| {
        let made = rivulet(&["token", "--publish", "a"], &[]);
        let token = String::from_utf8_lossy(&made.stdout).trim().to_owned();
        let output = rivulet(
            &["publish", "--url", &hub.url(), "--token", &token, "--topic", "a", "--data", data],
            &[],
        );
        assert!(output.status.success(), "{output:?}");
    };
    publish(&hub, "first light");
    let prints = async |word: &str| {
        eventually(format!("{word} is printed"), rivulet_tests::PATIENCE, || async {
            let text = std::fs::read_to_string(&printed).unwrap_or_default();
            if text.contains(word) { Ok(()) } else { Err(text) }
        })
        .await;
    };
    prints("first light").await;
    // It comes back by itself when the hub does.
    hub.replace().await;
    hub.expect_connections(1).await;
    publish(&hub, "second light");
    prints("second light").await;
    client.signal("INT");
    let status = client.wait(rivulet_tests::PATIENCE).expect("it ends");
    assert!(status.code().is_none_or(|code| code == 0 || code == 130), "{status}");
    hub.expect_connections(0).await;
}
