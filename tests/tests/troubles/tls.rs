//! Redis behind TLS: our own authority, wrong ones, certificates of clients, a cluster.

use rivulet_tests::{
    Hub, PATIENCE, certificates::Authority, eventually, port, redis::RedisServer, refusal::Refusal,
};

/// A server that speaks TLS on one port, and plainly on another for the test itself.
struct TlsServer {
    redis: RedisServer,
    authority: Authority,
    address: String,
}

impl TlsServer {
    async fn start(lines: &[&str]) -> Self {
        let authority = Authority::of(&["server", "client"]);
        let address = port::free();
        let file = |setting: &str, name: &str| format!("{setting} {}", authority.file(name));
        let ours = [
            format!("tls-port {}", address.port()),
            file("tls-cert-file", "server.crt"),
            file("tls-key-file", "server.key"),
            file("tls-ca-cert-file", "ca.crt"),
        ];
        let lines: Vec<&str> = ours.iter().map(String::as_str).chain(lines.iter().copied()).collect();
        let redis = RedisServer::start_with(port::free(), &lines).await;
        Self { redis, authority, address: address.to_string() }
    }

    fn url(&self, scheme: &str) -> String {
        format!("{scheme}://{}", self.address)
    }
}

async fn check(hub: &Hub) {
    let mut stream = hub.subscribe("topic=a").await;
    let id = hub.publish(&[("topic", "a"), ("data", "1")]).await;
    hub.publish(&[("topic", "a"), ("data", "2")]).await;
    assert_eq!(stream.data(2).await, ["1", "2"]);
    let query = format!("topic=a&lastEventID={}", rivulet_tests::wire::percent(&id));
    assert_eq!(hub.subscribe(&query).await.data(1).await, ["2"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authority_of_ones_own_is_trusted_and_no_other() {
    let server = TlsServer::start(&["tls-auth-clients no"]).await;
    let url = server.url("rediss");
    check(&Hub::start_at(&url, &["--redis-ca-file", &server.authority.file("ca.crt")]).await).await;
    let other = Authority::of(&[]);
    for flags in [&["--redis-ca-file", &other.file("ca.crt")][..], &[]] {
        let refusal = Refusal::of(&url, flags);
        refusal.expect(69, &["--redis-url", &server.address, "certificate"]);
        assert!(refusal.took.as_secs() < 5, "{refusal:?}");
    }
    // Another name than that of the certificate.
    let url = url.replace("127.0.0.1", "127.0.0.2");
    let lines = server.redis.command(&["CONFIG", "GET", "bind"]).expect("it answers");
    assert!(lines.contains("127.0.0.1"), "{lines}");
    server.redis.command(&["CONFIG", "SET", "bind", "127.0.0.1 127.0.0.2"]).expect("it can be configured");
    let refusal = Refusal::of(&url, &["--redis-ca-file", &server.authority.file("ca.crt")]);
    refusal.expect(69, &["--redis-url", "certificate", "127.0.0.2"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_asks_for_a_certificate_gets_ours() {
    let server = TlsServer::start(&["tls-auth-clients yes"]).await;
    let [ca, certificate, key] =
        ["ca.crt", "client.crt", "client.key"].map(|name| server.authority.file(name));
    let url = server.url("rediss");
    let flags = ["--redis-ca-file", &ca, "--redis-cert-file", &certificate, "--redis-key-file", &key];
    check(&Hub::start_at(&url, &flags).await).await;
    let refusal = Refusal::of(&url, &flags[..2]);
    refusal.expect(69, &["--redis-url", &server.address, "ertificate"]);
    let stranger = Authority::of(&["client"]);
    let [certificate, key] = ["client.crt", "client.key"].map(|name| stranger.file(name));
    let flags = ["--redis-ca-file", &ca, "--redis-cert-file", &certificate, "--redis-key-file", &key];
    let refusal = Refusal::of(&url, &flags);
    refusal.expect(69, &["--redis-url", &server.address]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_behind_tls_is_served() {
    let lines = ["tls-auth-clients no", "cluster-enabled yes", "tls-cluster yes", "tls-replication yes"];
    let server = TlsServer::start(&lines).await;
    server.redis.command(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]).expect("slots of nobody");
    eventually("the cluster is well", PATIENCE, || async {
        let info = server.redis.command(&["CLUSTER", "INFO"])?;
        if info.contains("cluster_state:ok") { Ok(()) } else { Err(info) }
    })
    .await;
    let flags = ["--redis-ca-file", &server.authority.file("ca.crt"), "--redis-partitions", "4"];
    check(&Hub::start_at(&server.url("rediss+cluster"), &flags).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_and_plain_text_mixed_up_is_refused() {
    let server = TlsServer::start(&["tls-auth-clients no"]).await;
    let ca = server.authority.file("ca.crt");
    let plain = Refusal::of(&server.url("redis"), &[]);
    plain.expect(69, &["--redis-url", &server.address]);
    assert!(plain.took.as_secs() < 10, "{plain:?}");
    let url = server.redis.url().replace("redis://", "rediss://");
    let tls = Refusal::of(&url, &["--redis-ca-file", &ca]);
    tls.expect(69, &["--redis-url"]);
    assert!(tls.took.as_secs() < 10, "{tls:?}");
    let text =
        Refusal::of(&server.url("rediss"), &["--redis-ca-file", &server.authority.file("openssl.cnf")]);
    text.expect(64, &["--redis-ca-file", "holds no CERTIFICATE"]);
    let missing = Refusal::of(&server.url("rediss"), &["--redis-ca-file", "/nowhere/ca.crt"]);
    missing.expect(64, &["--redis-ca-file"]);
}
