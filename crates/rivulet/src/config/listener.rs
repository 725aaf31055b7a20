//! What happens to a connection before HTTP: TLS, and the proxies in front.

use std::sync::Arc;

use ipnet::IpNet;
use rivulet_http::{CertificateFiles, Certificates, ForwardingHeader, ProxyProtocol};

use super::reader::Reader;
use crate::settings;

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Listener {
    /// `None`: plain HTTP.
    pub(crate) tls: Option<Arc<Certificates>>,
    /// Whose word about a client's address is believed.
    pub(crate) trusted_proxies: Vec<IpNet>,
    /// The header in which they tell it.
    pub(crate) forwarding_header: ForwardingHeader,
    /// Whether each connection begins with a PROXY header.
    pub(crate) proxy_protocol: ProxyProtocol,
}

impl Reader<'_> {
    pub(super) fn listener(&mut self) -> Option<Listener> {
        let tls = self.certificates("tls-cert-file", "tls-key-file");
        let trusted_proxies = self.trusted_proxies();
        let forwarding_header = self.value("forwarding-header", forwarding_header);
        if self.is_given("forwarding-header") && !self.is_given("trusted-proxy") {
            let text = "--forwarding-header needs --trusted-proxy: from whom it is believed";
            self.mistakes.push(text.to_owned());
        }
        let proxy_protocol = self.value("proxy-protocol", settings::is_on);
        if proxy_protocol == Some(true) && !self.is_given("trusted-proxy") {
            let text = "--proxy-protocol needs --trusted-proxy: from whom the headers are believed";
            self.mistakes.push(text.to_owned());
        }
        let proxy_protocol = if proxy_protocol? { ProxyProtocol::Required } else { ProxyProtocol::Off };
        Some(Listener { tls: tls?, trusted_proxies, forwarding_header: forwarding_header?, proxy_protocol })
    }

    /// The certificate that two settings name with its key. `Some(None)`: there is none. `None`: there is a mistake.
    pub(super) fn certificates(&mut self, chain: &str, key: &str) -> Option<Option<Arc<Certificates>>> {
        let files = match [chain, key].map(|name| self.layers.one(name)) {
            [None, None] => return Some(None),
            [Some(chain), Some(key)] => CertificateFiles { chain: chain.into(), key: key.into() },
            [given, _] => {
                let [given, missing] = if given.is_some() { [chain, key] } else { [key, chain] };
                self.mistakes.push(format!("--{given} needs --{missing}, which is not given"));
                return None;
            }
        };
        let mistakes = files.mistakes();
        for mistake in &mistakes {
            let name = if mistake.path() == files.key { key } else { chain };
            self.wrong(name, &mistake.path().display().to_string(), mistake.rule());
        }
        if !mistakes.is_empty() {
            return None;
        }
        // Fails only if the files have changed since.
        let changed = |error| self.mistakes.push(format!("--{chain}, --{key}: {error}"));
        Certificates::load(files).map_err(changed).ok().map(Some)
    }

    /// Each network once: of two that overlap, one was meant to be something else.
    fn trusted_proxies(&mut self) -> Vec<IpNet> {
        let mut networks: Vec<IpNet> = Vec::new();
        let layers = self.layers;
        for text in layers.get("trusted-proxy").map_or(&[][..], |found| &found.values) {
            match network(text) {
                Err(rule) => self.wrong("trusted-proxy", text, &rule),
                Ok(network) => match networks.iter().find(|known| overlap(known, &network)) {
                    Some(known) if *known == network => {
                        self.wrong("trusted-proxy", text, "stands there twice")
                    }
                    Some(known) => {
                        self.wrong(
                            "trusted-proxy",
                            text,
                            &format!("overlaps with {known}: one holds the other"),
                        );
                    }
                    None => networks.push(network),
                },
            }
        }
        networks
    }
}

fn forwarding_header(text: &str) -> Result<ForwardingHeader, &'static str> {
    if text.eq_ignore_ascii_case("x-forwarded-for") {
        return Ok(ForwardingHeader::XForwardedFor);
    }
    let is_forwarded = text.eq_ignore_ascii_case("forwarded");
    is_forwarded.then_some(ForwardingHeader::Forwarded).ok_or("must be X-Forwarded-For or Forwarded")
}

fn overlap(one: &IpNet, other: &IpNet) -> bool {
    one.contains(other) || other.contains(one)
}

/// A network, or one address.
fn network(text: &str) -> Result<IpNet, String> {
    let network =
        text.parse::<IpNet>().or_else(|_| text.parse().map(|address: std::net::IpAddr| address.into()));
    let network = network.map_err(|_| {
        "must be an IP address or a network, like 10.0.0.0/8, 192.0.2.7 or fd00::/8".to_owned()
    })?;
    let whole = network.trunc();
    if whole.prefix_len() == 0 {
        // Then whoever connects could choose the address under which it is limited.
        return Err("trusts everybody: name the networks of your proxies".to_owned());
    }
    if whole == network { Ok(network) } else { Err(format!("has bits behind its prefix: write {whole}")) }
}
