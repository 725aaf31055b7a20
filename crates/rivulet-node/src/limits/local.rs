//! The limits as one process counts them: what the memory transport enforces, and what a node falls back to while its
//! transport cannot count.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use hashbrown::HashMap;
use parking_lot::Mutex;

use super::{Limit, LimitsConfig, Pace, Permit, Quota, Rate, Refused, Scope, Wanted, permit::Keeper};

/// When somebody who found a quota full may come back: somebody has to leave first, and nobody knows when.
const QUOTA_RETRY: Duration = Duration::from_secs(15);
/// Beyond so many scopes of rates those that are over are forgotten.
const ARRIVALS_SWEEP_LEN: usize = 1024;
/// So many scopes of rates are kept, with some 10 MB: whoever thinks up topics must not fill the memory.
const ARRIVALS_LEN_MAX: usize = 65_536;
/// When all of them are taken, those nearest to their end are forgotten until so many are left.
const ARRIVALS_LEN_KEPT: usize = ARRIVALS_LEN_MAX / 4 * 3;
/// All scopes are looked through no more often, since everybody waits meanwhile.
const ARRIVALS_SWEEP_MICROS: u64 = 1_000_000;
/// Longer scopes of rates are kept as a digest.
const SCOPE_LEN_MAX: usize = 128;

/// A scope of a rate as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum RateScope {
    Whole(Scope),
    Digest([u8; 20]),
}

impl RateScope {
    fn of(scope: &Scope) -> Self {
        if scope.as_str().len() <= SCOPE_LEN_MAX {
            Self::Whole(scope.clone())
        } else {
            Self::Digest(sha1_smol::Sha1::from(scope.as_str()).digest().bytes())
        }
    }
}

/// What part of each limit one process may give out: that of one among so many nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share(NonZeroU32);

impl Share {
    /// The whole limit.
    pub const WHOLE: Self = Self(NonZeroU32::MIN);

    /// That of one among `nodes`.
    pub fn among(nodes: u32) -> Self {
        Self(NonZeroU32::new(nodes).unwrap_or(NonZeroU32::MIN))
    }

    /// Rounded up, so that nobody is shut out by a number of nodes.
    fn of(self, max: u32) -> u32 {
        max.div_ceil(self.0.get())
    }

    fn of_pace(self, pace: Pace) -> Pace {
        Pace { period: pace.period * self.0.get(), burst: self.of(pace.burst), ..pace }
    }
}

/// What connections hold of one scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Which limit.
    pub limit: Limit,
    /// Whose.
    pub scope: Scope,
    /// How many connections.
    pub count: u32,
    /// How many there may be: as the last of them was told, when there were no more in the hub, or as is configured
    /// since, if that is more and its token has no limit of its own.
    pub max: u32,
}

#[derive(Debug, Default)]
struct Count {
    count: u32,
    told: Told,
}

/// How many there may be, and whether a token says so: in four bytes, as each connection has some of them.
#[derive(Clone, Copy, Debug, Default)]
struct Told(u32);

impl Told {
    fn new(quota: &Quota) -> Self {
        Self(quota.max.min(u32::MAX >> 1) << 1 | u32::from(quota.is_of_token))
    }

    fn max(self) -> u32 {
        self.0 >> 1
    }

    fn is_of_token(self) -> bool {
        self.0 & 1 == 1
    }
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct LocalLimits(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    connections: usize,
    held: HashMap<(Limit, Scope), Count>,
    /// What is configured now, once that has changed.
    configured: Option<LimitsConfig>,
    /// By scope of a rate, the time in microseconds until which it is used up ("theoretical arrival time").
    arrivals: HashMap<(Limit, RateScope), u64>,
    sweep_len: usize,
    /// When the next sweep may be, in microseconds.
    sweep_from: u64,
}

impl LocalLimits {
    /// Takes a place in each quota if all of them and all rates allow it, else no place. Who finds a quota full has used
    /// the rates. `now` is in microseconds, of any clock that does not go back.
    ///
    /// # Errors
    ///
    /// The limit that is reached.
    pub fn admit(&self, wanted: &Wanted, share: Share, now: u64) -> Result<(), Refused> {
        let mut state = self.0.lock();
        state.pass(&wanted.rates, share, now)?;
        for quota in &wanted.quotas {
            let held = state.held.get(&(quota.limit, quota.scope.clone())).map_or(0, |held| held.count);
            if held >= share.of(quota.max) {
                return Err(Refused { nodes: share.0.get(), ..Refused::full(quota) });
            }
        }
        state.hold(&wanted.quotas);
        Ok(())
    }

