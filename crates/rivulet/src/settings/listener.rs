//! The settings of what happens to a connection before HTTP: TLS, and the proxies in front.

use super::{Setting, many, one, switch};

pub(super) const SETTINGS: &[Setting] = &[
    one(
        "tls-cert-file",
        "FILE",
        "PEM file of the hub's certificate and those between it and its authority: the hub then speaks TLS. It is \
         read again when it changes, and on SIGHUP",
    ),
    one("tls-key-file", "FILE", "PEM file of its key"),
    many(
        "trusted-proxy",
        "CIDR",
        "Network of the proxies in front, like 10.0.0.0/8 or fd00::/8: only what they say in --forwarding-header \
         or a PROXY header is believed about a client's address",
    ).reloaded(),
    one(
        "forwarding-header",
        "NAME",
        "Header in which they say it: X-Forwarded-For, or Forwarded (RFC 7239). The other one is not read: they may \
         pass it on as clients forge it",
    ).reloaded()
    .default("X-Forwarded-For"),
    switch(
        "proxy-protocol",
        "Each connection begins with a PROXY header, version 2, and only those of --trusted-proxy may connect",
    ),
];
