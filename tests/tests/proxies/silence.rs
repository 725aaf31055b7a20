//! Streams that are silent but for heartbeats, and proxies that wait for less or for more than one.

use rivulet_tests::proxy::{Change, Software};

use super::check::Check;

/// The waits of a proxy that count for a stream's silence, three seconds and one.
pub(crate) fn waits(software: Software) -> [&'static [Change<'static>]; 2] {
    match software {
        Software::Nginx => [
            &[("proxy_read_timeout 60s", "proxy_read_timeout 3s")],
            &[("proxy_read_timeout 60s", "proxy_read_timeout 1s")],
        ],
        Software::Haproxy => [
            &[("timeout client 60s", "timeout client 3s"), ("timeout server 60s", "timeout server 3s")],
            &[("timeout server 60s", "timeout server 1s")],
        ],
        Software::Envoy => {
            [&[("idle_timeout: 60s", "idle_timeout: 3s")], &[("idle_timeout: 60s", "idle_timeout: 1s")]]
        }
        // They have none.
        Software::Traefik | Software::Caddy => [&[], &[]],
    }
}

/// Heartbeats come every two seconds: three seconds of patience are enough, one is not.
pub(crate) async fn outlive(software: Software) {
    let [enough, too_short] = waits(software);
    let lives = Check::StaysOpen.run(software, enough);
    if too_short.is_empty() {
        assert_eq!(lives.await, Ok(()), "{software}");
        return;
    }
    let (lives, dies) = tokio::join!(lives, Check::StaysOpen.run(software, too_short));
    assert_eq!(lives, Ok(()), "{software}");
    assert!(dies.is_err(), "{software} cuts what is silent for longer than it waits");
}
