//! What a figure is held against: a number that it should not exceed, or one that it should reach.

use serde::Serialize;

use crate::report::Comparison;

/// A bound for the median of one figure of Rivulet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Goal {
    phase: &'static str,
    metric: &'static str,
    bound: Bound,
}

/// On which side of a number a figure should lie; the number itself is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

/// Whether a goal was met. A measurement says so and fails only with `--strict`: the machine may be to blame.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Verdict {
    pub(crate) phase: &'static str,
    pub(crate) metric: &'static str,
    #[serde(flatten)]
    pub(crate) bound: Bound,
    pub(crate) median: f64,
    pub(crate) is_met: bool,
}

/// Fails with the names of the goals that were missed.
pub(crate) fn check(verdicts: &[Verdict]) -> anyhow::Result<()> {
    let missed = verdicts.iter().filter(|verdict| !verdict.is_met);
    let missed: Vec<String> =
        missed.map(|Verdict { phase, metric, .. }| format!("{metric} ({phase})")).collect();
    anyhow::ensure!(missed.is_empty(), "missed: {}", missed.join(", "));
    Ok(())
}

impl Goal {
    pub(crate) fn new(phase: &'static str, metric: &'static str, at_most: f64) -> Self {
        Self { phase, metric, bound: Bound::AtMost(at_most) }
    }

    /// A goal that is met from this number on.
    pub(crate) fn at_least(phase: &'static str, metric: &'static str, at_least: f64) -> Self {
        Self { phase, metric, bound: Bound::AtLeast(at_least) }
    }

    /// The figure.
    pub(crate) fn metric(&self) -> &'static str {
        self.metric
    }

    /// `None` if the figure was not measured.
    pub(crate) fn judge(self, summary: &[Comparison]) -> Option<Verdict> {
        let Self { phase, metric, bound } = self;
        let found = summary.iter().find(|entry| entry.phase == phase && entry.metric == metric)?;
        let median = found.servers.get(&crate::args::ServerKind::Rivulet)?.median;
        let is_met = match bound {
            Bound::AtMost(most) => median <= most,
            Bound::AtLeast(least) => median >= least,
        };
        Some(Verdict { phase, metric, bound, median, is_met })
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
        for (goal, expected) in [
            (Goal::new("p", "m", 2.0), true),
            (Goal::new("p", "m", 1.9), false),
            (Goal::at_least("p", "m", 2.0), true),
            (Goal::at_least("p", "m", 2.1), false),
        ] {
            let verdict = goal.judge(&summary).expect("it was measured");
            assert_eq!(verdict.is_met, expected, "{goal:?}");
            let checked = check(&[verdict]).map_err(|error| error.to_string());
            assert_eq!(checked, if expected { Ok(()) } else { Err("missed: m (p)".to_owned()) });
        }
        assert_eq!(Goal::new("p", "other", 1.0).judge(&summary), None);
    }
}
