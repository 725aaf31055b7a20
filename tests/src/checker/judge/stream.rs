//! What one subscriber saw, taken by itself: nothing foreign, nothing twice, ids that only grow.

use super::{Kind, Seen, Verdict, Violation};
use crate::checker::{
    cursor::Cursor,
    history::{Effect, History, Name, Update, What},
};

pub(super) fn check(history: &History, number: usize, seen: &Seen, verdict: &mut Verdict) {
    check_ids(history, number, verdict);
    let mut names: Vec<&Name> = seen.keys().collect();
    names.sort();
    for name in names {
        let places = &seen[name];
        let found = match history.updates.get(name) {
            Some(update) => check_update(history, number, *name, update, places, verdict),
            None => vec![(Kind::Phantom, format!("saw {name}, which nobody published"))],
        };
        verdict.violations.extend(found.into_iter().map(|(kind, text)| Violation {
            kind,
            text: format!("subscriber {number} {text}"),
            updates: vec![*name],
            places: places.iter().map(|index| (number, *index)).collect(),
        }));
    }
}

fn check_update(
    history: &History,
    number: usize,
    name: Name,
    update: &Update,
    places: &[usize],
    verdict: &mut Verdict,
) -> Vec<(Kind, String)> {
    let log = &history.logs[number];
    let mut found = Vec::new();
    if !log.interest.entitles(&update.topics, update.private) {
        found.push((Kind::Leak, format!("saw {name}, which is not for it")));
    }
    let ids: Vec<&Cursor> = places.iter().filter_map(|index| log.sightings[*index].what.cursor()).collect();
    let may_have_two = history.effect() >= Effect::Forgets && update.was_repeated();
    let differ = ids.windows(2).all(|pair| pair[0] != pair[1]);
    if places.len() > 1 && may_have_two && differ {
        verdict.forgotten += 1;
    } else if places.len() > 1 {
        found.push((Kind::Duplicate, format!("saw {name} {} times", places.len())));
    }
    if let Some(told) = told_otherwise(update, &ids).filter(|_| !may_have_two) {
        found.push((
            Kind::Phantom,
            format!("saw {name} as {}, its publisher was told {told}", ids[0].brief()),
        ));
    }
    found
}

/// The id that the publisher was told, if it is another one. With several partitions a stream has ids of its own.
fn told_otherwise<'a>(update: &'a Update, ids: &[&Cursor]) -> Option<&'a str> {
    let told = update.id()?;
    let cursor = Cursor::parse(told);
    let differs = match cursor {
        Some(cursor) if cursor.is_single() => ids.iter().any(|id| **id != cursor),
        Some(_) => false,
        None => true,
    };
    differs.then_some(told)
}

fn check_ids(history: &History, number: usize, verdict: &mut Verdict) {
    let mut last: Option<(usize, &Cursor)> = None;
    for (index, sighting) in history.logs[number].sightings.iter().enumerate() {
        if let What::Strange(text) = &sighting.what {
            verdict.violations.push(Violation {
                kind: Kind::Phantom,
                text: format!("subscriber {number} got what no hub sends: {text}"),
                updates: Vec::new(),
                places: vec![(number, index)],
            });
        }
        let Some(id) = sighting.what.cursor() else { continue };
        if let Some((before, earlier)) = last {
            // An event must move the cursor; a heartbeat may repeat it.
            let moves = !matches!(sighting.what, What::Update(..)) || id != earlier;
            if !id.reaches(earlier) || !moves {
                verdict.violations.push(Violation {
                    kind: Kind::Order,
                    text: format!("subscriber {number} got {}", backwards(id, earlier)),
                    updates: named(&sighting.what),
                    places: vec![(number, before), (number, index)],
                });
            }
        }
        last = Some((index, id));
    }
}

fn backwards(id: &Cursor, earlier: &Cursor) -> String {
    let behind: Vec<String> = id
        .behind(earlier)
        .iter()
        .take(4)
        .map(|(partition, now, then)| format!("partition {partition} at {now} after {then}"))
        .collect();
    format!("id {} after {} {}", id.brief(), earlier.brief(), behind.join(", "))
}

fn named(what: &What) -> Vec<Name> {
    match what {
        What::Update(name, _) => vec![*name],
        _ => Vec::new(),
    }
}
