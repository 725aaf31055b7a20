//! What `docs/proxies.md` says that breaks if a line is missing, where it can be shown in a second or two.

use rivulet_tests::proxy::{Change, Software};

use super::check::Check;

/// Each change breaks this.
type Breakage = (Change<'static>, Check);

fn breakages(software: Software) -> Vec<Breakage> {
    match software {
        Software::Nginx => vec![
            (("ssl http2;", "ssl;"), Check::Http2),
            (("http2_max_concurrent_streams 256;", "http2_max_concurrent_streams 6;"), Check::ManyStreams),
            (("proxy_set_header X-Forwarded-For $remote_addr;", ""), Check::ForgersAreSeen),
            (("client_max_body_size 8m;", ""), Check::LongBody),
            (("proxy_next_upstream error timeout http_503;", ""), Check::PassedOver),
            (("proxy_next_upstream error timeout http_503;", ""), Check::DrainUnseen),
            (("timeout http_503;", "timeout http_503 non_idempotent;"), Check::PublishedOnce),
        ],
        Software::Haproxy => vec![
            (("alpn h2,http/1.1", "alpn http/1.1"), Check::Http2),
            (("tune.h2.max-concurrent-streams 256", "tune.h2.max-concurrent-streams 6"), Check::ManyStreams),
            (("http-request set-header X-Forwarded-For %[src]", ""), Check::ForgersAreSeen),
            (("retry-on conn-failure 503", ""), Check::PassedOver),
            (("option redispatch 1", ""), Check::PassedOver),
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
            (("readTimeout: 0s", "readTimeout: 3s"), Check::StaysOpen),
            (("writeTimeout: 0s", "writeTimeout: 3s"), Check::StaysOpen),
            (("path: /ready", "path: /live"), Check::DrainUnseen),
        ],
        Software::Caddy => vec![
            (("protocols h1 h2", "protocols h1"), Check::Http2),
            (("lb_retries 2", "lb_retries 2\n\t\t\tflush_interval -1"), Check::AbortsNoticed),
            (("health_uri /ready", "health_uri /live"), Check::DrainUnseen),
        ],
    }
}

pub(crate) async fn break_each(software: Software) {
    let breakages = breakages(software);
    let mut checks: Vec<Check> = Vec::new();
    let mut unbroken = Vec::new();
    for (change, check) in breakages {
        if !checks.contains(&check) {
            checks.push(check);
        }
        if check.run(software, &[change]).await.is_ok() {
            unbroken.push((change, check));
        }
    }
    assert!(unbroken.is_empty(), "{software}: nothing breaks by {unbroken:?}");
    for check in checks {
        let outcome = check.run(software, &[]).await;
        assert_eq!(outcome, Ok(()), "{software}, as it is shipped: {check:?}");
    }
}
