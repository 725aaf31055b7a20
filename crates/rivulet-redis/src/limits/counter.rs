//! The calls of the scripts that count, and what they answer. All of them run where partition 0 stands, on its primary.

use std::time::Duration;

use redis::Value;
use rivulet_core::Partition;
use rivulet_node::{Limit, Rate, Scope, TransportError, Wanted};

use super::peers::Others;
use crate::{
    entry::unexpected,
    keys::{Keys, Names, place},
    primaries::{Job, Primaries},
    script::{Call, Script},
};

/// Where connections are counted.
const HOME: Partition = Partition::new(0);
/// Redis' own time, for the scripts.
pub(crate) const REDIS_TIME: &str = "0";
/// How many times a lease is renewed in its time.
pub(super) const RENEWALS: u32 = 3;
/// How long a node may take to be counted again once it has noticed, at a renewal or earlier, that its lease is lost.
const REJOIN_MAX: Duration = Duration::from_secs(1);
/// How many scopes are told at once, in one script or in several that travel together: more would keep Redis from others for
/// longer than a millisecond.
pub(super) const SCOPES_LEN: usize = 500;

/// See the module.
pub(super) struct Counter {
    primaries: std::sync::Arc<Primaries>,
    keys: Keys,
    leases: String,
    since: String,
    lease_ms: String,
    young: Duration,
    admit: Script,
    settle: Script,
    stage: Script,
    switch: Script,
    renew: Script,
    before: Script,
}

/// What became of a connection that asked for its places.
#[derive(Debug)]
pub(super) enum Admission {
    /// It has them; with the number of changes that Redis knows of.
    Admitted(u64),
    /// This quota is full.
    Full(usize),
    /// This rate is used up for so long.
    Fast(usize, Duration),
    /// Nobody counts what this incarnation holds any more.
    Lapsed,
}

/// The answer to who has to be alive for it.
#[derive(Debug)]
pub(super) enum Leased<T> {
    Alive(T),
    Lapsed,
}

/// What a node learns when it is counted.
#[derive(Debug)]
pub(super) struct Joined {
    pub(super) nodes: u32,
    /// For how long others may be missing still that were counted in a set of leases that was lost.
    pub(super) young: Duration,
    /// When the node began, for its next incarnation.
    pub(super) began: String,
}

/// What a node learns when it renews its lease.
#[derive(Debug)]
pub(super) struct Renewed {
    pub(super) changes: u64,
    pub(super) nodes: u32,
    pub(super) others: Others,
}

impl Counter {
    pub(super) fn new(primaries: std::sync::Arc<Primaries>, keys: Keys, lease: Duration) -> Self {
        Self {
            leases: keys.of(HOME).leases(),
            since: keys.of(HOME).leases_since(),
            lease_ms: lease.as_millis().to_string(),
            young: lease / RENEWALS + REJOIN_MAX,
            primaries,
            keys,
            admit: Script::admit(),
            settle: Script::settle(),
            stage: Script::stage(),
            switch: Script::switch(),
            renew: Script::renew(),
            before: Script::before(),
        }
    }

    pub(super) fn deadline(&self) -> Duration {
        self.primaries.deadline()
    }

    fn names(&self) -> &Names {
        self.keys.of(HOME)
    }

    async fn run(&self, script: &Script, keys: &[String], args: &[String]) -> Result<Value, TransportError> {
        let call = Call {
            keys: keys.iter().map(String::as_bytes).collect(),
            args: args.iter().map(String::as_bytes).collect(),
        };
        let done = self.primaries.run(HOME, Job::Count(script, &call)).await?;
        done.values.into_iter().next().ok_or_else(|| unexpected("an answer"))
    }

