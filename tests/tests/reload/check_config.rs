//! `rivulet check-config`.

use crate::configured::rivulet;

const SECRET: &str = "a-secret-that-nobody-may-read-0123456789";

#[test]
fn it_says_what_would_be_in_force_without_secrets_and_asks_nobody() {
    // Whoever connected would hang: nobody accepts.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.set_nonblocking(true).expect("a socket option");
    let port = listener.local_addr().expect("an address").port();
    let output = rivulet(&[
        "check-config",
        &format!("--redis-url=redis://user:{SECRET}@127.0.0.1:{port}"),
        &format!("--publisher-jwt-key={SECRET}"),
        &format!("--subscriber-jwks-url=http://127.0.0.1:{port}/keys?key={SECRET}"),
        &format!("--trusted-issuer=https://a.example=HS256:{SECRET}"),
        "--resource=https://hub.example/",
        "--limit-connections-per-ip=5",
        "--heartbeat=7s",
    ]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let (said, warned) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(!said.contains(SECRET) && !warned.contains(SECRET), "{output:?}");
    assert!(warned.contains("warning: --limit-connections-per-ip is 5"), "{warned}");
    for line in [
        "heartbeat = \"7s\" # flag",
        "publisher-jwt-key = \"***\" # flag",
        "trusted-issuer = [\"https://a.example=HS256:***\"] # flag",
        "lifetime = \"600s\" # default",
    ] {
        assert!(said.lines().any(|found| found == line), "{line} is not in {said}");
    }
    assert!(said.parse::<toml::Table>().is_ok(), "{said}");
    let asked = listener.accept().map_err(|error| error.kind());
    assert_eq!(asked.err(), Some(std::io::ErrorKind::WouldBlock), "nobody was asked");
}

#[test]
fn without_keys_it_says_what_serve_says() {
    let [checked, started] = [&["check-config"][..], &["serve"]].map(rivulet);
    assert_eq!((checked.status.code(), started.status.code()), (Some(64), Some(64)));
    assert_eq!(checked.stderr, started.stderr);
}