    /// Counts a connection that another one has admitted.
    pub fn hold(&self, quotas: &[Quota]) {
        self.0.lock().hold(quotas);
    }

    /// Lets something through if all rates allow it; else none of them is used.
    ///
    /// # Errors
    ///
    /// The limit that is reached.
    pub fn pass(&self, rates: &[Rate], share: Share, now: u64) -> Result<(), Refused> {
        self.0.lock().pass(rates, share, now)
    }

    /// How many connections there are, limited or not.
    pub fn connections(&self) -> usize {
        self.0.lock().connections
    }

    /// How many connections there are in a scope of a quota.
    pub fn count(&self, limit: Limit, scope: &Scope) -> u32 {
        self.0.lock().held.get(&(limit, scope.clone())).map_or(0, |held| held.count)
    }

    /// What all connections hold.
    pub fn held(&self) -> Vec<Held> {
        let state = self.0.lock();
        let configured =
            |limit| state.configured.as_ref().map(|limits| limits.quota(limit).unwrap_or(u32::MAX));
        let held = |((limit, scope), held): (&(Limit, Scope), &Count)| {
            let raised = configured(*limit).filter(|_| !held.told.is_of_token()).unwrap_or(0);
            let max = held.told.max().max(raised);
            Held { limit: *limit, scope: scope.clone(), count: held.count, max }
        };
        state.held.iter().map(held).collect()
    }

    /// Says what is configured now. Where a quota was raised, others may have admitted more than the connections here were
    /// told of. One that was lowered counts from the next connection on.
    pub fn configure(&self, limits: &LimitsConfig) {
        self.0.lock().configured = Some(limits.clone());
    }

    /// A permit for what was admitted, or held, here.
    pub fn permit(keeper: Arc<dyn Keeper>, wanted: Wanted) -> Permit {
        Permit::new(keeper, wanted.quotas.into_iter().map(|quota| (quota.limit, quota.scope)).collect())
    }
}

impl Keeper for LocalLimits {
    fn take_back(&self, held: &[(Limit, Scope)]) {
        let mut state = self.0.lock();
        state.connections -= 1;
        for key in held {
            let held = state.held.get_mut(key).expect("what a permit holds has been counted");
            held.count -= 1;
            if held.count == 0 {
                state.held.remove(key);
            }
        }
        if state.held.len() < state.held.capacity() / 4 {
            let capacity = state.held.len() * 2;
            state.held.shrink_to(capacity);
        }
    }
}

impl State {
    fn hold(&mut self, quotas: &[Quota]) {
        self.connections += 1;
        for quota in quotas {
            let held = self.held.entry((quota.limit, quota.scope.clone())).or_default();
            held.count += 1;
            held.told = Told::new(quota);
        }
    }

    fn pass(&mut self, rates: &[Rate], share: Share, now: u64) -> Result<(), Refused> {
        let mut passed = Vec::with_capacity(rates.len());
        for rate in rates {
            let pace = share.of_pace(rate.pace);
            let key = (rate.limit, RateScope::of(&rate.scope));
            let arrival = self.arrivals.get(&key).copied().unwrap_or(0).max(now);
            let next = arrival.saturating_add(pace.interval_micros());
            let ahead = next - now;
            if ahead > pace.burst_micros() {
                let wait = Duration::from_micros(ahead - pace.burst_micros());
                return Err(Refused { nodes: share.0.get(), ..Refused::too_fast(rate, wait) });
            }
            passed.push((key, next));
        }
        for (key, next) in passed {
            // While there is no room, who is new is let through uncounted, for a second at most: a crowd of thought-up
            // scopes must not shut others out.
            if self.arrivals.len() < ARRIVALS_LEN_MAX || self.arrivals.contains_key(&key) {
                self.arrivals.insert(key, next);
            }
        }
        let is_due = self.arrivals.len() > self.sweep_len.max(ARRIVALS_SWEEP_LEN);
        if is_due && now >= self.sweep_from {
            self.sweep(now);
        }
        Ok(())
    }

