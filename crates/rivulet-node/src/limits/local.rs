//! The limits as one process counts them: what the memory transport enforces, and what a node falls back to while its
//! transport cannot count.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use hashbrown::HashMap;
use parking_lot::Mutex;

use super::{Limit, Pace, Permit, Quota, Rate, Refused, Scope, Wanted, permit::Keeper};

/// When somebody who found a quota full may come back: somebody has to leave first, and nobody knows when.
const QUOTA_RETRY: Duration = Duration::from_secs(15);
/// Beyond so many scopes of rates those that are over are forgotten before a new one is kept.
const ARRIVALS_SWEEP_LEN: usize = 1024;

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
    /// How many there may be, as the last of them was told: tokens may have limits of their own.
    pub max: u32,
}

#[derive(Debug, Default)]
struct Count {
    count: u32,
    max: u32,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct LocalLimits(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    connections: usize,
    held: HashMap<(Limit, Scope), Count>,
    /// By scope of a rate, the time in microseconds until which it is used up ("theoretical arrival time").
    arrivals: HashMap<(Limit, Scope), u64>,
    sweep_len: usize,
}

impl LocalLimits {
    /// Takes a place in each quota if all of them and all rates allow it, else nothing. `now` is in microseconds, of any
    /// clock that does not go back.
    ///
    /// # Errors
    ///
    /// The limit that is reached.
    pub fn admit(&self, wanted: &Wanted, share: Share, now: u64) -> Result<(), Refused> {
        let mut state = self.0.lock();
        for quota in &wanted.quotas {
            let held = state.held.get(&(quota.limit, quota.scope.clone())).map_or(0, |held| held.count);
            if held >= share.of(quota.max) {
                return Err(Refused::full(quota));
            }
        }
        state.pass(&wanted.rates, share, now)?;
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
        let held = |((limit, scope), held): (&(Limit, Scope), &Count)| Held {
            limit: *limit,
            scope: scope.clone(),
            count: held.count,
            max: held.max,
        };
        self.0.lock().held.iter().map(held).collect()
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
            held.max = quota.max;
        }
    }

    fn pass(&mut self, rates: &[Rate], share: Share, now: u64) -> Result<(), Refused> {
        let mut passed = Vec::with_capacity(rates.len());
        for rate in rates {
            let pace = share.of_pace(rate.pace);
            let key = (rate.limit, rate.scope.clone());
            let arrival = self.arrivals.get(&key).copied().unwrap_or(0).max(now);
            let next = arrival.saturating_add(pace.interval_micros());
            let ahead = next - now;
            if ahead > pace.burst_micros() {
                let wait = Duration::from_micros(ahead - pace.burst_micros());
                return Err(Refused::too_fast(rate, wait));
            }
            passed.push((key, next));
        }
        self.arrivals.extend(passed);
        if self.arrivals.len() > self.sweep_len.max(ARRIVALS_SWEEP_LEN) {
            self.arrivals.retain(|_, arrival| *arrival > now);
            self.arrivals.shrink_to(ARRIVALS_SWEEP_LEN);
            self.sweep_len = self.arrivals.len() * 2;
        }
        Ok(())
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
            retry_after,
        }
    }
}
