//! Kicks: an operator ends connections, on all nodes of the hub.

use std::net::IpAddr;

use rivulet_core::Matcher;
use tokio::{sync::oneshot, time::Instant};
use uuid::Uuid;

use crate::{Client, Limit, Scope, limits::address};

/// Whose connections are to be ended: those that everything given here fits. At least one is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KickTarget {
    /// The id of one subscriber.
    pub subscriber: Option<Uuid>,
    /// The subject, as [`Client::subject`] writes it.
    pub subject: Option<String>,
    /// The address.
    pub ip: Option<IpAddr>,
    /// A topic or another matcher, as subscribers write it.
    pub topic: Option<String>,
    /// A scope of a limit, as the limit counts it: all addresses of an IPv6 /64, all connections of the hub.
    pub scope: Option<(Limit, Scope)>,
}

impl KickTarget {
    /// Whether it names somebody at all.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a connection is among those.
    pub fn fits<'a>(
        &self,
        subscriber: Uuid,
        client: &Client,
        matchers: impl Iterator<Item = &'a Matcher>,
    ) -> bool {
        let (mut is_on_topic, mut is_in_scope) = (self.topic.is_none(), self.is_in_scope(client));
        if !(is_on_topic && is_in_scope) {
            for matcher in matchers.map(Matcher::text) {
                is_on_topic |= self.topic.as_deref() == Some(matcher);
                is_in_scope |= matches!(&self.scope, Some((Limit::ConnectionsPerTopic, scope)) if scope.as_str() == matcher);
            }
        }
        is_on_topic
            && is_in_scope
            && self.subscriber.is_none_or(|wanted| wanted == subscriber)
            && self.subject.as_deref().is_none_or(|wanted| wanted == &*client.subject)
            && self.ip.is_none_or(|wanted| wanted.to_canonical() == client.ip.to_canonical())
    }

    /// Whether the scope counts this client whatever it subscribes to.
    fn is_in_scope(&self, client: &Client) -> bool {
        let Some((limit, scope)) = &self.scope else { return true };
        match limit {
            Limit::ConnectionsTotal => true,
            Limit::ConnectionsPerSubject | Limit::SubscribesPerSubject | Limit::PublishesPerSubject => {
                scope.as_str() == &*client.subject
            }
            Limit::ConnectionsPerIp | Limit::SubscribesPerIp => scope.as_str() == address(client.ip),
            Limit::ConnectionsPerTopic | Limit::PublishesPerTopic => false,
        }
    }
}

/// A kick as it arrives at a node.
#[derive(Debug)]
pub struct Kick {
    /// Whose connections the node is to end.
    pub target: KickTarget,
    /// At most so many of them, the youngest first; `None`: all.
    pub count_max: Option<usize>,
    /// Only those that began before this time, when the kick was told, or within half a second after it: workers count in
    /// quarters of a second, and who is meant must not stay. `None`: all that are there now.
    pub before: Option<Instant>,
    /// Where it says how many it has ended.
    pub ended: oneshot::Sender<usize>,
}

/// What became of a kick.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KickReport {
    /// Connections ended, on all nodes that answered.
    pub ended: usize,
    /// Nodes that answered in time.
    pub nodes: usize,
    /// Nodes that did not: their connections may live on.
    pub nodes_unanswered: usize,
}

/// What a node knows of the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Peers {
    /// Nodes of the hub that are alive, this one included; at least one.
    pub nodes: u32,
    /// Connections of all of them, as they last said.
    pub connections: u64,
    /// Those of the nodes that take new connections: others are leaving or draining.
    pub open_nodes: u32,
    /// The connections of these.
    pub open_connections: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_fits_who_is_in_its_scope() {
        let matchers = [Matcher::exact("https://example.com/a").unwrap()];
        let check = |ip: &str, scope: Option<(Limit, &str)>, expected: bool| {
            let client = Client { subject: "sub:alice".into(), ip: ip.parse().unwrap() };
            let scope = scope.map(|(limit, text)| (limit, Scope::new(text)));
            let target = KickTarget { scope: scope.clone(), ..KickTarget::default() };
            assert_eq!(target.is_empty(), scope.is_none());
            assert_eq!(target.fits(Uuid::nil(), &client, matchers.iter()), expected, "{ip} {scope:?}");
            let elsewhere = KickTarget { topic: Some("other".to_owned()), ..target };
            assert!(!elsewhere.fits(Uuid::nil(), &client, matchers.iter()), "all conditions have to hold");
        };
        check("192.0.2.7", None, true);
        check("192.0.2.7", Some((Limit::ConnectionsTotal, "")), true);
        check("192.0.2.7", Some((Limit::ConnectionsPerSubject, "sub:alice")), true);
        check("192.0.2.7", Some((Limit::ConnectionsPerSubject, "sub:bob")), false);
        check("192.0.2.7", Some((Limit::ConnectionsPerIp, "192.0.2.7")), true);
        check("::ffff:192.0.2.7", Some((Limit::ConnectionsPerIp, "192.0.2.7")), true);
        check("2001:db8:0:1:2:3:4:5", Some((Limit::ConnectionsPerIp, "2001:db8:0:1::/64")), true);
        check("2001:db8:0:2:2:3:4:5", Some((Limit::ConnectionsPerIp, "2001:db8:0:1::/64")), false);
        check("192.0.2.7", Some((Limit::ConnectionsPerTopic, "https://example.com/a")), true);
        check("192.0.2.7", Some((Limit::ConnectionsPerTopic, "https://example.com/b")), false);
    }
}
