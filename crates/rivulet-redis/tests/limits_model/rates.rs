//! The model's rates: GCRA, as the module `limits` of the node has it, with paces that change as when a configuration is read
//! again.

use std::collections::HashMap;

use proptest::{prelude::*, sample::Index, test_runner::TestCaseError};

/// Each with the paces that it has in turn: interval and burst, in microseconds.
pub(crate) const RATES: [(&str, [(u64, u64); 2]); 4] = [
    ("4:x", [(1_000_000, 3_000_000), (60_000_000, 120_000_000)]),
    ("5:a", [(1, 1), (2_000_000, 2_000_000)]),
    ("6:a", [(333_333, 333_333), (5_000_000, 50_000_000)]),
    ("7:t", [(86_400_000_000, 10 * 86_400_000_000), (250_000, 500_000)]),
];

/// A rate with its interval and burst.
pub(crate) type Paced = (&'static str, u64, u64);
/// Rates with their intervals, and until when each is used up.
pub(crate) type Taken = Vec<(&'static str, u64, u64)>;

/// See the module.
#[derive(Default)]
pub(crate) struct Rates {
    /// Which of its paces each rate has.
    paces: [usize; RATES.len()],
    pub(crate) arrivals: HashMap<&'static str, u64>,
    /// When each rate has let something through at its pace that was not taken back.
    passed: HashMap<&'static str, Vec<u64>>,
    /// The same of paces that are over.
    passed_before: Vec<(Paced, Vec<u64>)>,
    /// Updates that are not appended yet: what their rates answered, and when.
    published: Vec<(Taken, u64)>,
}

impl Rates {
    fn paced(&self, rate: usize) -> Paced {
        let (name, paces) = RATES[rate];
        let (interval, burst) = paces[self.paces[rate]];
        (name, interval, burst)
    }

    pub(crate) fn chosen(&self, bits: u8) -> Vec<Paced> {
        (0..RATES.len()).filter(|rate| bits & (1 << rate) != 0).map(|rate| self.paced(rate)).collect()
    }

    /// The rate gets its other pace.
    pub(crate) fn retime(&mut self, rate: usize) {
        let paced = self.paced(rate);
        self.passed_before.extend(self.passed.remove(paced.0).map(|passed| (paced, passed)));
        self.paces[rate] = 1 - self.paces[rate];
    }

    /// Answers which rate is used up, and for how long.
    pub(crate) fn pass(&mut self, rates: &[Paced], now: u64) -> Option<(usize, u64)> {
        let mut arrivals = Vec::new();
        for (n, (name, interval, burst)) in rates.iter().enumerate() {
            let arrival = self.arrivals.entry(name).or_insert(0);
            *arrival = (*arrival).min(now + burst);
            let next = (*arrival).max(now) + interval;
            if next - now > *burst {
                return Some((n, next - now - burst));
            }
            arrivals.push((*name, next));
        }
        for (name, _) in &arrivals {
            self.passed.entry(name).or_default().push(now);
        }
        self.arrivals.extend(arrivals);
        None
    }

    /// An update that all these rates have let through waits to be appended. Answers until when each is used up.
    pub(crate) fn published(&mut self, rates: &[Paced], now: u64) -> Vec<u64> {
        let taken: Taken =
            rates.iter().map(|(name, interval, _)| (*name, *interval, self.arrivals[name])).collect();
        let arrivals = taken.iter().map(|(_, _, arrival)| *arrival).collect();
        self.published.push((taken, now));
        arrivals
    }

    /// One of those that wait is not appended.
    pub(crate) fn give_back(&mut self, which: &Index, now: u64) -> Option<Taken> {
        if self.published.is_empty() {
            return None;
        }
        let (taken, at) = self.published.swap_remove(which.index(self.published.len()));
        for (name, interval, arrival) in &taken {
            if let Some(passed) = self.passed.get_mut(name)
                && let Some(place) = passed.iter().position(|passed| *passed == at)
            {
                passed.remove(place);
            }
            if self.arrivals[name] == *arrival {
                let before = arrival - interval;
                self.arrivals.insert(name, if before > now { before } else { 0 });
            }
        }
        Some(taken)
    }

    /// Whatever the formula: in any time no more has passed than the burst, and what the pace allows in that time.
    pub(crate) fn never_too_fast(&self) -> Result<(), TestCaseError> {
        let now = (0..RATES.len()).map(|rate| self.paced(rate)).filter_map(|paced| {
            let passed = self.passed.get(paced.0)?;
            Some((paced, passed))
        });
        let before = self.passed_before.iter().map(|(paced, passed)| (*paced, passed));
        for ((rate, interval, burst), passed) in now.chain(before) {
            for (first, begun) in passed.iter().enumerate() {
                for (last, ended) in passed.iter().enumerate().skip(first) {
                    let count = (last - first + 1) as u64;
                    prop_assert!(count * interval <= ended - begun + burst, "{} in {}", count, rate);
                }
            }
        }
        Ok(())
    }
}
