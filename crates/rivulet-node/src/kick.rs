//! Kicks: an operator ends connections, on all nodes of the hub.

use std::net::IpAddr;

use rivulet_core::Matcher;
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::Client;

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
        mut matchers: impl Iterator<Item = &'a Matcher>,
    ) -> bool {
        self.subscriber.is_none_or(|wanted| wanted == subscriber)
            && self.subject.as_deref().is_none_or(|wanted| wanted == &*client.subject)
            && self.ip.is_none_or(|wanted| wanted.to_canonical() == client.ip.to_canonical())
            && self.topic.as_deref().is_none_or(|wanted| matchers.any(|matcher| matcher.text() == wanted))
    }
}

/// A kick as it arrives at a node.
#[derive(Debug)]
pub struct Kick {
    /// Whose connections the node is to end.
    pub target: KickTarget,
    /// At most so many of them, the youngest first; `None`: all.
    pub count_max: Option<usize>,
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
}
