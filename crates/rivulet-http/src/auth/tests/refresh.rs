//! Key sets that change: read again for unknown keys, once, not too often, and never lost.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    sync::Notify,
    time::timeout,
};

use super::{
    super::key_cache::{KeySetReads, RefreshTiming},
    *,
};

const DEADLINE: Duration = Duration::from_secs(20);

/// An issuer's web server: answers whatever it is told to, and counts.
struct Issuer {
    address: std::net::SocketAddr,
    answer: parking_lot::Mutex<Vec<u8>>,
    requests: AtomicUsize,
    requested: Notify,
}

impl Issuer {
    async fn start(answer: Vec<u8>) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = Arc::new(Self {
            address: listener.local_addr().unwrap(),
            answer: parking_lot::Mutex::new(answer),
            requests: AtomicUsize::new(0),
            requested: Notify::new(),
        });
        let serving = Arc::clone(&issuer);
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let mut head = Vec::new();
                // Whoever begins with anything but GET speaks TLS, and is answered at once.
                let is_http = |head: &[u8]| head.first().is_none_or(|byte| *byte == b'G');
                while is_http(&head) && !head.ends_with(b"\r\n\r\n") {
                    if !socket.read_buf(&mut head).await.is_ok_and(|len| len > 0) {
                        break;
                    }
                }
                serving.requests.fetch_add(1, Ordering::SeqCst);
                serving.requested.notify_waiters();
                let answer = serving.answer.lock().clone();
                let _ = socket.write_all(&answer).await;
            }
        });
        issuer
    }

    fn says(&self, answer: Vec<u8>) {
        *self.answer.lock() = answer;
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    /// Waits until it was asked this often.
    async fn asked(&self, times: usize) {
        timeout(DEADLINE, async {
            loop {
                let requested = self.requested.notified();
                if self.requests() >= times {
                    break;
                }
                requested.await;
            }
        })
        .await
        .expect("the issuer is asked");
    }

    /// A started hub that trusts it.
    fn hub(&self, interval_min: Duration) -> Authorizer {
        self.hub_by("http", interval_min)
    }

    fn hub_by(&self, scheme: &str, interval_min: Duration) -> Authorizer {
        let keys = KeySource::JwksUrl { url: url(&format!("{scheme}://{}/keys", self.address)) };
        let issuers = vec![TrustedIssuer::new(ISSUER, keys)];
        let config = AuthConfig { v1: Some(V1Config { issuers, ..v1_config() }), ..AuthConfig::default() };
        let timing = RefreshTiming { interval_min, backoff_min: Duration::from_millis(5) };
        let hub = Authorizer::with_timing(config, timing, None).unwrap();
        hub.start(&tokio::runtime::Handle::current());
        hub
    }
}

fn ok(keys: &[Value]) -> Vec<u8> {
    let body = json!({"keys": keys}).to_string();
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
        .into_bytes()
}

fn failing() -> Vec<u8> {
    b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec()
}

fn key(id: &str, alg: Alg) -> Value {
    jwk(alg, &json!({"kid": id}))
}

async fn verify_signed(hub: &Authorizer, id: &str, alg: Alg) -> Result<Verified, AuthError> {
    let header = json!({"alg": Algorithm(alg).to_string(), "typ": "at+jwt", "kid": id});
    let bearer = format!("Bearer {}", mint(&header, &v1_claims(), alg, &private_key(alg)));
    let parts = CredentialParts { authorization: &[bearer.as_bytes()], ..CredentialParts::default() };
    let credential = hub.credential(&parts).unwrap().unwrap();
    timeout(DEADLINE, hub.verify(&credential, Purpose::Subscribe, now())).await.expect("verifying is bounded")
}

fn check_of(result: Result<Verified, AuthError>) -> Option<Check> {
    result.err().map(|error| error.check())
}

#[tokio::test]
async fn the_first_token_waits_for_the_first_read() {
    let issuer = Issuer::start(ok(&[key("a", Alg::ES256)])).await;
    let hub = issuer.hub(DEADLINE);
    assert_eq!(check_of(verify_signed(&hub, "a", Alg::ES256).await), None);
    assert_eq!(issuer.requests(), 1);
}

#[test]
fn a_worker_with_a_runtime_of_its_own_can_wait() {
    let shared = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (issuer, hub) = shared.block_on(async {
        let issuer = Issuer::start(ok(&[key("a", Alg::ES256)])).await;
        let hub = issuer.hub(Duration::ZERO);
        (issuer, hub)
    });
    let worker = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    assert_eq!(check_of(worker.block_on(verify_signed(&hub, "a", Alg::ES256))), None);
    issuer.says(ok(&[key("b", Alg::EdDSA)]));
    assert_eq!(check_of(worker.block_on(verify_signed(&hub, "b", Alg::EdDSA))), None);
}

