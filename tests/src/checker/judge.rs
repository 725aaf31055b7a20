//! The judge: compares what was acknowledged with what was seen. It knows the promises and nothing of the product.

mod endings;
mod gaps;
mod losses;
mod order;
mod stream;

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use super::history::{Answer, History, Log, Name, Sighting, What};

/// When a history is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// While the run goes on: what has not come yet may still come, unless something later came already. What a
    /// breakage may excuse is not judged, since that is noted when it has been mended.
    Underway,
    /// After everybody has had the time to see everything.
    Final,
}

/// What a subscriber, or the hub, did wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// An acknowledged update was not seen and no gap speaks of it.
    Lost,
    /// An update was seen twice.
    Duplicate,
    /// An id stands before one that was seen earlier, or two subscribers saw one topic in different orders.
    Order,
    /// Something was seen that was not published, or under another id than the publisher was told.
    Phantom,
    /// A private update, or one of another topic, was seen.
    Leak,
    /// A stream of a subscriber that reads was ended by a node that lived on.
    Dropped,
    /// A gap was announced where nothing was lost.
    FalseGap,
    /// The answer's header says that something is lost, and the stream does not.
    SilentGap,
    /// An honest publisher was refused.
    Refusal,
    /// A node panicked, or something did not get well.
    Accident,
}

/// One violation and where to look for it.
#[derive(Clone, Debug)]
pub struct Violation {
    /// What it is.
    pub kind: Kind,
    /// In a sentence.
    pub text: String,
    /// The updates it is about.
    pub updates: Vec<Name>,
    /// The places in subscribers' logs that show it: subscriber and number of the sighting.
    pub places: Vec<(usize, usize)>,
}

/// What was found, and how much was looked at.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Everything that is wrong.
    pub violations: Vec<Violation>,
    /// Updates that were published and acknowledged.
    pub acknowledged: usize,
    /// Updates whose publisher never got an answer.
    pub unknown: usize,
    /// Sightings of updates that were checked.
    pub deliveries: usize,
    /// Streams that were opened.
    pub streams: usize,
    /// Gaps that were announced, for good reason.
    pub gaps: usize,
    /// Acknowledged updates that were not seen and lie in a gap that says so.
    pub excused: usize,
    /// Updates that were seen again under another id, since Redis had forgotten them before they were acknowledged.
    pub forgotten: usize,
}

impl Verdict {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty()
    }
}

/// Where each update stands in a subscriber's log.
type Seen = HashMap<Name, Vec<usize>>;

/// Judges a history.
pub fn judge(history: &History, phase: Phase) -> Verdict {
    let mut verdict = Verdict::default();
    for update in history.updates.values() {
        match update.id() {
            Some(_) => verdict.acknowledged += 1,
            None => verdict.unknown += 1,
        }
    }
    let mut all_seen = Vec::new();
    for (number, log) in history.logs.iter().enumerate() {
        let seen = seen(log);
        let is_opening = |sighting: &&Sighting| matches!(sighting.what, What::Opened { .. });
        verdict.streams += log.sightings.iter().filter(is_opening).count();
        verdict.deliveries += seen.values().map(Vec::len).sum::<usize>();
        stream::check(history, number, &seen, &mut verdict);
        if phase == Phase::Final {
            gaps::check(history, number, &mut verdict);
            endings::check(history, number, &mut verdict);
        }
        losses::check(history, number, &seen, phase, &mut verdict);
        all_seen.push(seen);
    }
    order::check(history, &all_seen, &mut verdict);
    if phase == Phase::Final {
        check_publishers(history, &mut verdict);
    }
    verdict
}

fn seen(log: &Log) -> Seen {
    let mut seen = Seen::new();
    for (index, sighting) in log.sightings.iter().enumerate() {
        if let What::Update(name, _) = &sighting.what {
            seen.entry(*name).or_default().push(index);
        }
    }
    seen
}

fn check_publishers(history: &History, verdict: &mut Verdict) {
    for (name, update) in &history.updates {
        let refused = update.attempts.iter().find_map(|attempt| match &attempt.answer {
            Answer::Refused(reason) => Some(reason),
            _ => None,
        });
        if let Some(reason) = refused {
            verdict.violations.push(Violation {
                kind: Kind::Refusal,
                text: format!("{name} was refused: {reason}"),
                updates: vec![*name],
                places: Vec::new(),
            });
        }
    }
    verdict.violations.extend(history.accidents.iter().map(|text| Violation {
        kind: Kind::Accident,
        text: text.clone(),
        updates: Vec::new(),
        places: Vec::new(),
    }));
}
