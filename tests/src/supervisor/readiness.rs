//! Whether a pod counts as ready, by what its probes found.

use std::time::Duration;

/// When a probe is made, and how many in a row decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeRules {
    /// `periodSeconds`.
    pub period: Duration,
    /// `successThreshold`.
    pub successes: u32,
    /// `failureThreshold`.
    pub failures: u32,
}

/// The state of one pod; nobody is ready at first.
#[derive(Debug)]
pub struct Readiness {
    rules: ProbeRules,
    is_ready: bool,
    /// Probes in a row that speak against `is_ready`.
    against: u32,
}

impl Readiness {
    /// That of a pod that has just begun.
    pub const fn new(rules: ProbeRules) -> Self {
        Self { rules, is_ready: false, against: 0 }
    }

    /// Takes what a probe found. Answers the new state if this changed it.
    pub fn observe(&mut self, passed: bool) -> Option<bool> {
        if passed == self.is_ready {
            self.against = 0;
            return None;
        }
        self.against += 1;
        let enough = if passed { self.rules.successes } else { self.rules.failures };
        if self.against < enough {
            return None;
        }
        (self.is_ready, self.against) = (passed, 0);
        Some(passed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_so_many_probes_in_a_row_decide() {
        let rules = ProbeRules { period: Duration::from_secs(1), successes: 2, failures: 3 };
        let mut readiness = Readiness::new(rules);
        let probes = [true, false, true, true, false, false, true, false, false, false, true];
        let changes: Vec<_> = probes.into_iter().map(|passed| readiness.observe(passed)).collect();
        let mut expected = [None; 11];
        (expected[3], expected[9]) = (Some(true), Some(false));
        assert_eq!(changes, expected);
    }
}
