//! The rates of who publishes. Those that stand in the partition of the update's canonical topic are checked by
//! `append.lua`; the others are used before, where they stand, and given back if the update is not appended.
//!
//! A topic's rate stands in the topic's partition, any other in the one that its scope leads to. With one partition
//! `append.lua` checks them all.

use redis::Value;
use rivulet_core::{Partition, Update};
use rivulet_node::{
    AppendError, Limit, LocalLimits, Peers, Rate, Refused, Share, TransportError, Verdict, Verdicts, WhenAway,
};

use super::counter::{REDIS_TIME, fast, rate_args, word};
use crate::{
    entry::unexpected,
    keys::Keys,
    primaries::{Job, Primaries},
    script::{Call, Script},
};

/// Where the rates of an update stand.
pub(crate) struct Spread<'a> {
    /// Those that its append checks.
    pub(crate) here: Vec<&'a Rate>,
    elsewhere: Vec<(Partition, Vec<&'a Rate>)>,
}

/// Rates elsewhere that have let an update through, and until when each is used up since.
#[derive(Default)]
pub(crate) struct Taken<'a>(Vec<(Partition, Vec<(&'a Rate, String)>)>);

/// What a partition has said of its rates.
enum Pass {
    Through(Vec<String>),
    Refused(Refused),
}

/// See the module.
pub(crate) struct PublishRates {
    script: Script,
    /// For rates whose partition is away.
    alone: LocalLimits,
    started: std::time::Instant,
    pub(crate) verdicts: Verdicts,
}

impl<'a> Spread<'a> {
    pub(crate) fn new(keys: &Keys, update: &Update, rates: &'a [Rate]) -> Self {
        let home = keys.partitions().of(update.canonical_topic());
        let mut spread = Self { here: Vec::new(), elsewhere: Vec::new() };
        for rate in rates {
            let topic = update.topics.iter().find(|topic| topic.as_str() == rate.scope.as_str());
            let partition = match (rate.limit, topic) {
                (Limit::PublishesPerTopic, Some(topic)) => keys.partitions().of(topic),
                _ => keys.partition_of_scope(&rate.scope),
            };
            if partition == home {
                spread.here.push(rate);
            } else if let Some((_, rates)) =
                spread.elsewhere.iter_mut().find(|(known, _)| *known == partition)
            {
                rates.push(rate);
            } else {
                spread.elsewhere.push((partition, vec![rate]));
            }
        }
        spread
    }
}

impl PublishRates {
    pub(crate) fn new() -> Self {
        Self {
            script: Script::rate(),
            alone: LocalLimits::default(),
            started: std::time::Instant::now(),
            verdicts: Verdicts::default(),
        }
    }

    /// Lets the update through the rates that stand elsewhere, all or none of them.
    pub(crate) async fn take<'a>(
        &self,
        primaries: &Primaries,
        keys: &Keys,
        spread: &Spread<'a>,
        peers: Peers,
    ) -> Result<Taken<'a>, AppendError> {
        let mut taken = Taken::default();
        for (partition, rates) in &spread.elsewhere {
            let error = match self.take_in(primaries, keys, *partition, rates).await {
                Ok(Pass::Through(arrivals)) => {
                    self.verdicts.note_rates(rates.iter().copied(), Verdict::Admitted);
                    taken.0.push((*partition, rates.iter().copied().zip(arrivals).collect()));
                    continue;
                }
                Ok(Pass::Refused(refused)) => {
                    self.verdicts.note(refused.limit, Verdict::Refused);
                    refused.into()
                }
                Err(error) => match self.alone(rates, peers, error) {
                    Ok(()) => continue,
                    Err(error) => error,
                },
            };
            self.give_back(primaries, keys, taken).await;
            return Err(error);
        }
        Ok(taken)
    }

    /// Gives back what was taken for an update that was not appended. What cannot be given back comes back with time.
    pub(crate) async fn give_back(&self, primaries: &Primaries, keys: &Keys, taken: Taken<'_>) {
        for (partition, rates) in taken.0 {
            let names = keys.of(partition);
            let keys: Vec<String> =
                rates.iter().map(|(rate, _)| names.rate(rate.limit, &rate.scope)).collect();
            let args: Vec<String> = rates
                .into_iter()
                .flat_map(|(rate, arrival)| [rate.pace.interval_micros().to_string(), arrival])
                .collect();
            if let Err(error) = self.run(primaries, partition, "back", &keys, &args).await {
                tracing::debug!(%error, "rates of an update that was not appended were not given back");
            }
        }
    }

    /// While a partition is away: what each limit says about that.
    fn alone(&self, rates: &[&Rate], peers: Peers, error: TransportError) -> Result<(), AppendError> {
        if let Some(closed) = rates.iter().find(|rate| rate.when_away == WhenAway::Closed) {
            self.verdicts.note(closed.limit, Verdict::Degraded);
            return Err(error.into());
        }
        let rates: Vec<Rate> = rates.iter().copied().cloned().collect();
        let now = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        let passed = self.alone.pass(&rates, Share::among(peers.nodes), now);
        match &passed {
            Ok(()) => self.verdicts.note_rates(&rates, Verdict::Degraded),
            Err(refused) => self.verdicts.note(refused.limit, Verdict::Degraded),
        }
        Ok(passed?)
    }

    async fn take_in(
        &self,
        primaries: &Primaries,
        keys: &Keys,
        partition: Partition,
        rates: &[&Rate],
    ) -> Result<Pass, TransportError> {
        let (keys, args) = key_and_args(keys, partition, rates);
        let answer = self.run(primaries, partition, "take", &keys, &args).await?;
        if word(&answer) != Some("ok") {
            return refusal(rates, &answer).map(Pass::Refused).ok_or_else(|| unexpected("a rate"));
        }
        let arrivals: Vec<String> =
            answer[1..].iter().filter_map(|arrival| redis::from_redis_value_ref(arrival).ok()).collect();
        if arrivals.len() == rates.len() { Ok(Pass::Through(arrivals)) } else { Err(unexpected("a rate")) }
    }

    async fn run(
        &self,
        primaries: &Primaries,
        partition: Partition,
        how: &str,
        keys: &[String],
        args: &[String],
    ) -> Result<Vec<Value>, TransportError> {
        let call = Call {
            keys: keys.iter().map(String::as_bytes).collect(),
            args: [REDIS_TIME, how]
                .into_iter()
                .chain(args.iter().map(String::as_str))
                .map(str::as_bytes)
                .collect(),
        };
        let done = primaries.run(partition, Job::Count(&self.script, &call)).await?;
        match done.values.into_iter().next() {
            Some(Value::Array(answer)) => Ok(answer),
            _ => Err(unexpected("a rate")),
        }
    }
}

/// The keys and arguments of rates, for `pass` in `gcra.lua`.
pub(crate) fn key_and_args(keys: &Keys, partition: Partition, rates: &[&Rate]) -> (Vec<String>, Vec<String>) {
    let names = keys.of(partition);
    let keys = rates.iter().map(|rate| names.rate(rate.limit, &rate.scope)).collect();
    (keys, rates.iter().flat_map(|rate| rate_args(rate)).collect())
}

/// The refusal that `pass` has answered.
pub(crate) fn refusal(rates: &[&Rate], answer: &[Value]) -> Option<Refused> {
    let (which, wait) = fast(answer)?;
    Some(Refused::too_fast(rates.get(which)?, wait))
}
