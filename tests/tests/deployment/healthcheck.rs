//! `rivulet healthcheck`: what it says of hubs that are ready, are not, hide behind TLS, or say nothing.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    path::Path,
    process::Output,
    time::{Duration, Instant},
};

use rivulet_tests::{
    Backend, Hub, PATIENCE, certificates::Authority, eventually, hub, port, process::Process,
};

/// Runs it to its end with this environment alone.
fn healthcheck(environment: &[(&str, &str)], arguments: &[&str]) -> Output {
    let mut command = hub::command();
    command.env_clear().envs(environment.iter().copied()).arg("healthcheck").args(arguments);
    command.output().expect("rivulet runs")
}

/// Its exit code, and the one line that it says: on standard output if all is well, else on standard error.
fn answer(environment: &[(&str, &str)], arguments: &[&str]) -> (Option<i32>, String) {
    let output = healthcheck(environment, arguments);
    let (said, silent) = match output.status.success() {
        true => (output.stdout, output.stderr),
        false => (output.stderr, output.stdout),
    };
    assert!(silent.is_empty(), "{}", String::from_utf8_lossy(&silent));
    let said = String::from_utf8(said).expect("a line of text");
    assert_eq!(said.matches('\n').count(), 1, "{said}");
    (output.status.code(), said)
}

/// The same at an address.
fn answer_at(admin: SocketAddr, arguments: &[&str]) -> (Option<i32>, String) {
    answer(&[("RIVULET_ADMIN_LISTEN", &admin.to_string())], arguments)
}

#[tokio::test]
async fn a_hub_that_is_ready_is_healthy_wherever_its_settings_say_that_it_listens() {
    let hub = Backend::Memory.hub().await;
    let admin = hub.admin();
    let expected = (Some(0), format!("http://{admin}/ready answers 200 OK: {{\"status\":\"ready\"}}\n"));
    assert_eq!(answer_at(admin, &[]), expected);
    assert_eq!(answer(&[], &["--admin-listen", &admin.to_string()]), expected);
    let everywhere = format!("0.0.0.0:{}", admin.port());
    assert_eq!(answer(&[("RIVULET_ADMIN_LISTEN", &everywhere)], &[]), expected);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("rivulet.toml");
    std::fs::write(&file, format!("admin-listen = '{admin}'")).expect("a file");
    assert_eq!(answer(&[("RIVULET_CONFIG", &file.to_string_lossy())], &[]), expected);
    let proxies = [("http_proxy", "http://127.0.0.1:1"), ("RIVULET_ADMIN_LISTEN", &admin.to_string())];
    assert_eq!(answer(&proxies, &[]), expected, "a proxy has no business here");
}

