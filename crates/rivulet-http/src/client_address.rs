//! Where a client is: the peer of its connection, or whom trusted proxies forward for.
//!
//! Every proxy appends to `Forwarded` (RFC 7239) or `X-Forwarded-For` where it has a request from, so the lists are
//! read from the right, as long as those who wrote are trusted. What stands further left anybody may have written.
//! Only the header that the proxies are configured to write is read: the other one they pass on as clients sent it.

use std::{
    borrow::Cow,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::atomic::Ordering::Relaxed,
    time::Instant,
};

use actix_web::http::header::{self, HeaderMap, HeaderName};
use ipnet::IpNet;

use crate::{hub::Hub, rarely::Rarely, request::Request, stats::HttpStats};

/// Of one node there is one configuration of proxies, so that all headers that it ignores are one story.
static IGNORED: Rarely = Rarely::new();

/// How many entries of a list are looked at: no chain of proxies is so long.
const HOPS_MAX: usize = 32;

/// The header in which trusted proxies tell whom they forward for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForwardingHeader {
    /// `X-Forwarded-For`: addresses, separated by commas. What most proxies write.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239), its parameter `for`.
    Forwarded,
}

impl ForwardingHeader {
    fn name(self) -> HeaderName {
        match self {
            Self::XForwardedFor => header::X_FORWARDED_FOR,
            Self::Forwarded => header::FORWARDED,
        }
    }
}

/// What an entry of a list says.
#[derive(Debug, PartialEq, Eq)]
enum Hop {
    Address(IpAddr),
    /// The proxy does not know or does not tell: `unknown`, `_name`, or nothing.
    Hidden,
    /// An empty element, as lists of HTTP may have.
    Empty,
    Malformed,
}

/// Where a walk along a list has ended.
#[derive(Debug, PartialEq, Eq)]
struct Walked {
    client: IpAddr,
    /// Whether it ended at something that cannot be read.
    malformed: bool,
}

/// The client's address, as limits count it. What the headers say of it is counted once, however often it is asked for.
pub(crate) fn client_address(hub: &Hub, request: &Request) -> IpAddr {
    if let Some(known) = request.client.get() {
        return known;
    }
    let config = &hub.config;
    let (peer, headers) = (request.peer(), request.headers());
    let address = resolve(peer, headers, &config.trusted_proxies, config.forwarding_header, &config.stats);
    request.client.set(Some(address));
    address
}

fn resolve(
    peer: Option<SocketAddr>,
    headers: &HeaderMap,
    trusted: &[IpNet],
    header: ForwardingHeader,
    stats: &HttpStats,
) -> IpAddr {
    // Without a peer it came through a socket of this machine.
    let peer = peer.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |peer| peer.ip().to_canonical());
    let has = |name| headers.contains_key(name);
    if !is_trusted(peer, trusted) {
        let forged = has(header::FORWARDED) || has(header::X_FORWARDED_FOR);
        if forged {
            stats.forwarding_ignored.fetch_add(1, Relaxed);
            tell_ignored(peer);
        }
        return peer;
    }
    let lines: Vec<&[u8]> = headers.get_all(header.name()).map(|line| line.as_bytes()).collect();
    let walked = match header {
        ForwardingHeader::XForwardedFor => walk(peer, legacy_hops(&lines), trusted),
        ForwardingHeader::Forwarded => walk(peer, hops(&lines), trusted),
    };
    stats.forwarding_malformed.fetch_add(walked.malformed.into(), Relaxed);
    walked.client
}

/// Behind a proxy that was forgotten all clients seem to be one, and share its limits.
fn tell_ignored(peer: IpAddr) {
    if let Some(unsaid) = IGNORED.say(Instant::now()) {
        tracing::warn!(
            %peer,
            unsaid,
            "Who a request was forwarded for is ignored: if the peer is a proxy of yours, name it with --trusted-proxy"
        );
    }
}

fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    trusted.iter().any(|network| network.contains(&address))
}

/// Walks along a list, from its right, over trusted proxies; the first other address is the client.
fn walk(peer: IpAddr, hops: impl Iterator<Item = Hop>, trusted: &[IpNet]) -> Walked {
    let mut client = peer;
    for hop in hops.take(HOPS_MAX) {
        match hop {
            Hop::Address(address) => {
                client = address.to_canonical();
                if !is_trusted(client, trusted) {
                    break;
                }
            }
            Hop::Empty => {}
            Hop::Hidden => break,
            Hop::Malformed => return Walked { client, malformed: true },
        }
    }
    Walked { client, malformed: false }
}

