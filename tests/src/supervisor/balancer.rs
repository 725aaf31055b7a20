//! The load balancer in front of the pods: it chooses one for each connection, as kube-proxy does, of the list that it
//! knows, which is older than the truth.

use std::{
    collections::{BTreeSet, VecDeque},
    net::SocketAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use rand::RngExt as _;

/// The endpoints as they are, and as the balancer knows them.
#[derive(Debug)]
pub struct Balancer {
    lag: Duration,
    lists: Mutex<Lists>,
}

#[derive(Debug, Default)]
struct Lists {
    truth: BTreeSet<SocketAddr>,
    /// What will be known, and when.
    upcoming: VecDeque<(Instant, Vec<SocketAddr>)>,
    known: Vec<SocketAddr>,
}

impl Balancer {
    /// One that knows nobody yet.
    pub fn new(lag: Duration) -> Self {
        Self { lag, lists: Mutex::default() }
    }

    /// Takes a pod into the endpoints.
    pub fn add(&self, address: SocketAddr, now: Instant) {
        self.change(now, |truth| truth.insert(address));
    }

    /// Takes a pod out of the endpoints.
    pub fn remove(&self, address: SocketAddr, now: Instant) {
        self.change(now, |truth| truth.remove(&address));
    }

    /// The endpoints that are known at a time.
    pub fn known(&self, now: Instant) -> Vec<SocketAddr> {
        self.with(|lists| lists.at(now).to_vec())
    }

    /// Chooses an endpoint for a connection, each as likely as the others. `None` if it knows none.
    pub fn choose(&self, now: Instant) -> Option<SocketAddr> {
        self.with(|lists| {
            let known = lists.at(now);
            (!known.is_empty()).then(|| known[rand::rng().random_range(0..known.len())])
        })
    }

    fn change(&self, now: Instant, change: impl FnOnce(&mut BTreeSet<SocketAddr>) -> bool) {
        self.with(|lists| {
            if change(&mut lists.truth) {
                lists.upcoming.push_back((now + self.lag, lists.truth.iter().copied().collect()));
            }
        });
    }

    fn with<T>(&self, act: impl FnOnce(&mut Lists) -> T) -> T {
        act(&mut self.lists.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Lists {
    fn at(&mut self, now: Instant) -> &[SocketAddr] {
        while self.upcoming.front().is_some_and(|(due, _)| *due <= now)
            && let Some((_, list)) = self.upcoming.pop_front()
        {
            self.known = list;
        }
        &self.known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_known_later_and_in_their_order() {
        let balancer = Balancer::new(Duration::from_secs(2));
        let (a, b) = (SocketAddr::from(([127, 0, 0, 1], 1)), SocketAddr::from(([127, 0, 0, 1], 2)));
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        balancer.add(a, start);
        balancer.add(b, after(1));
        balancer.remove(a, after(2));
        // Nobody changes what is so already.
        balancer.remove(a, after(9));
        assert_eq!(balancer.choose(after(1)), None);
        assert_eq!(balancer.known(after(2)), [a]);
        assert_eq!(balancer.known(after(3)), [a, b]);
        assert_eq!(balancer.known(after(4)), [b]);
        assert_eq!(balancer.choose(after(20)), Some(b));
    }
}