#[tokio::test]
async fn an_unknown_key_is_looked_for_once_and_not_too_often() {
    let issuer = Issuer::start(ok(&[key("a", Alg::ES256)])).await;
    let hub = issuer.hub(Duration::ZERO);
    assert_eq!(check_of(verify_signed(&hub, "a", Alg::ES256).await), None);
    // The issuer changes its key, and twenty clients come with tokens of the new one: one read serves them all.
    issuer.says(ok(&[key("b", Alg::EdDSA)]));
    let before = issuer.requests();
    let clients = (0..20).map(|_| verify_signed(&hub, "b", Alg::EdDSA));
    for result in futures_util::future::join_all(clients).await {
        assert_eq!(check_of(result), None);
    }
    assert_eq!(issuer.requests(), before + 1);
    assert_eq!(
        check_of(verify_signed(&hub, "a", Alg::ES256).await),
        Some(Check::KeyUnknown),
        "the old key is gone"
    );

    let hub = issuer.hub(DEADLINE * 100);
    assert_eq!(check_of(verify_signed(&hub, "b", Alg::EdDSA).await), None);
    let before = issuer.requests();
    for id in ["x", "y", "z"] {
        assert_eq!(check_of(verify_signed(&hub, id, Alg::EdDSA).await), Some(Check::KeyUnknown));
    }
    assert_eq!(issuer.requests(), before, "the set is young");
    let reads = BTreeMap::from([("issuer_0".to_owned(), KeySetReads { done: 1, failed: 0 })]);
    assert_eq!(hub.key_set_reads(), reads);
}