/// The entries of `X-Forwarded-For`, from the right. Several lines are one list.
fn legacy_hops(lines: &[&[u8]]) -> impl Iterator<Item = Hop> {
    let entries = lines.iter().rev().flat_map(|line| line.rsplit(|byte| *byte == b','));
    entries.map(|entry| match entry.trim_ascii() {
        [] => Hop::Empty,
        entry => std::str::from_utf8(entry).map_or(Hop::Malformed, node),
    })
}

/// The entries of `Forwarded`, from the right. Several lines are one list.
fn hops(lines: &[&[u8]]) -> impl Iterator<Item = Hop> {
    let elements = lines.iter().rev().flat_map(|line| FromRight { rest: Some(line), delimiter: b',' });
    elements.map(element)
}

/// Splits from the right at delimiters that do not stand in a quoted string. From the right, since what a proxy
/// appended is well-formed, while a quotation mark that a client left open would swallow it from the left.
struct FromRight<'a> {
    rest: Option<&'a [u8]>,
    delimiter: u8,
}

impl<'a> Iterator for FromRight<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest.take()?;
        let mut is_quoted = false;
        for (at, byte) in rest.iter().enumerate().rev() {
            match *byte {
                b'"' => is_quoted = !is_quoted || is_escaped(&rest[..at]),
                byte if byte == self.delimiter && !is_quoted => {
                    self.rest = Some(&rest[..at]);
                    return Some(&rest[at + 1..]);
                }
                _ => {}
            }
        }
        Some(rest)
    }
}

/// Whether what follows is escaped: it is if the number of backslashes before it is odd.
fn is_escaped(before: &[u8]) -> bool {
    before.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}

/// One element of `Forwarded`: `for=192.0.2.7;proto=https`.
fn element(element: &[u8]) -> Hop {
    if element.trim_ascii().is_empty() {
        return Hop::Empty;
    }
    let mut found = None;
    for pair in (FromRight { rest: Some(element), delimiter: b';' }) {
        let pair = pair.trim_ascii();
        if pair.is_empty() {
            continue;
        }
        let Some((name, value)) = std::str::from_utf8(pair).ok().and_then(|pair| pair.split_once('=')) else {
            return Hop::Malformed;
        };
        // RFC 7239 §4: each parameter stands once at most.
        if name.eq_ignore_ascii_case("for") && found.replace(value).is_some() {
            return Hop::Malformed;
        }
    }
    match found.map(unquoted) {
        None => Hop::Hidden,
        Some(None) => Hop::Malformed,
        Some(Some(value)) => node(&value),
    }
}

/// A token, or what a quoted string holds.
fn unquoted(value: &str) -> Option<Cow<'_, str>> {
    let Some(inner) = value.strip_prefix('"') else {
        return (!value.contains('"')).then_some(Cow::Borrowed(value));
    };
    let inner = inner.strip_suffix('"').filter(|inner| !is_escaped(inner.as_bytes()))?;
    if !inner.contains('\\') {
        return (!inner.contains('"')).then_some(Cow::Borrowed(inner));
    }
    let (mut text, mut chars) = (String::with_capacity(inner.len()), inner.chars());
    while let Some(c) = chars.next() {
        match c {
            '\\' => text.push(chars.next()?),
            '"' => return None,
            c => text.push(c),
        }
    }
    Some(Cow::Owned(text))
}

/// RFC 7239 §6: an address, maybe with a port. Bare IPv6 addresses, without brackets, are what proxies write into
/// `X-Forwarded-For`.
fn node(text: &str) -> Hop {
    if let Ok(address) = text.parse() {
        return Hop::Address(address);
    }
    let (name, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) => {
            return match (
                address.parse::<Ipv6Addr>(),
                port.strip_prefix(':').map_or(port.is_empty(), is_port),
            ) {
                (Ok(address), true) => Hop::Address(address.into()),
                _ => Hop::Malformed,
            };
        }
        None => text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port))),
    };
    if !port.is_none_or(is_port) {
        return Hop::Malformed;
    }
    if name.eq_ignore_ascii_case("unknown") || is_obfuscated(name) {
        return Hop::Hidden;
    }
    name.parse::<Ipv4Addr>().map_or(Hop::Malformed, |address| Hop::Address(address.into()))
}

fn is_port(text: &str) -> bool {
    let is_number = (1..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number || is_obfuscated(text)
}

fn is_obfuscated(text: &str) -> bool {
    let name = text.strip_prefix('_').unwrap_or_default();
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

#[cfg(test)]
mod tests;
