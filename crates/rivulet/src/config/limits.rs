//! The limits of the hub, and the bounds of this node that belong to them.

use std::{num::NonZeroUsize, str::FromStr};

use rivulet_node::{Limit, LimitsConfig, Pace};

use super::{reader::Reader, values};
use crate::quantity;

/// See the module's documentation.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// What holds for all nodes together.
    pub(crate) hub: LimitsConfig,
    /// Streams that may catch up with the log at the same time.
    pub(crate) replays_max: usize,
    /// Bytes of updates that publishers may be sending at the same time.
    pub(crate) bodies_in_flight: usize,
}

/// Below it, a share that is rounded up says little: with ten nodes, one each is the whole quota once more.
const SHARED_QUOTA_MIN: u32 = 10;

impl Limits {
    /// What an operator should know of quotas that go on in shares while Redis is away.
    pub(super) fn warnings(&self) -> impl Iterator<Item = String> {
        let hub = &self.hub;
        let quotas = [
            (Limit::ConnectionsTotal, hub.connections_total),
            (Limit::ConnectionsPerSubject, hub.connections_per_subject),
            (Limit::ConnectionsPerIp, hub.connections_per_ip),
            (Limit::ConnectionsPerTopic, hub.connections_per_topic),
        ];
        quotas.into_iter().filter_map(|(limit, max)| {
            let max = max.filter(|max| *max < SHARED_QUOTA_MIN && !hub.closed_when_away.contains(&limit))?;
            let name = flag_name(limit);
            Some(format!(
                "--limit-{name} is {max}: while Redis is away, each node gives out its share of that, rounded up, at least \
                 one, beside what the others hold, so there may be more; --limit-closed {name} lets nobody through then"
            ))
        })
    }
}

impl Reader<'_> {
    /// `largest_body`: what one publisher alone may send.
    pub(super) fn limits(&mut self, largest_body: Option<usize>) -> Option<Limits> {
        let mut hub = LimitsConfig {
            connections_total: self.quota("limit-connections-total"),
            connections_per_subject: self.quota("limit-connections-per-subject"),
            connections_per_ip: self.quota("limit-connections-per-ip"),
            connections_per_topic: self.quota("limit-connections-per-topic"),
            subscribes_per_ip: self.rate("limit-subscribes-per-ip"),
            subscribes_per_subject: self.rate("limit-subscribes-per-subject"),
            publishes_per_subject: self.rate("limit-publishes-per-subject"),
            publishes_per_topic: self.rate("limit-publishes-per-topic"),
            closed_when_away: Vec::new(),
        };
        self.unreachable_quotas(&hub);
        hub.closed_when_away = self.closed();
        let replays_max = self.value("replays-max", values::count);
        let bodies_in_flight = self.bodies_in_flight(largest_body);
        Some(Limits {
            hub,
            replays_max: replays_max.map(NonZeroUsize::get)?,
            bodies_in_flight: bodies_in_flight?,
        })
    }

    fn quota(&mut self, name: &str) -> Option<u32> {
        self.value(name, |text| {
            let max = text.parse().ok().filter(|max| *max > 0);
            max.ok_or("must be a whole number, at least 1; leave it out for no limit")
        })
    }

    fn rate(&mut self, name: &str) -> Option<Pace> {
        self.value(name, Pace::from_str)
    }

    /// A quota that the hub's total never lets anybody reach was meant to be something else.
    fn unreachable_quotas(&mut self, hub: &LimitsConfig) {
        let Some(total) = hub.connections_total else { return };
        let parts = [
            ("limit-connections-per-subject", hub.connections_per_subject),
            ("limit-connections-per-ip", hub.connections_per_ip),
            ("limit-connections-per-topic", hub.connections_per_topic),
        ];
        for (name, max) in parts {
            if let Some(max) = max.filter(|max| *max > total) {
                let rule = format!("would never be reached: --limit-connections-total is {total}");
                self.wrong(name, &max.to_string(), &rule);
            }
        }
    }

    fn closed(&mut self) -> Vec<Limit> {
        let mut closed = Vec::new();
        let layers = self.layers;
        for text in layers.get("limit-closed").map_or(&[][..], |found| &found.values) {
            let limit = Limit::ALL.into_iter().find(|limit| flag_name(*limit) == *text);
            let rule = match limit {
                None => Err(format!("is no limit: must be one of {}", Limit::ALL.map(flag_name).join(", "))),
                Some(limit) if closed.contains(&limit) => Err("stands there twice".to_owned()),
                Some(_) if !self.is_given(&format!("limit-{text}")) => {
                    Err(format!("is not configured: --limit-{text} is missing"))
                }
                Some(limit) => Ok(limit),
            };
            match rule {
                Ok(limit) => closed.push(limit),
                Err(rule) => self.wrong("limit-closed", text, &rule),
            }
        }
        closed
    }

    /// Below the largest body, that one could never be sent.
    fn bodies_in_flight(&mut self, largest_body: Option<usize>) -> Option<usize> {
        let largest = largest_body?;
        self.value("bodies-in-flight", |text| {
            let size = quantity::size(text)?;
            let rule = "must be at least --body-limit and --batch-limit, here";
            if size >= largest { Ok(size) } else { Err(format!("{rule} {largest} bytes")) }
        })
    }
}

/// The name in flags, behind `--limit-`.
fn flag_name(limit: Limit) -> String {
    limit.as_str().replace('_', "-")
}
