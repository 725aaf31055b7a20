//! TLS on the hub's own listener, from the handshake to the end of a stream.

use std::path::Path;

use rivulet_tests::{
    Hub, PATIENCE, Request, Subscriber, certificates::Authority, eventually, refusal::Refusal, sse::Block,
    tls, tokens,
};

/// A hub that shows the certificate in these files of its own.
struct Secured {
    hub: Hub,
    authority: Authority,
}

/// Puts a certificate into the files that the hub reads, and its key.
fn show(authority: &Authority, name: &str) {
    show_part(authority, name, "crt");
    show_part(authority, name, "key");
}

fn show_part(authority: &Authority, name: &str, part: &str) {
    let [from, to] = [name, "shown"].map(|name| authority.file(&format!("{name}.{part}")));
    std::fs::copy(from, to).expect("files of ours");
}

impl Secured {
    async fn start(flags: &[&str]) -> Self {
        let authority = Authority::of(&["first", "second"]);
        let (chain, key) = (authority.file("shown.crt"), authority.file("shown.key"));
        show(&authority, "first");
        let tls = ["--tls-cert-file", &chain, "--tls-key-file", &key];
        let hub = Hub::start(None, &[&tls[..], flags].concat()).await;
        Self { hub, authority }
    }

    async fn connect(&self) -> tokio_rustls::client::TlsStream<tokio::net::TcpStream> {
        let authority = self.authority.file("ca.crt");
        tls::connect(self.hub.address(), Path::new(&authority)).await.expect("a handshake")
    }

    async fn subscribe(&self, query: &str) -> Subscriber {
        let request = Request::subscribe(query).encode();
        Subscriber::try_open_over(self.connect().await, &request).await.expect("it is not refused")
    }

    async fn publish(&self, data: &str) {
        let request = Request::publish(&[("topic", "a"), ("data", data)]);
        let answer = request.bearer(&tokens::publisher(&["*"])).send_over(self.connect().await).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_over_tls_live_through_a_new_certificate_and_end_with_a_drain() {
    let mut secured =
        Secured::start(&["--heartbeat", "1s", "--drain-delay", "1s", "--drain-period", "2s"]).await;
    let mut old = secured.subscribe("topic=a").await;
    secured.publish("first").await;
    assert_eq!(old.data(1).await, ["first"]);
    let first = tls::certificate(&secured.connect().await);

    // A pair that does not belong together is refused, and the old one is shown on.
    show_part(&secured.authority, "second", "crt");
    secured.hub.signal("HUP");
    eventually("the refusal is logged", PATIENCE, || async {
        let log = secured.hub.log();
        if log.contains("The new certificate is refused") { Ok(()) } else { Err(log) }
    })
    .await;
    assert_eq!(tls::certificate(&secured.connect().await), first);
    show(&secured.authority, "second");
    secured.hub.signal("HUP");
    eventually("the new certificate is shown", PATIENCE, || async {
        if tls::certificate(&secured.connect().await) == first { Err("the old one is") } else { Ok(()) }
    })
    .await;
    let mut new = secured.subscribe("topic=a").await;
    secured.publish("second").await;
    assert_eq!((old.data(1).await, new.data(1).await), (vec!["second".into()], vec!["second".into()]));

    secured.hub.signal("TERM");
    for stream in [&mut old, &mut new] {
        let mut retry = None;
        while let Some(block) = stream.block().await {
            if let Block::Event(event) = block {
                retry = event.retry.or(retry);
            }
        }
        assert!(retry.is_some(), "it is told when to come back");
    }
    let status = tokio::task::block_in_place(|| secured.hub.wait());
    assert_eq!(status.code(), Some(0), "{}", secured.hub.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_speak_tls_and_who_stalls_is_counted_and_disturbs_nobody() {
    let secured = Secured::start(&[]).await;
    let mut stream = secured.subscribe("topic=a").await;
    let failed = |reason: &str| {
        secured.hub.metrics().sum("rivulet_handshakes_failed_total", &format!("reason=\"{reason}\""))
    };
    let mut plain = tokio::net::TcpStream::connect(secured.hub.address()).await.expect("it listens");
    let _stalled = tokio::net::TcpStream::connect(secured.hub.address()).await.expect("it listens");
    tokio::io::AsyncWriteExt::write_all(&mut plain, &Request::subscribe("topic=a").encode())
        .await
        .expect("it reads");
    eventually("the failure is counted", PATIENCE, || async {
        match failed("error") {
            Some(1.0) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    secured.publish("meanwhile").await;
    assert_eq!(stream.data(1).await, ["meanwhile"]);
    eventually("the one that stalls is given up", 2 * PATIENCE, || async {
        match failed("timeout") {
            Some(1.0) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

#[test]
fn mistakes_of_certificates_are_told_at_the_start() {
    let authority = Authority::of(&["one", "other"]);
    let file = |name: &str| authority.file(name);
    let (certificate, other_key) = (file("one.crt"), file("other.key"));
    let refused = |flags: &[&str], words: &[&str]| {
        let refusal = Refusal::of("redis://127.0.0.1:1", flags);
        assert_eq!(refusal.code, Some(64), "{flags:?}: {}", refusal.said);
        for word in words {
            assert!(refusal.said.contains(word), "{word:?} is not in {}", refusal.said);
        }
    };
    refused(&["--tls-cert-file", &certificate], &["--tls-cert-file needs --tls-key-file"]);
    refused(&["--tls-key-file", &other_key], &["--tls-key-file needs --tls-cert-file"]);
    let pair = ["--tls-cert-file", &certificate, "--tls-key-file", &other_key];
    refused(&pair, &["--tls-key-file", &other_key, "must be the key of the first certificate"]);
    let swapped = ["--tls-cert-file", &other_key, "--tls-key-file", &certificate];
    refused(&swapped, &["--tls-cert-file", "BEGIN CERTIFICATE", "--tls-key-file", "BEGIN PRIVATE KEY"]);
    let nowhere = ["--tls-cert-file", "/nowhere", "--tls-key-file", &other_key];
    refused(&nowhere, &["--tls-cert-file \"/nowhere\" cannot be read"]);
}

#[tokio::test]
async fn a_hub_without_certificates_has_nothing_to_read_again() {
    let hub = Hub::start(None, &[]).await;
    let mut stream = hub.subscribe("topic=a").await;
    hub.signal("HUP");
    eventually("it is logged", PATIENCE, || async {
        let log = hub.log();
        if log.contains("SIGHUP") { Ok(()) } else { Err(log) }
    })
    .await;
    hub.publish(&[("topic", "a"), ("data", "still here")]).await;
    assert_eq!(stream.data(1).await, ["still here"]);
}