#[tokio::test]
async fn a_hub_that_has_lost_its_redis_is_alive_and_not_ready_and_says_why() {
    let hub = Backend::Redis.hub().await;
    hub.redis().freeze();
    let said = eventually("not ready", PATIENCE, || async {
        match answer_at(hub.admin(), &[]) {
            (Some(1), said) => Ok(said),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    assert!(said.contains("/ready answers 503 Service Unavailable: {"), "{said}");
    assert!(said.contains("stale_partitions"), "{said}");
    let (code, said) = answer_at(hub.admin(), &["--live"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("/live answers 200 OK"), "{said}");
    hub.redis().thaw();
    eventually("ready again", PATIENCE, || async {
        let (code, said) = answer_at(hub.admin(), &[]);
        if code == Some(0) { Ok(()) } else { Err(said) }
    })
    .await;
}

#[test]
fn who_does_not_answer_is_not_healthy_and_is_not_waited_for() {
    let (code, said) = answer_at(port::free(), &[]);
    assert_eq!(code, Some(1));
    assert!(said.contains("does not answer: ") && said.contains("refused"), "{said}");

    // The kernel takes the connections; nobody reads them.
    let mute = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let begun = Instant::now();
    let (code, said) = answer_at(mute.local_addr().expect("an address"), &["--timeout", "300ms"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("does not answer within 300ms"), "{said}");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[test]
fn an_answer_without_an_end_is_cut() {
    let endless = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = endless.local_addr().expect("an address");
    let serving = std::thread::spawn(move || {
        let (mut stream, _) = endless.accept().expect("a connection");
        let mut request = [0; 1024];
        assert!(stream.read(&mut request).expect("a request") > 0);
        let _ = stream.write_all(b"HTTP/1.1 503 Service Unavailable\r\n\r\n");
        // Until the other side has had enough.
        while stream.write_all(&[b'x'; 4096]).is_ok() {}
    });
    let (code, said) = answer_at(address, &[]);
    serving.join().expect("it ends");
    assert_eq!(code, Some(1));
    assert!((1_000..1_200).contains(&said.len()), "{} bytes", said.len());
}

#[test]
fn what_it_is_asked_wrongly_is_said_with_64() {
    for (arguments, word) in [
        (&["--timeout", "soon"][..], "--timeout"),
        (&["--cert-file", "a"], "--key-file"),
        (&["--dev"], "--dev"),
    ] {
        let (code, said) = answer(&[], arguments);
        assert_eq!(code, Some(64), "{said}");
        assert!(said.contains(word), "{said}");
    }
    let (code, said) = answer(&[("RIVULET_ADMIN_LISTEN", "here")], &[]);
    assert_eq!(code, Some(1), "a hub that cannot be asked is not known to be well");
    assert!(said.contains("--admin-listen \"here\" must be"), "{said}");
}

#[tokio::test]
async fn a_broken_configuration_file_does_not_make_a_running_hub_ill() {
    let hub = Backend::Memory.hub().await;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("rivulet.toml");
    std::fs::write(&file, "heartbeat = = 1").expect("a file");
    let file = file.to_string_lossy();
    let admin = hub.admin().to_string();
    let (code, said) = answer(&[("RIVULET_CONFIG", &file), ("RIVULET_ADMIN_LISTEN", &admin)], &[]);
    assert_eq!(code, Some(0), "{said}");
    // Where it asks at the wrong place for that, it says so.
    let nobody = port::free().to_string();
    let (code, said) = answer(&[("RIVULET_CONFIG", &file), ("RIVULET_ADMIN_LISTEN", &nobody)], &[]);
    assert_eq!(code, Some(1));
    assert!(said.contains("does not answer") && said.contains("--config: line 1"), "{said}");
}

/// A hub whose admin listener speaks TLS.
fn start_with_tls(admin: &str, tls: &[(&str, String)], log: &Path) -> Process {
    let mut command = hub::command();
    command.envs(Hub::DEFAULTS).args(["--listen", &port::free().to_string(), "--admin-listen", admin]);
    command.envs(tls.iter().map(|(name, value)| (name, value)));
    Process::start(&mut command, log)
}

#[tokio::test]
async fn tls_is_spoken_where_the_hub_does_and_a_certificate_shown_where_it_asks_for_one() {
    let (authority, other) = (Authority::of(&["server", "client"]), Authority::of(&["client"]));
    let admin = port::free().to_string();
    let dir = tempfile::tempdir().expect("a temporary directory");
    let log = dir.path().join("log");
    let tls = [
        ("RIVULET_ADMIN_TLS_CERT_FILE", authority.file("server.crt")),
        ("RIVULET_ADMIN_TLS_KEY_FILE", authority.file("server.key")),
        ("RIVULET_ADMIN_TLS_CLIENT_CA_FILE", authority.file("ca.crt")),
    ];
    let environment = |tls: &[(&'static str, String)]| -> Vec<(String, String)> {
        let tls = tls.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        tls.chain([("RIVULET_ADMIN_LISTEN".to_owned(), admin.clone())]).collect()
    };
    let ask = |tls: &[(&'static str, String)], arguments: &[&str]| {
        let environment = environment(tls);
        let environment: Vec<_> = environment.iter().map(|(name, value)| (&**name, &**value)).collect();
        answer(&environment, arguments)
    };
    let becomes_healthy = async |tls: &[(&'static str, String)]| {
        eventually("healthy", PATIENCE, || async {
            match ask(tls, &[]) {
                (Some(0), said) => Ok(said),
                other => Err(format!("{other:?}\n{}", std::fs::read_to_string(&log).unwrap_or_default())),
            }
        })
        .await
    };

    let without_ca = &tls[..2];
    let hub = start_with_tls(&admin, without_ca, &log);
    let said = becomes_healthy(without_ca).await;
    assert!(said.starts_with("https://"), "{said}");
    assert_eq!(ask(&[], &[]).0, Some(1), "it does not speak plain HTTP");
    drop(hub);

    let _hub = start_with_tls(&admin, &tls, &log);
    becomes_healthy(&tls).await;
    let files = |authority: &Authority| {
        [("RIVULET_HEALTHCHECK_CERT_FILE", "client.crt"), ("RIVULET_HEALTHCHECK_KEY_FILE", "client.key")]
            .map(|(variable, file)| (variable, authority.file(file)))
    };
    let known = [&tls[..], &files(&authority)].concat();
    assert_eq!(ask(&known, &[]).0, Some(0));
    let foreign = [&tls[..], &files(&other)].concat();
    let (code, said) = ask(&foreign, &[]);
    assert_eq!(code, Some(1), "{said}");
    assert_eq!(ask(without_ca, &[]).0, Some(1), "without any certificate");
}