    pub(super) async fn admit(
        &self,
        incarnation: &str,
        wanted: &Wanted,
    ) -> Result<Admission, TransportError> {
        let names = self.names();
        let mut keys = vec![self.leases.clone(), names.counts(incarnation)];
        let quotas = wanted.quotas.len().to_string();
        let mut args = vec![REDIS_TIME.to_owned(), incarnation.to_owned(), quotas];
        for quota in &wanted.quotas {
            args.extend([place(quota.limit, &quota.scope), quota.max.to_string()]);
        }
        for rate in &wanted.rates {
            keys.push(names.rate(rate.limit, &rate.scope));
            args.extend(rate_args(rate));
        }
        let Value::Array(answer) = self.run(&self.admit, &keys, &args).await? else {
            return Err(unexpected("an admission"));
        };
        match (word(&answer), answer.get(1)) {
            (Some("ok"), Some(Value::Int(changes))) => Ok(Admission::Admitted(whole(*changes))),
            (Some("full"), Some(Value::Int(which))) => Ok(Admission::Full(index(*which))),
            (Some("lapsed"), _) => Ok(Admission::Lapsed),
            _ => {
                let (which, wait) = fast(&answer).ok_or_else(|| unexpected("an admission"))?;
                Ok(Admission::Fast(which, wait))
            }
        }
    }

    /// Tells what has changed; answers the number of changes.
    pub(super) async fn settle(
        &self,
        incarnation: &str,
        changes: &[((Limit, Scope), i64)],
    ) -> Result<Leased<u64>, TransportError> {
        let mut args = vec![REDIS_TIME.to_owned(), incarnation.to_owned()];
        for ((limit, scope), change) in changes {
            args.extend([place(*limit, scope), change.to_string()]);
        }
        let keys = [self.leases.clone(), self.names().counts(incarnation)];
        match self.run(&self.settle, &keys, &args).await? {
            Value::Int(changes) => Ok(Leased::Alive(whole(changes))),
            _ => Ok(Leased::Lapsed),
        }
    }

    /// Writes down what a new incarnation holds, which nobody counts yet.
    pub(super) async fn stage(
        &self,
        incarnation: &str,
        held: &[rivulet_node::Held],
    ) -> Result<Leased<()>, TransportError> {
        // A node that holds nothing has one part too, with nothing in it.
        for start in (0..held.len().max(1)).step_by(SCOPES_LEN) {
            let first = u8::from(start == 0).to_string();
            let mut args = vec![REDIS_TIME.to_owned(), self.lease_ms.clone(), first];
            for held in held.iter().skip(start).take(SCOPES_LEN) {
                args.extend([place(held.limit, &held.scope), held.count.to_string()]);
            }
            match self.run(&self.stage, &[self.names().counts(incarnation)], &args).await? {
                Value::Int(1) => {}
                _ => return Ok(Leased::Lapsed),
            }
        }
        Ok(Leased::Alive(()))
    }

