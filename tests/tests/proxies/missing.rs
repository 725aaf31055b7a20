//! What `docs/proxies.md` says that breaks if a line is missing, where it can be shown in a second or two.

use std::sync::Arc;

use rivulet_tests::proxy::{Change, Software};
use tokio::{sync::Semaphore, task::JoinSet};

use super::check::Check;

/// Each change breaks this.
type Breakage = (Change<'static>, Check);

/// Without a change nothing breaks.
type Case = (Option<Change<'static>>, Check);

/// So many proxies and nodes at once: they mostly wait.
const TOGETHER: usize = 3;

pub(crate) fn breakages(software: Software) -> Vec<Breakage> {
    match software {
        Software::Nginx => vec![
            (("ssl http2;", "ssl;"), Check::Http2),
            (("http2_max_concurrent_streams 256;", "http2_max_concurrent_streams 6;"), Check::ManyStreams),
            (("proxy_set_header X-Forwarded-For $remote_addr;", ""), Check::ForgersAreSeen),
            (("access_log off;", "gzip on; gzip_types text/event-stream;"), Check::Uncompressed),
            (("client_max_body_size 8m;", ""), Check::LongBody),
            (("proxy_next_upstream error timeout http_503;", ""), Check::PassedOver),
            (("timeout http_503;", "timeout http_503 non_idempotent;"), Check::PublishedOnce),
        ],
        Software::Haproxy => vec![
            (("alpn h2,http/1.1", "alpn http/1.1"), Check::Http2),
            (("tune.h2.max-concurrent-streams 256", "tune.h2.max-concurrent-streams 6"), Check::ManyStreams),
            (("http-request set-header X-Forwarded-For %[src]", ""), Check::ForgersAreSeen),
            (("retry-on conn-failure 503", ""), Check::PassedOver),
            (("option redispatch 1", ""), Check::PassedOver),
            (("option abortonclose", ""), Check::AbortsNoticed),
            (("http-request disable-l7-retry unless METH_GET", ""), Check::PublishedOnce),
        ],
        Software::Envoy => vec![
            (("alpn_protocols: [h2, http/1.1]", "alpn_protocols: [http/1.1]"), Check::Http2),
            (("max_concurrent_streams: 256", "max_concurrent_streams: 6"), Check::ManyStreams),
            (("use_remote_address: true", "use_remote_address: false"), Check::ForgersAreSeen),
            (("timeout: 0s", "timeout: 3s"), Check::StaysOpen),
            (("connect-failure,retriable-status-codes", "connect-failure"), Check::PassedOver),
            (("string_match: { exact: GET }", "string_match: { exact: POST }"), Check::PublishedOnce),
        ],
        Software::Traefik => vec![
            (("writeTimeout: 0s", "writeTimeout: 3s"), Check::StaysOpen),
            (("path: /ready", "path: /live"), Check::DrainUnseen),
        ],
        Software::Caddy => vec![
            (("protocols h1 h2", "protocols h1"), Check::Http2),
            (("https://:8443 {", "https://:8443 {\n\tencode gzip"), Check::Uncompressed),
            (("health_uri /ready", "health_uri /live"), Check::DrainUnseen),
        ],
    }
}

pub(crate) async fn break_each(software: Software) {
    let breakages = breakages(software);
    let mut checks: Vec<Check> = breakages.iter().map(|(_, check)| *check).collect();
    checks.retain(|check| !check.has_a_test());
    checks.dedup();
    let whole = checks.into_iter().map(|check| (None, check));
    let cases: Vec<Case> =
        breakages.into_iter().map(|(change, check)| (Some(change), check)).chain(whole).collect();
    let mut running = JoinSet::new();
    let places = Arc::new(Semaphore::new(TOGETHER));
    for (change, check) in cases {
        let places = Arc::clone(&places);
        running.spawn(async move {
            let _place = places.acquire_owned().await.expect("nobody closes it");
            let changes: Vec<Change<'_>> = change.into_iter().collect();
            (change, check, check.run(software, &changes).await)
        });
    }
    while let Some(ended) = running.join_next().await {
        let (change, check, outcome) = ended.expect("no panic");
        match change {
            Some(change) => assert!(outcome.is_err(), "{software}: {change:?} does not break {check:?}"),
            None => assert_eq!(outcome, Ok(()), "{software}, as it is shipped: {check:?}"),
        }
    }
}
