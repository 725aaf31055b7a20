//! What a figure is held against: a number that it should not exceed.

use serde::Serialize;

use crate::report::Comparison;

/// A bound for the median of one figure of Rivulet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Goal {
    pub(crate) phase: &'static str,
    pub(crate) metric: &'static str,
    pub(crate) at_most: f64,
}

/// Whether a goal was met. A measurement says so and does not fail: the machine may be to blame.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Verdict {
    pub(crate) phase: &'static str,
    pub(crate) metric: &'static str,
    pub(crate) at_most: f64,
    pub(crate) median: f64,
    pub(crate) is_met: bool,
}

impl Goal {
    pub(crate) fn new(phase: &'static str, metric: &'static str, at_most: f64) -> Self {
        Self { phase, metric, at_most }
    }

    /// `None` if the figure was not measured.
    pub(crate) fn judge(self, summary: &[Comparison]) -> Option<Verdict> {
        let Self { phase, metric, at_most } = self;
        let found = summary.iter().find(|entry| entry.phase == phase && entry.metric == metric)?;
        let median = found.servers.get(&crate::args::ServerKind::Rivulet)?.median;
        Some(Verdict { phase, metric, at_most, median, is_met: median <= at_most })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{args::ServerKind, spread::Spread};

    #[test]
    fn a_goal_is_met_up_to_its_bound() {
        let spread = Spread { median: 2.0, min: 1.0, max: 9.0 };
        let servers = BTreeMap::from([(ServerKind::Rivulet, spread)]);
        let summary = [Comparison { phase: "p", metric: "m", servers, rivulet_by_floor: None }];
        for (at_most, expected) in [(2.0, true), (1.9, false)] {
            let verdict = Goal::new("p", "m", at_most).judge(&summary).expect("it was measured");
            assert_eq!(verdict.is_met, expected, "{at_most}");
        }
        assert_eq!(Goal::new("p", "other", 1.0).judge(&summary), None);
    }
}
