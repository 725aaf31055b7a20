//! Redis behind TLS: our own authority, wrong ones, certificates of clients, a cluster.

use std::net::SocketAddr;

use rivulet_tests::{
    Hub, certificates::Authority, port, redis::RedisServer, redis_cluster::RedisCluster, refusal::Refusal,
};

/// What a server needs that speaks TLS on one port, and plainly on another for the test itself.
struct Tls {
    authority: Authority,
    address: SocketAddr,
}

impl Tls {
    fn new() -> Self {
        Self { authority: Authority::of(&["server", "client"]), address: port::free() }
    }

    /// `clients`: whether they must have certificates, `yes` or `no`.
    fn lines(&self, clients: &str) -> Vec<String> {
        let file = |setting: &str, name: &str| format!("{setting} {}", self.authority.file(name));
        vec![
            format!("tls-port {}", self.address.port()),
            format!("tls-auth-clients {clients}"),
            file("tls-cert-file", "server.crt"),
            file("tls-key-file", "server.key"),
            file("tls-ca-cert-file", "ca.crt"),
        ]
    }

    async fn server(&self, clients: &str) -> RedisServer {
        let lines = self.lines(clients);
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        RedisServer::start_with(port::free(), &lines).await
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
    let tls = Tls::new();
    let redis = tls.server("no").await;
    let url = tls.url("rediss");
    check(&Hub::start_at(&url, &["--redis-ca-file", &tls.authority.file("ca.crt")]).await).await;
    let other = Authority::of(&[]);
    for flags in [&["--redis-ca-file", &other.file("ca.crt")][..], &[]] {
        let refusal = Refusal::of(&url, flags);
        refusal.expect(69, &["--redis-url", &tls.address.to_string(), "certificate"]);
        assert!(refusal.took.as_secs() < 5, "{refusal:?}");
    }
    // Another name than that of the certificate.
    let url = url.replace("127.0.0.1", "127.0.0.2");
    let lines = redis.command(&["CONFIG", "GET", "bind"]).expect("it answers");
    assert!(lines.contains("127.0.0.1"), "{lines}");
    redis.command(&["CONFIG", "SET", "bind", "127.0.0.1 127.0.0.2"]).expect("it can be configured");
    let refusal = Refusal::of(&url, &["--redis-ca-file", &tls.authority.file("ca.crt")]);
    refusal.expect(69, &["--redis-url", "certificate", "127.0.0.2"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_asks_for_a_certificate_gets_ours() {
    let tls = Tls::new();
    let _redis = tls.server("yes").await;
    let [ca, certificate, key] = ["ca.crt", "client.crt", "client.key"].map(|name| tls.authority.file(name));
    let url = tls.url("rediss");
    let flags = ["--redis-ca-file", &ca, "--redis-cert-file", &certificate, "--redis-key-file", &key];
    check(&Hub::start_at(&url, &flags).await).await;
    let refusal = Refusal::of(&url, &flags[..2]);
    refusal.expect(69, &["--redis-url", &tls.address.to_string(), "ertificate"]);
    let stranger = Authority::of(&["client"]);
    let [certificate, key] = ["client.crt", "client.key"].map(|name| stranger.file(name));
    let flags = ["--redis-ca-file", &ca, "--redis-cert-file", &certificate, "--redis-key-file", &key];
    let refusal = Refusal::of(&url, &flags);
    refusal.expect(69, &["--redis-url", &tls.address.to_string()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_behind_tls_is_served() {
    let tls = Tls::new();
    let mut lines = tls.lines("no");
    lines.extend(["tls-cluster yes", "tls-replication yes"].map(str::to_owned));
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let _redis = RedisCluster::start_single(&lines).await;
    let flags = ["--redis-ca-file", &tls.authority.file("ca.crt"), "--redis-partitions", "4"];
    check(&Hub::start_at(&tls.url("rediss+cluster"), &flags).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_and_plain_text_mixed_up_is_refused() {
    let tls = Tls::new();
    let redis = tls.server("no").await;
    let ca = tls.authority.file("ca.crt");
    let plain = Refusal::of(&tls.url("redis"), &[]);
    plain.expect(69, &["--redis-url", &tls.address.to_string()]);
    assert!(plain.took.as_secs() < 10, "{plain:?}");
    let url = redis.url().replace("redis://", "rediss://");
    let other = Refusal::of(&url, &["--redis-ca-file", &ca]);
    other.expect(69, &["--redis-url"]);
    assert!(other.took.as_secs() < 10, "{other:?}");
    let text = Refusal::of(&tls.url("rediss"), &["--redis-ca-file", &tls.authority.file("openssl.cnf")]);
    text.expect(64, &["--redis-ca-file", "holds no CERTIFICATE"]);
    let missing = Refusal::of(&tls.url("rediss"), &["--redis-ca-file", "/nowhere/ca.crt"]);
    missing.expect(64, &["--redis-ca-file"]);
}
