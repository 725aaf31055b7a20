//! Which limits a hub has, and what a client has to pass of them. All nodes of a hub have the same.

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use rivulet_core::{Matcher, Topic};

use super::{Limit, Pace, Quota, Rate, Scope, Wanted, WhenAway};

/// Who is connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Whose limits count: the subject of a token, the name of its key, or the address of who has none. Unambiguous
    /// text, such as `sub:alice` or `ip:192.0.2.7`.
    pub subject: Arc<str>,
    /// Where it comes from.
    pub ip: IpAddr,
}

impl Client {
    /// A client without a token: its address stands for it.
    pub fn anonymous(ip: IpAddr) -> Self {
        Self { subject: format!("ip:{}", address(ip)).into(), ip }
    }
}

/// What a token allows instead of what is configured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Instead of [`LimitsConfig::connections_per_subject`].
    pub connections_per_subject: Option<u32>,
    /// Instead of [`LimitsConfig::subscribes_per_subject`].
    pub subscribes_per_subject: Option<Pace>,
    /// Instead of [`LimitsConfig::publishes_per_subject`].
    pub publishes_per_subject: Option<Pace>,
}

/// The limits of a hub; `None`: there is none. The same on all nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LimitsConfig {
    /// See [`Limit::ConnectionsTotal`].
    pub connections_total: Option<u32>,
    /// See [`Limit::ConnectionsPerSubject`].
    pub connections_per_subject: Option<u32>,
    /// See [`Limit::ConnectionsPerIp`].
    pub connections_per_ip: Option<u32>,
    /// See [`Limit::ConnectionsPerTopic`].
    pub connections_per_topic: Option<u32>,
    /// See [`Limit::SubscribesPerIp`].
    pub subscribes_per_ip: Option<Pace>,
    /// See [`Limit::SubscribesPerSubject`].
    pub subscribes_per_subject: Option<Pace>,
    /// See [`Limit::PublishesPerSubject`].
    pub publishes_per_subject: Option<Pace>,
    /// See [`Limit::PublishesPerTopic`].
    pub publishes_per_topic: Option<Pace>,
    /// The limits that let nobody through while they cannot be counted.
    pub closed_when_away: Vec<Limit>,
}

impl LimitsConfig {
    /// What a client needs to subscribe.
    pub fn to_subscribe(&self, client: &Client, overrides: &Overrides, matchers: &[Matcher]) -> Wanted {
        let (subject, ip) = (Scope(client.subject.clone()), Scope::new(address(client.ip)));
        let mut quotas = Vec::new();
        let mut quota = |limit, scope: &Scope, max: Option<u32>| {
            let when_away = self.when_away(limit);
            let is_of_token =
                limit == Limit::ConnectionsPerSubject && overrides.connections_per_subject.is_some();
            quotas.extend(max.map(|max| Quota { limit, scope: scope.clone(), max, is_of_token, when_away }));
        };
        quota(Limit::ConnectionsTotal, &Scope::hub(), self.connections_total);
        let per_subject = overrides.connections_per_subject.or(self.connections_per_subject);
        quota(Limit::ConnectionsPerSubject, &subject, per_subject);
        quota(Limit::ConnectionsPerIp, &ip, self.connections_per_ip);
        if self.connections_per_topic.is_some() {
            let mut topics: Vec<&str> = matchers.iter().map(Matcher::text).collect();
            topics.sort_unstable();
            topics.dedup();
            for topic in topics {
                quota(Limit::ConnectionsPerTopic, &Scope::new(topic), self.connections_per_topic);
            }
        }
        let mut rates = Vec::new();
        rates.extend(self.rate(Limit::SubscribesPerIp, ip, self.subscribes_per_ip));
        let per_subject = overrides.subscribes_per_subject.or(self.subscribes_per_subject);
        rates.extend(self.rate(Limit::SubscribesPerSubject, subject, per_subject));
        Wanted { quotas, rates }
    }

    /// What a client has to pass to publish to these topics.
    pub fn to_publish(&self, client: &Client, overrides: &Overrides, topics: &[Topic]) -> Vec<Rate> {
        let per_subject = overrides.publishes_per_subject.or(self.publishes_per_subject);
        let subject = Scope(client.subject.clone());
        let mut rates = Vec::new();
        rates.extend(self.rate(Limit::PublishesPerSubject, subject, per_subject));
        if self.publishes_per_topic.is_some() {
            let mut topics: Vec<&str> = topics.iter().map(Topic::as_str).collect();
            topics.sort_unstable();
            topics.dedup();
            rates.extend(topics.into_iter().filter_map(|topic| {
                self.rate(Limit::PublishesPerTopic, Scope::new(topic), self.publishes_per_topic)
            }));
        }
        rates
    }

    /// How many connections a scope of this quota may hold where its token says nothing else; `None`: as many as come, or it
    /// is a rate.
    pub(super) fn quota(&self, limit: Limit) -> Option<u32> {
        match limit {
            Limit::ConnectionsTotal => self.connections_total,
            Limit::ConnectionsPerSubject => self.connections_per_subject,
            Limit::ConnectionsPerIp => self.connections_per_ip,
            Limit::ConnectionsPerTopic => self.connections_per_topic,
            Limit::SubscribesPerIp
            | Limit::SubscribesPerSubject
            | Limit::PublishesPerSubject
            | Limit::PublishesPerTopic => None,
        }
    }

    fn rate(&self, limit: Limit, scope: Scope, pace: Option<Pace>) -> Option<Rate> {
        pace.map(|pace| Rate { limit, scope, pace, when_away: self.when_away(limit) })
    }

    fn when_away(&self, limit: Limit) -> WhenAway {
        if self.closed_when_away.contains(&limit) { WhenAway::Closed } else { WhenAway::Open }
    }
}

/// An address as limits count it. Whoever has IPv6 has a network of 2^64 addresses at least, so that is what counts.
pub(crate) fn address(ip: IpAddr) -> String {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            format!("{}/64", Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}
