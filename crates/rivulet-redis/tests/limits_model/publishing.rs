//! Of the model, what counts publishers: rates that stand in another slot than the log, and those that an append counts.

use redis::Value;

use crate::model::{Model, Script, Taken, bulk, number};

/// What the model knows of the log.
#[derive(Debug, Default)]
pub(crate) struct Log {
    last: u64,
    /// How many updates have had an idempotency key, and the position of the last one.
    keyed: (u64, u64),
}

impl Model {
    pub(crate) fn publish(&mut self, rates: &[(&'static str, u64, u64)]) {
        let mut expected = vec![bulk("ok")];
        if let Some((n, wait)) = self.pass(rates) {
            expected = vec![bulk("fast"), number(n + 1), bulk(&wait.to_string())];
        } else {
            let taken = rates.iter().map(|(name, interval, _)| (*name, *interval, self.arrivals[name]));
            let taken: Taken = taken.collect();
            expected.extend(taken.iter().map(|(_, _, arrival)| bulk(&arrival.to_string())));
            self.published.push((taken, self.now));
        }
        self.rate("take", rates, Value::Array(expected));
    }

    pub(crate) fn give_back(&mut self, which: &proptest::sample::Index) {
        if self.published.is_empty() {
            return;
        }
        let (taken, at) = self.published.swap_remove(which.index(self.published.len()));
        for (name, interval, arrival) in &taken {
            let passed = self.passed.get_mut(name).unwrap();
            passed.remove(passed.iter().position(|passed| *passed == at).unwrap());
            if self.arrivals[name] == *arrival {
                let before = arrival - interval;
                self.arrivals.insert(name, if before > self.now { before } else { 0 });
            }
        }
        self.rate("back", &taken, Value::Array(vec![bulk("ok")]));
    }

    fn rate(&mut self, how: &str, rates: &[(&'static str, u64, u64)], expected: Value) {
        let keys = rates.iter().map(|(name, ..)| self.key(&format!("r:{name}"))).collect();
        let paces = rates.iter().flat_map(|(_, interval, burst)| [interval.to_string(), burst.to_string()]);
        self.call(Script::Rate, keys, [how.to_owned()].into_iter().chain(paces).collect(), expected);
    }

    /// One update to one topic, with an idempotency key: a new one, or that of the last update, which counts nothing, whether
    /// it is that update (1) or another (2).
    pub(crate) fn append(&mut self, rates: &[(&'static str, u64, u64)], again: u8) {
        let again = if self.log.keyed.0 > 0 { again } else { 0 };
        let key = self.log.keyed.0 + u64::from(again == 0);
        let content = if again == 2 { "another" } else { "content" };
        let expected = if again == 2 {
            bulk("reused")
        } else if again == 1 {
            Value::Array(vec![bulk("again"), bulk(&self.log.keyed.1.to_string())])
        } else if let Some((n, wait)) = self.pass(rates) {
            Value::Array(vec![bulk("fast"), number(n + 1), bulk(&wait.to_string())])
        } else {
            self.log.last = self.now.max(self.log.last + 1);
            self.log.keyed = (key, self.log.last);
            bulk(&self.log.last.to_string())
        };
        let name = |name: &str| format!("{{log of {}}}{name}", self.prefix);
        let mut keys = ["clock", "birth", "index", "clock"].map(name).to_vec();
        keys.extend([name(&format!("key {key}")), name("t"), name("l")]);
        keys.extend(rates.iter().map(|(rate, ..)| self.key(&format!("r:{rate}"))));
        // From the topics to the expiry, as the script says.
        let args = format!("t 0 firehose control PUBLISH {content} 600000 100 100 60000000 1000000 120000");
        let paces = rates.iter().flat_map(|(_, interval, burst)| [interval.to_string(), burst.to_string()]);
        let args = args.split(' ').map(str::to_owned).chain(paces).collect();
        self.call(Script::Append, keys, args, expected);
    }
}
