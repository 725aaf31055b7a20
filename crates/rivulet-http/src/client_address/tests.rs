//! Walks along lists of proxies: tables, and what no client can write may change.

use proptest::prelude::*;

use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn trusted() -> Vec<IpNet> {
    ["10.0.0.0/8", "fd00::/8", "127.0.0.1/32"].iter().map(|network| network.parse().unwrap()).collect()
}

fn bytes<'a>(lines: &[&'a str]) -> Vec<&'a [u8]> {
    lines.iter().map(|line| line.as_bytes()).collect()
}

fn forwarded(lines: &[&str], client: &str, malformed: bool) {
    let walked = walk(ip("10.0.0.1"), hops(&bytes(lines)), &trusted());
    assert_eq!(walked, Walked { client: ip(client), malformed }, "{lines:?}");
}

fn legacy(lines: &[&str], client: &str, malformed: bool) {
    let walked = walk(ip("10.0.0.1"), legacy_hops(&bytes(lines)), &trusted());
    assert_eq!(walked, Walked { client: ip(client), malformed }, "{lines:?}");
}

#[test]
fn forwarded_is_read_from_the_right_over_trusted_proxies() {
    forwarded(&["for=192.0.2.60;proto=http;by=203.0.113.43"], "192.0.2.60", false);
    forwarded(&["For=192.0.2.60"], "192.0.2.60", false);
    forwarded(&["for=192.0.2.1, for=192.0.2.60"], "192.0.2.60", false);
    forwarded(&["for=192.0.2.1,for=10.9.9.9 , for=\"[fd00::1]:80\""], "192.0.2.1", false);
    forwarded(&["for=192.0.2.1", "for=192.0.2.60", "for=10.9.9.9"], "192.0.2.60", false);
    forwarded(&["for=\"192.0.2.60:4711\""], "192.0.2.60", false);
    forwarded(&["for=192.0.2.60:4711"], "192.0.2.60", false);
    forwarded(&["for=\"192.0.2.60:_port\""], "192.0.2.60", false);
    forwarded(&["For=\"[2001:db8:cafe::17]:4711\""], "2001:db8:cafe::17", false);
    forwarded(&["for=\"[2001:db8:cafe::17]\""], "2001:db8:cafe::17", false);
    forwarded(&["for=\"[::ffff:192.0.2.60]\""], "192.0.2.60", false);
    forwarded(&["for=\"192.0.2.\\60\""], "192.0.2.60", false);
    forwarded(&["by=\"a,for=6.6.6.6;b\";for=192.0.2.60"], "192.0.2.60", false);
    forwarded(&["by=\"a\\\",for=6.6.6.6\";for=192.0.2.60"], "192.0.2.60", false);
    forwarded(&["for=192.0.2.60;;secret=\"\\\\\"", ", ,"], "192.0.2.60", false);
    // All of them are ours: the first one is the client.
    forwarded(&["for=10.0.0.3, for=10.0.0.2"], "10.0.0.3", false);
    forwarded(&[""], "10.0.0.1", false);
}

#[test]
fn what_a_proxy_does_not_tell_ends_the_walk() {
    for hidden in ["for=unknown", "for=Unknown", "for=_hidden", "for=\"_SEVKISEK:80\"", "proto=https"] {
        forwarded(&[&format!("for=192.0.2.1, {hidden}")], "10.0.0.1", false);
        forwarded(&[&format!("for=192.0.2.1, {hidden}, for=10.2.2.2")], "10.2.2.2", false);
    }
}

#[test]
fn what_cannot_be_read_ends_the_walk_at_the_last_good_hop() {
    for malformed in [
        "192.0.2.60",
        "for",
        "for=",
        "for=\"\"",
        "for=192.0.2.60;for=192.0.2.61",
        "for=192.0.2.256",
        "for=192.0.2.60:",
        "for=192.0.2.60:123456",
        "for=\"[2001:db8::1\"",
        "for=\"[2001:db8::1]80\"",
        "for=\"[192.0.2.60]\"",
        "for=\"192.0.2.60",
        "for=\"192.0.2.60\\\"",
        "for=\"192.0.2.60\"x\"",
        "for=_",
        "for=_a b",
        "for=example.com",
        "for=\"fe80::1%eth0\"",
        "for =192.0.2.60;x",
    ] {
        forwarded(&[&format!("for=192.0.2.1, {malformed}")], "10.0.0.1", true);
        forwarded(&[&format!("{malformed}, for=10.2.2.2")], "10.2.2.2", true);
    }
    let hops = hops(&[b"for=\xFF"]);
    assert!(walk(ip("10.0.0.1"), hops, &trusted()).malformed);
}