    /// Lets a staged incarnation take the place of earlier ones, with the time at which its node began, or as the last
    /// one.
    pub(super) async fn switch<'a>(
        &self,
        new: &str,
        earlier: impl Iterator<Item = &'a str>,
        connections: usize,
        began: Option<&str>,
    ) -> Result<Leased<Joined>, TransportError> {
        let answer = self.switch_to(Some(new), earlier, connections, began).await?;
        match (word(&answer), &answer[..]) {
            (Some("ok"), [_, Value::Int(nodes), Value::Int(age_ms), Value::BulkString(began)]) => {
                let began = String::from_utf8(began.clone()).map_err(|_| unexpected("a beginning"))?;
                let young = self.young.saturating_sub(Duration::from_millis(whole(*age_ms)));
                Ok(Leased::Alive(Joined { nodes: u32::try_from(*nodes).unwrap_or(1), young, began }))
            }
            (Some("lapsed"), _) => Ok(Leased::Lapsed),
            _ => Err(unexpected("a switch")),
        }
    }

    /// Gives up the incarnations of a node that leaves.
    pub(super) async fn leave<'a>(
        &self,
        earlier: impl Iterator<Item = &'a str>,
    ) -> Result<(), TransportError> {
        self.switch_to(None, earlier, 0, None).await.map(drop)
    }

    async fn switch_to<'a>(
        &self,
        new: Option<&str>,
        earlier: impl Iterator<Item = &'a str>,
        connections: usize,
        began: Option<&str>,
    ) -> Result<Vec<Value>, TransportError> {
        let names = self.names();
        let hash = new.map_or(self.leases.clone(), |new| names.counts(new));
        let mut keys = vec![self.leases.clone(), hash, self.since.clone()];
        let mut args = vec![REDIS_TIME.to_owned(), self.lease_ms.clone(), connections.to_string()];
        args.push(new.unwrap_or_default().to_owned());
        args.extend([self.young.as_millis().to_string(), began.unwrap_or("0").to_owned()]);
        for incarnation in earlier {
            keys.push(names.counts(incarnation));
            args.push(incarnation.to_owned());
        }
        match self.run(&self.switch, &keys, &args).await? {
            Value::Array(answer) => Ok(answer),
            _ => Err(unexpected("a switch")),
        }
    }

    /// Renews a lease, with all connections of the node, and whether it takes no new ones any more.
    pub(super) async fn renew(
        &self,
        incarnation: &str,
        (connections, leaves): (usize, bool),
    ) -> Result<Leased<Renewed>, TransportError> {
        let keys = [self.leases.clone(), self.names().counts(incarnation), self.since.clone()];
        let mut args = vec![REDIS_TIME.to_owned(), self.lease_ms.clone(), incarnation.to_owned()];
        args.extend([connections.to_string(), u8::from(leaves).to_string()]);
        let Value::Array(answer) = self.run(&self.renew, &keys, &args).await? else {
            return Err(unexpected("a renewal"));
        };
        match (word(&answer), &answer[..]) {
            (
                Some("ok"),
                [
                    _,
                    Value::Int(changes),
                    Value::Int(nodes),
                    Value::Int(others),
                    Value::Int(open),
                    Value::Int(of_open),
                ],
            ) => {
                let nodes = u32::try_from(*nodes).unwrap_or(1);
                let others = Others {
                    connections: whole(*others),
                    open: u32::try_from(*open).unwrap_or(0),
                    connections_of_open: whole(*of_open),
                };
                Ok(Leased::Alive(Renewed { changes: whole(*changes), nodes, others }))
            }
            (Some("lapsed"), _) => Ok(Leased::Lapsed),
            _ => Err(unexpected("a renewal")),
        }
    }

    /// How many connections those hold who began before this incarnation, in each of at most [`SCOPES_LEN`] scopes.
    pub(super) async fn before(
        &self,
        incarnation: &str,
        held: &[rivulet_node::Held],
    ) -> Result<Leased<Vec<u64>>, TransportError> {
        let keys = [self.leases.clone(), self.names().counts(incarnation)];
        let mut args = vec![REDIS_TIME.to_owned(), incarnation.to_owned()];
        args.extend(held.iter().map(|held| place(held.limit, &held.scope)));
        let Value::Array(sums) = self.run(&self.before, &keys, &args).await? else {
            return Ok(Leased::Lapsed);
        };
        let sums: Vec<u64> = sums
            .iter()
            .filter_map(|sum| if let Value::Int(sum) = sum { Some(whole(*sum)) } else { None })
            .collect();
        if sums.len() == held.len() { Ok(Leased::Alive(sums)) } else { Err(unexpected("sums of quotas")) }
    }
}

/// What `pass` in `gcra.lua` needs to know of a rate.
pub(crate) fn rate_args(rate: &Rate) -> [String; 2] {
    [rate.pace.interval_micros().to_string(), rate.pace.burst_micros().to_string()]
}

/// What `pass` says of a rate that is used up: which of them, and for how long.
pub(crate) fn fast(answer: &[Value]) -> Option<(usize, Duration)> {
    match (word(answer), answer) {
        (Some("fast"), [_, Value::Int(which), Value::BulkString(micros)]) => {
            let micros = std::str::from_utf8(micros).ok()?.parse().ok()?;
            Some((index(*which), Duration::from_micros(micros)))
        }
        _ => None,
    }
}

/// The word that an answer begins with.
pub(crate) fn word(answer: &[Value]) -> Option<&str> {
    match answer.first() {
        Some(Value::BulkString(word)) => std::str::from_utf8(word).ok(),
        _ => None,
    }
}

/// Lua counts from one.
fn index(which: i64) -> usize {
    usize::try_from(which - 1).unwrap_or(usize::MAX)
}

fn whole(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_of_rates_are_read() {
        let bulk = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let refusal = [bulk("fast"), Value::Int(2), bulk("1500")];
        assert_eq!(fast(&refusal), Some((1, Duration::from_micros(1500))));
        assert_eq!(fast(&[bulk("fast"), Value::Int(2), bulk("-1")]), None);
        assert_eq!(fast(&[bulk("ok")]), None);
        assert_eq!(fast(&[]), None);
        assert_eq!(index(0), usize::MAX, "no quota has this index");
    }
}