#[tokio::test]
async fn a_failed_read_keeps_the_keys() {
    let issuer = Issuer::start(ok(&[key("a", Alg::ES256)])).await;
    let hub = issuer.hub(Duration::ZERO);
    assert_eq!(check_of(verify_signed(&hub, "a", Alg::ES256).await), None);
    let redirect =
        b"HTTP/1.1 302 Found\r\nLocation: /other\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec();
    let long = [b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".as_slice(), &vec![b' '; 2 << 20]].concat();
    for answer in
        [failing(), redirect, long, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]".to_vec(), Vec::new()]
    {
        issuer.says(answer);
        assert_eq!(check_of(verify_signed(&hub, "b", Alg::ES384).await), Some(Check::KeyUnknown));
        assert_eq!(check_of(verify_signed(&hub, "a", Alg::ES256).await), None, "the old key still works");
    }
    issuer.says(ok(&[key("b", Alg::ES384)]));
    let retried = async { while check_of(verify_signed(&hub, "b", Alg::ES384).await).is_some() {} };
    timeout(DEADLINE, retried).await.expect("it is read again");
}

#[tokio::test]
async fn a_hub_starts_while_its_issuer_is_down() {
    let issuer = Issuer::start(failing()).await;
    let hub = issuer.hub(Duration::from_millis(50));
    issuer.asked(3).await;
    let error = verify_signed(&hub, "a", Alg::PS384).await.unwrap_err();
    assert_eq!((error.check(), error.status()), (Check::KeysUnavailable, 503));
    issuer.says(ok(&[key("a", Alg::PS384)]));
    let recovered = async {
        while check_of(verify_signed(&hub, "a", Alg::PS384).await).is_some() {
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, recovered).await.expect("it is tried again");
    let reads = hub.key_set_reads();
    assert!(matches!(reads["issuer_0"], KeySetReads { done: 1.., failed: 2.. }), "{reads:?}");
}

#[tokio::test]
async fn the_reads_of_each_set_are_counted_under_its_name() {
    let (alive, dead) = (Issuer::start(ok(&[key("a", Alg::ES256)])).await, Issuer::start(failing()).await);
    let set = |issuer: &Issuer| KeySource::JwksUrl { url: url(&format!("http://{}/keys", issuer.address)) };
    let other = KeySource::JwksUrl { url: url(&format!("http://{}/others", alive.address)) };
    let v0 = V0Config { publisher: Some(set(&dead)), subscriber: Some(set(&alive)), ..v0_config() };
    let issuers = vec![
        TrustedIssuer::new("https://a.example", other),
        TrustedIssuer::new("https://b.example", set(&dead)),
    ];
    let v1 = V1Config { issuers, ..v1_config() };
    let config = AuthConfig { v0: Some(v0), v1: Some(v1), ..AuthConfig::default() };
    let timing = RefreshTiming { interval_min: DEADLINE, backoff_min: Duration::from_millis(5) };
    let hub = Authorizer::with_timing(config, timing, None).unwrap();
    hub.start(&tokio::runtime::Handle::current());
    let counted = async {
        loop {
            let reads = hub.key_set_reads();
            let reads: Vec<_> = reads.iter().map(|(name, reads)| (name.as_str(), *reads)).collect();
            let done = KeySetReads { done: 1, failed: 0 };
            if let [("issuer_0", own), ("publisher", failing), ("subscriber", shared)] = reads[..]
                && [own, shared] == [done, done]
                && failing.done == 0
                && failing.failed > 1
            {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    let counted = timeout(DEADLINE, counted).await;
    counted.unwrap_or_else(|_| panic!("{:?}", hub.key_set_reads()));
}

#[tokio::test]
async fn an_https_issuer_without_tls_is_a_failed_read() {
    let issuer = Issuer::start(ok(&[key("a", Alg::ES256)])).await;
    let hub = issuer.hub_by("https", DEADLINE);
    assert_eq!(check_of(verify_signed(&hub, "a", Alg::ES256).await), Some(Check::KeysUnavailable));
}

#[tokio::test]
async fn shared_secrets_behind_a_url_are_ignored() {
    let issuer = Issuer::start(ok(&[key("a", Alg::HS256), key("b", Alg::RS256)])).await;
    let hub = issuer.hub(DEADLINE);
    assert_eq!(check_of(verify_signed(&hub, "b", Alg::RS256).await), None);
    assert_eq!(check_of(verify_signed(&hub, "a", Alg::HS256).await), Some(Check::KeyUnknown));
}

#[tokio::test]
async fn a_file_is_read_again_for_an_unknown_key() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let write = |keys: &[Value]| std::fs::write(file.path(), json!({"keys": keys}).to_string()).unwrap();
    write(&[key("a", Alg::ES256)]);
    let issuers = vec![TrustedIssuer::new(ISSUER, KeySource::JwksFile { path: file.path().to_owned() })];
    let config = AuthConfig { v1: Some(V1Config { issuers, ..v1_config() }), ..AuthConfig::default() };
    let timing = RefreshTiming { interval_min: Duration::ZERO, ..RefreshTiming::default() };
    let hub = Authorizer::with_timing(config, timing, None).unwrap();
    assert_eq!(check_of(verify_signed(&hub, "a", Alg::ES256).await), None, "even before it is started");
    assert_eq!(check_of(verify_signed(&hub, "b", Alg::HS512).await), Some(Check::KeyUnknown));
    hub.start(&tokio::runtime::Handle::current());
    write(&[key("b", Alg::HS512)]);
    assert_eq!(check_of(verify_signed(&hub, "b", Alg::HS512).await), None);
}

#[tokio::test]
async fn the_task_ends_with_the_authorizer() {
    let issuer = Issuer::start(ok(&[key("a", Alg::ES256)])).await;
    let hub = issuer.hub(DEADLINE);
    hub.start(&tokio::runtime::Handle::current());
    issuer.asked(1).await;
    let cache = Arc::downgrade(&hub.caches[0].kept.cache);
    drop(hub);
    let ended = async {
        while cache.strong_count() > 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, ended).await.expect("nobody holds the keys any more");
}

#[tokio::test]
async fn a_successor_takes_over_what_has_not_changed_and_the_rest_ends() {
    let (issuer, other) =
        (Issuer::start(ok(&[key("a", Alg::ES256)])).await, Issuer::start(ok(&[key("b", Alg::ES256)])).await);
    let source =
        |issuer: &Issuer| KeySource::JwksUrl { url: url(&format!("http://{}/keys", issuer.address)) };
    let config = |issuers: Vec<TrustedIssuer>| AuthConfig {
        v1: Some(V1Config { issuers, ..v1_config() }),
        ..AuthConfig::default()
    };
    let both = vec![TrustedIssuer::new(ISSUER, source(&issuer)), TrustedIssuer::new("b", source(&other))];
    let first = Authorizer::new(config(both)).unwrap();
    let runtime = tokio::runtime::Handle::current();
    first.start(&runtime);
    let done = KeySetReads { done: 1, failed: 0 };
    let expected = BTreeMap::from([("issuer_0".to_owned(), done), ("issuer_1".to_owned(), done)]);
    let read = async {
        while first.key_set_reads() != expected {
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, read).await.expect("both are read");
    assert_eq!(check_of(verify_signed(&first, "a", Alg::ES256).await), None);
    let removed = first
        .caches
        .iter()
        .find(|set| set.kept.source == source(&other))
        .map(|set| Arc::downgrade(&set.kept.cache));
    let removed = removed.unwrap();
    let one = || vec![TrustedIssuer::new(ISSUER, source(&issuer))];
    let second = Authorizer::succeeding(&first, config(one())).unwrap();
    second.start(&runtime);
    assert_eq!(check_of(verify_signed(&second, "a", Alg::ES256).await), None);
    drop(first);
    let ended = async {
        while removed.strong_count() > 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, ended).await.expect("nobody reads what was left out");
    let third = Authorizer::succeeding(&second, config(one())).unwrap();
    third.start(&runtime);
    drop(second);
    assert_eq!(check_of(verify_signed(&third, "a", Alg::ES256).await), None);
    assert_eq!((third.caches.len(), issuer.requests()), (1, 1), "it was not asked again");
    assert_eq!(third.key_set_reads(), expected, "what was counted stays counted");

    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, json!({"keys": [key("b", Alg::ES256)]}).to_string()).unwrap();
    let path = file.path().to_owned();
    let moved = vec![TrustedIssuer::new("b", KeySource::JwksFile { path }), one().remove(0)];
    let fourth = Authorizer::succeeding(&third, config(moved)).unwrap();
    assert_eq!(fourth.key_set_reads(), expected, "and under the name that it had");
}
