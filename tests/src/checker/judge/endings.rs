//! Endings: whatever happens to Redis, the stream of a subscriber that reads stays open as long as its node lives.

use super::{Kind, Verdict, Violation};
use crate::checker::{
    history::{History, Moment, What},
    subscriber::{Habit, LEFT},
};

/// How long after its cause an ending may be noticed.
const SLACK: Moment = Moment::from_secs(5);

pub(super) fn check(history: &History, number: usize, verdict: &mut Verdict) {
    let log = &history.logs[number];
    // The others may look to a node as if they had stopped reading.
    if log.habit != Habit::Steady {
        return;
    }
    let (mut opened, mut stalled_until) = (None, None);
    for (index, sighting) in log.sightings.iter().enumerate() {
        match &sighting.what {
            What::Opened { node, .. } => opened = Some((index, *node)),
            What::Stalled(duration) => stalled_until = Some(sighting.at + *duration),
            What::Ended(reason) if reason != LEFT => {
                let Some((opening, node)) = opened else { continue };
                let is_near = |from: Moment, to: Moment| from <= sighting.at && sighting.at <= to + SLACK;
                let ended = history
                    .breakages
                    .iter()
                    .any(|breakage| breakage.node == Some(node) && is_near(breakage.from, breakage.to));
                if !ended && stalled_until.is_none_or(|until| sighting.at > until + SLACK) {
                    verdict.violations.push(Violation {
                        kind: Kind::Dropped,
                        text: format!(
                            "node {node}, which lived on, ended the stream of subscriber {number}: {reason}"
                        ),
                        updates: Vec::new(),
                        places: vec![(number, opening), (number, index)],
                    });
                }
            }
            _ => {}
        }
    }
}
