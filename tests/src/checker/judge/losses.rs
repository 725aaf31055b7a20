//! Losses: each acknowledged update was seen by everybody who was entitled to it, or lies in a gap that they were told.

use super::{Kind, Phase, Seen, Verdict, Violation, gaps::Gap};
use crate::checker::{
    cursor::Cursor,
    history::{History, Log, Name, Update},
};

pub(super) fn check(history: &History, number: usize, seen: &Seen, phase: Phase, verdict: &mut Verdict) {
    let log = &history.logs[number];
    // A gap without a reason is a violation by itself, and excuses nothing.
    let gaps: Vec<Gap<'_>> = Gap::all(log).into_iter().filter(|gap| gap.has_reason(history, log)).collect();
    let reached = log.sightings.iter().rev().find_map(|sighting| sighting.what.cursor());
    for (name, update) in &history.updates {
        let Some(id) = update.id().and_then(Cursor::parse) else { continue };
        if seen.contains_key(name) || !log.interest.entitles(&update.topics, update.private) {
            continue;
        }
        // Under way only what stands before the last id is late for certain, and only where ids can be compared.
        let is_due = reached.is_some_and(|reached| id.is_single() && reached.base() >= id.base());
        if phase == Phase::Underway && !is_due {
            continue;
        }
        if gaps.iter().any(|gap| gap.excuses(log, update, &id)) {
            verdict.excused += 1;
            continue;
        }
        verdict.violations.push(lost(number, log, *name, update, &id));
    }
}

fn lost(number: usize, log: &Log, name: Name, update: &Update, id: &Cursor) -> Violation {
    let acknowledged = update.attempts.last().map_or(update.begun, |attempt| attempt.ended);
    let is_before = |index: usize| {
        let sighting = &log.sightings[index];
        match sighting.what.cursor() {
            Some(cursor) if id.is_single() => Some(cursor.base() < id.base()),
            Some(_) => Some(sighting.at < acknowledged),
            None => None,
        }
    };
    let before = (0..log.sightings.len()).rev().find(|index| is_before(*index) == Some(true));
    let after = (before.map_or(0, |before| before + 1)..log.sightings.len())
        .find(|index| is_before(*index) == Some(false));
    Violation {
        kind: Kind::Lost,
        text: format!("subscriber {number} never saw {name}, acknowledged as {id}"),
        updates: vec![name],
        places: before.into_iter().chain(after).map(|index| (number, index)).collect(),
    }
}
