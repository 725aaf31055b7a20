//! One order of each topic for all subscribers, whatever their ids look like.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{Kind, Seen, Verdict, Violation};
use crate::checker::history::{History, Name, What};

/// What one subscriber saw of one topic: the subscriber, and the updates with their places in its log.
type Sequence = (usize, Vec<(Name, usize)>);

/// Two updates that one subscriber saw in this order and another in the other.
struct Inversion {
    first: Name,
    second: Name,
    /// Where the one saw them, then where the other did.
    places: Vec<(usize, usize)>,
}

pub(super) fn check(history: &History, seen: &[Seen], verdict: &mut Verdict) {
    // Updates with two positions have no place in an order; they are judged elsewhere.
    let twice: HashSet<Name> = seen
        .iter()
        .flat_map(|seen| seen.iter().filter(|(_, places)| places.len() > 1).map(|(name, _)| *name))
        .collect();
    for (topic, sequences) in sequences(history, &twice) {
        let caught = cyclic(&sequences);
        if caught.is_empty() {
            continue;
        }
        let Some(Inversion { first, second, places }) = inverted(&sequences, &caught) else {
            verdict.violations.push(Violation {
                kind: Kind::Order,
                text: format!(
                    "{topic}: subscribers' orders of {} updates contradict each other",
                    caught.len()
                ),
                updates: caught.into_iter().take(5).collect(),
                places: Vec::new(),
            });
            continue;
        };
        verdict.violations.push(Violation {
            kind: Kind::Order,
            text: format!(
                "{topic}: subscriber {} saw {first} before {second}, subscriber {} after it",
                places[0].0, places[2].0
            ),
            updates: vec![first, second],
            places,
        });
    }
}

/// For each topic what each subscriber saw through it. An update of several topics comes through the first of them that
/// a subscriber asks for, and is in order with that topic.
fn sequences(history: &History, twice: &HashSet<Name>) -> BTreeMap<String, Vec<Sequence>> {
    let mut topics: BTreeMap<String, Vec<Sequence>> = BTreeMap::new();
    for (number, log) in history.logs.iter().enumerate() {
        let mut own: HashMap<&str, Vec<(Name, usize)>> = HashMap::new();
        for (index, sighting) in log.sightings.iter().enumerate() {
            let What::Update(name, _) = &sighting.what else { continue };
            let Some(update) = history.updates.get(name).filter(|_| !twice.contains(name)) else { continue };
            if let Some(topic) = log.interest.route(&update.topics) {
                own.entry(topic).or_default().push((*name, index));
            }
        }
        for (topic, sequence) in own {
            topics.entry(topic.to_owned()).or_default().push((number, sequence));
        }
    }
    topics
}

/// The updates that cannot be brought into one order (what is left of a topological sort).
fn cyclic(sequences: &[Sequence]) -> HashSet<Name> {
    let mut later: HashMap<Name, Vec<Name>> = HashMap::new();
    let mut waits: HashMap<Name, usize> = HashMap::new();
    for (_, sequence) in sequences {
        for (name, _) in sequence {
            waits.entry(*name).or_default();
        }
        for pair in sequence.windows(2) {
            later.entry(pair[0].0).or_default().push(pair[1].0);
            *waits.entry(pair[1].0).or_default() += 1;
        }
    }
    let mut free: Vec<Name> = waits.iter().filter(|(_, count)| **count == 0).map(|(name, _)| *name).collect();
    while let Some(name) = free.pop() {
        waits.remove(&name);
        for next in later.get(&name).into_iter().flatten() {
            if let Some(count) = waits.get_mut(next) {
                *count -= 1;
                if *count == 0 {
                    free.push(*next);
                }
            }
        }
    }
    waits.into_keys().collect()
}

/// The first contradiction between two subscribers.
fn inverted(sequences: &[Sequence], caught: &HashSet<Name>) -> Option<Inversion> {
    let caught_only = |sequence: &[(Name, usize)]| -> Vec<(Name, usize)> {
        sequence.iter().filter(|(name, _)| caught.contains(name)).copied().collect()
    };
    let places: Vec<(usize, HashMap<Name, usize>)> = sequences
        .iter()
        .map(|(number, sequence)| (*number, caught_only(sequence).into_iter().collect()))
        .collect();
    for (number, sequence) in sequences {
        for pair in caught_only(sequence).windows(2) {
            let ((first, at), (second, then)) = (pair[0], pair[1]);
            for (other, known) in &places {
                if let (Some(one), Some(two)) = (known.get(&first), known.get(&second))
                    && two < one
                {
                    let places = vec![(*number, at), (*number, then), (*other, *two), (*other, *one)];
                    return Some(Inversion { first, second, places });
                }
            }
        }
    }
    None
}