    /// Forgets the scopes of rates that are over, and if too many are left, those nearest to that.
    fn sweep(&mut self, now: u64) {
        self.arrivals.retain(|_, arrival| *arrival > now);
        let mut excess = self.arrivals.len().saturating_sub(ARRIVALS_LEN_KEPT);
        if excess > 0 {
            let mut ends: Vec<u64> = self.arrivals.values().copied().collect();
            let (_, last, _) = ends.select_nth_unstable(excess - 1);
            let last = *last;
            self.arrivals.retain(|_, arrival| {
                let goes = excess > 0 && *arrival <= last;
                excess -= usize::from(goes);
                !goes
            });
        }
        self.arrivals.shrink_to(ARRIVALS_SWEEP_LEN);
        self.sweep_len = (self.arrivals.len() * 2).min(ARRIVALS_LEN_MAX - 1);
        self.sweep_from = now.saturating_add(ARRIVALS_SWEEP_MICROS);
    }
}

impl Refused {
    /// The refusal of a quota that is full.
    pub fn full(quota: &Quota) -> Self {
        Self {
            limit: quota.limit,
            scope: quota.scope.clone(),
            max: quota.max,
            pace: None,
            nodes: 1,
            retry_after: QUOTA_RETRY,
        }
    }

    /// The refusal of a rate that is used up for so long.
    pub fn too_fast(rate: &Rate, retry_after: Duration) -> Self {
        Self {
            limit: rate.limit,
            scope: rate.scope.clone(),
            max: rate.pace.count,
            pace: Some(rate.pace),
            nodes: 1,
            retry_after,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::WhenAway;

    fn rate(scope: &str, period: Duration) -> Rate {
        let pace = Pace::new(1, period, None).unwrap();
        Rate { limit: Limit::PublishesPerTopic, scope: Scope::new(scope), pace, when_away: WhenAway::Open }
    }

    #[test]
    fn the_scopes_of_rates_that_are_kept_are_bounded_and_the_longest_used_up_stay() {
        let limits = LocalLimits::default();
        let pass = |scope: &str, secs: u64, now: u64| {
            limits.pass(&[rate(scope, Duration::from_secs(secs))], Share::WHOLE, now)
        };
        pass("long", 3600, 0).unwrap();
        for nth in 0..2 * ARRIVALS_LEN_MAX {
            pass(&format!("of the first second {nth}"), 60, 0).unwrap();
        }
        assert_eq!(limits.0.lock().arrivals.len(), ARRIVALS_LEN_MAX);
        pass("new", 60, 0).unwrap();
        pass("new", 60, 0).expect("there is no room to count it");

        pass("of the next second", 60, ARRIVALS_SWEEP_MICROS).unwrap();
        assert_eq!(limits.0.lock().arrivals.len(), ARRIVALS_LEN_KEPT);
        pass("new", 60, ARRIVALS_SWEEP_MICROS).unwrap();
        pass("new", 60, ARRIVALS_SWEEP_MICROS).expect_err("now it is counted");
        pass("long", 3600, ARRIVALS_SWEEP_MICROS).expect_err("those nearest to their end were forgotten");
    }

    #[test]
    fn what_is_held_is_measured_by_quotas_that_were_raised_and_not_by_those_that_were_lowered() {
        let limits = LocalLimits::default();
        let quota = |scope: &str, max, is_of_token| Quota {
            limit: Limit::ConnectionsPerSubject,
            scope: Scope::new(scope),
            max,
            is_of_token,
            when_away: WhenAway::Open,
        };
        let hold_all = || {
            limits.hold(&[quota("as configured", 3, false)]);
            limits.hold(&[quota("own", 2, true)]);
            limits.hold(&[quota("own, the same", 3, true)]);
        };
        let expect = |expected: u32| {
            let mut held: Vec<_> = limits.held().into_iter().map(|held| (held.scope, held.max)).collect();
            held.sort_unstable();
            let scope = Scope::new;
            assert_eq!(
                held,
                [(scope("as configured"), expected), (scope("own"), 2), (scope("own, the same"), 3)]
            );
        };
        hold_all();
        expect(3);
        for (now, expected) in [(Some(10), 10), (Some(2), 3), (Some(20), 20), (None, u32::MAX)] {
            limits.configure(&LimitsConfig { connections_per_subject: now, ..LimitsConfig::default() });
            expect(expected);
            // Their requests have begun before.
            hold_all();
            expect(expected);
        }
    }

    #[test]
    fn long_scopes_are_told_apart_without_being_kept() {
        let limits = LocalLimits::default();
        let long = "x".repeat(4096);
        let pass = |scope: &str| limits.pass(&[rate(scope, Duration::from_secs(60))], Share::WHOLE, 0);
        pass(&format!("{long}a")).unwrap();
        pass(&format!("{long}b")).unwrap();
        let refused = pass(&format!("{long}a")).unwrap_err();
        assert_eq!(refused.scope.as_str(), format!("{long}a"), "who is refused is told in full");
        assert!(limits.0.lock().arrivals.keys().all(|(_, scope)| matches!(scope, RateScope::Digest(_))));
    }
}
