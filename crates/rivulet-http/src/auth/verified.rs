//! What a token that passed every check says.

use std::{sync::Arc, time::SystemTime};

use rivulet_core::{Grants, Matcher, Topic};
use rivulet_node::Overrides;
use serde_json::Value;

use super::Dialect;

/// A verified token.
#[derive(Clone, Debug)]
pub struct Verified {
    /// The dialect that the token speaks.
    pub dialect: Dialect,
    /// What it allows.
    pub grants: Grants,
    /// Its `sub`.
    pub subject: Option<String>,
    /// Whose limits it counts for, in at most 256 bytes: `sub:` and its subject, in dialect 1.0 the issuer and the
    /// subject; without a subject `key:` and the name of the key that signed it.
    pub bearer: Arc<str>,
    /// What it allows instead of the configured limits.
    pub overrides: Overrides,
    /// Its `exp`: no stream that it authorizes may go on after it. Always there in dialect 1.0.
    pub expires_at: Option<SystemTime>,
    /// What it says about its bearer to those who list subscriptions, in the token's order.
    pub payloads: Vec<Payload>,
}

/// A payload that a token attaches to subscriptions.
#[derive(Clone, Debug)]
pub struct Payload {
    /// The subscriptions that it is for: a detail's topics in dialect 1.0, all in 0.x.
    pub matchers: Vec<Matcher>,
    /// Any JSON. `None`: the detail has none, and hides those of later details.
    pub value: Option<Value>,
}

impl Verified {
    /// A name for the bearer as a publisher, the same on all nodes: its subject, or where the token has none, what it may
    /// publish to. It stands in names of keys, so it is a digest.
    pub(crate) fn publisher(&self) -> String {
        let mut name = format!("{:?}\n", self.dialect);
        match self.subject.as_deref() {
            Some(subject) if !subject.is_empty() => name.push_str(&self.bearer),
            // Not its key, which is renewed now and then: a repeat may come with a token of the next one.
            _ => {
                let mut topics: Vec<&str> = self.grants.publish.iter().map(Matcher::text).collect();
                topics.sort_unstable();
                name.push_str(&topics.join("\n"));
            }
        }
        sha1_smol::Sha1::from(name).digest().to_string()
    }

    /// The payload of a subscription: that of the first detail one of whose topics matches the subscription's own
    /// matcher, taken as a topic.
    pub fn payload_for(&self, subscription: &Matcher) -> Option<&Value> {
        let topic = Topic::parse(subscription.text()).ok();
        let is_for = |matcher: &Matcher| {
            matcher == subscription
                || matches!(matcher, Matcher::All)
                || topic.as_ref().is_some_and(|t| matcher.matches(t))
        };
        self.payloads.iter().find(|payload| payload.matchers.iter().any(is_for))?.value.as_ref()
    }
}
