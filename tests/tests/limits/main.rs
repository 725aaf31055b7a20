//! Who may connect, how often, from where and for how long, seen from outside: limits that hold for all nodes together,
//! endings, kicks, drains, TLS and proxies.

mod away;
mod drain;
mod endings;
mod kick;
mod misconfigured;
mod proxies;
mod quotas;
mod rates;
mod shed;
mod slot;
mod tls;
mod tokens;