#[test]
fn x_forwarded_for_is_read_from_the_right_over_trusted_proxies() {
    legacy(&["192.0.2.60"], "192.0.2.60", false);
    legacy(&["6.6.6.6, 192.0.2.60, 10.1.1.1"], "192.0.2.60", false);
    legacy(&["6.6.6.6", "192.0.2.60,10.1.1.1"], "192.0.2.60", false);
    legacy(&["192.0.2.60:4711"], "192.0.2.60", false);
    legacy(&["2001:db8::17"], "2001:db8::17", false);
    legacy(&["[2001:db8::17]:4711 "], "2001:db8::17", false);
    legacy(&["::ffff:192.0.2.60"], "192.0.2.60", false);
    legacy(&["192.0.2.60,,\t,"], "192.0.2.60", false);
    legacy(&["6.6.6.6, unknown, 10.1.1.1"], "10.1.1.1", false);
    legacy(&["6.6.6.6, localhost, 10.1.1.1"], "10.1.1.1", true);
    legacy(&["\"192.0.2.60\""], "10.0.0.1", true);
    legacy(&[], "10.0.0.1", false);
}

#[test]
fn a_peer_without_an_address_is_this_machine() {
    let stats = HttpStats::default();
    let mut headers = HeaderMap::new();
    let resolved = |headers: &HeaderMap, trusted: &[IpNet]| {
        resolve(None, headers, trusted, ForwardingHeader::Forwarded, &stats)
    };
    assert_eq!(resolved(&headers, &trusted()), ip("127.0.0.1"));
    headers.insert(header::FORWARDED, header::HeaderValue::from_static("for=192.0.2.60"));
    assert_eq!(resolved(&headers, &trusted()), ip("192.0.2.60"));
    assert_eq!(resolved(&headers, &[]), ip("127.0.0.1"));
    assert_eq!(stats.snapshot().forwarding_headers_ignored, 1);
    // IPv4 through a socket of IPv6.
    let peer = Some("[::ffff:10.0.0.1]:80".parse().unwrap());
    assert_eq!(resolve(peer, &headers, &trusted(), ForwardingHeader::Forwarded, &stats), ip("192.0.2.60"));
}

#[test]
fn only_so_many_hops_are_looked_at() {
    let proxies = vec!["10.2.2.2"; HOPS_MAX - 1].join(",");
    legacy(&[&format!("192.0.2.60,{proxies}")], "192.0.2.60", false);
    legacy(&[&format!("192.0.2.60,10.3.3.3,{proxies}")], "10.3.3.3", false);
    legacy(&[&"192.0.2.60,".repeat(HOPS_MAX), &",".repeat(100_000)], "10.0.0.1", false);
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(
        lines in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..4),
        text in "[for=\"\\\\,;\\[\\]:_0-9.]{0,60}",
    ) {
        let mut lines: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
        lines.push(text.as_bytes());
        for walked in [
            walk(ip("10.0.0.1"), hops(&lines), &trusted()),
            walk(ip("10.0.0.1"), legacy_hops(&lines), &trusted()),
        ] {
            prop_assert!(walked.client == ip("10.0.0.1") || walked.client == walked.client.to_canonical());
        }
    }

    #[test]
    fn nothing_that_a_client_sends_hides_what_a_proxy_appends(
        sent in prop::collection::vec(any::<u8>(), 0..60),
        quoted in "[\"\\\\,;= for]{0,12}",
    ) {
        for line in [sent, quoted.into_bytes()] {
            for appended in ["for=\"[2001:db8::7]:99\";by=\"_x\\\",\"", "proto=http;for=\"[2001:db8::7]\""] {
                let joined = [&line[..], b", ", appended.as_bytes()].concat();
                let alone = [&line[..], appended.as_bytes()];
                for lines in [&[&joined[..]][..], &alone] {
                    let walked = walk(ip("10.0.0.1"), hops(lines), &trusted());
                    prop_assert_eq!(walked, Walked { client: ip("2001:db8::7"), malformed: false });
                }
            }
            let joined = [&line[..], b", 2001:db8::7, 10.1.1.1"].concat();
            let walked = walk(ip("10.0.0.1"), legacy_hops(&[&joined]), &trusted());
            prop_assert_eq!(walked, Walked { client: ip("2001:db8::7"), malformed: false });
        }
    }
}
