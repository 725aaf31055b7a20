//! The shortest history that shows a violation: the update, what its subscriber saw around it, what was broken then.

use super::{
    cursor::Cursor,
    history::{Answer, History, Moment, Name, What},
    judge::Violation,
};

/// How far around a violation breakages are shown.
const MARGIN: Moment = Moment::from_secs(2);

/// How many lines of one subscriber, and of one update, are shown at most.
const LINES_MAX: usize = 40;

/// The lines of a history that show a violation, oldest first.
pub fn of(history: &History, violation: &Violation) -> Vec<String> {
    let mut lines: Vec<(Moment, String)> = Vec::new();
    for name in &violation.updates {
        publication(history, *name, &mut lines);
    }
    let mut subscribers: Vec<usize> = violation.places.iter().map(|place| place.0).collect();
    subscribers.dedup();
    for number in subscribers {
        let places = violation.places.iter().filter(|place| place.0 == number).map(|place| place.1);
        observation(history, number, &places.collect::<Vec<_>>(), &mut lines);
    }
    let first = lines.iter().map(|line| line.0).min().unwrap_or_default();
    let last = lines.iter().map(|line| line.0).max().unwrap_or_default();
    for breakage in &history.breakages {
        if breakage.from <= last + MARGIN && breakage.to + MARGIN >= first && !lines.is_empty() {
            lines.push((breakage.from, format!("nemesis, until {}: {}", time(breakage.to), breakage.text)));
        }
    }
    lines.sort_by_key(|line| line.0);
    lines.into_iter().map(|(at, text)| format!("{:>10}  {text}", time(at))).collect()
}

fn time(moment: Moment) -> String {
    format!("{:.3} s", moment.as_secs_f64())
}

fn publication(history: &History, name: Name, lines: &mut Vec<(Moment, String)>) {
    let Some(update) = history.updates.get(&name) else { return };
    let private = if update.private { ", private" } else { "" };
    lines.push((update.begun, format!("publisher: {name} on {:?}{private}", update.topics)));
    for attempt in update.attempts.iter().take(LINES_MAX) {
        let answer = match &attempt.answer {
            Answer::Acknowledged(id) => format!("acknowledged as {id}"),
            Answer::NotSent(reason) => format!("not sent: {reason}"),
            Answer::Unknown(reason) => format!("outcome unknown: {reason}"),
            Answer::Refused(reason) => format!("refused: {reason}"),
        };
        lines.push((attempt.ended, format!("publisher: {name} to node {}: {answer}", attempt.node)));
    }
}

/// The places themselves, the events about connections between them, and the opening of the first stream.
fn observation(history: &History, number: usize, places: &[usize], lines: &mut Vec<(Moment, String)>) {
    let log = &history.logs[number];
    let (Some(first), Some(last)) = (places.iter().min(), places.iter().max()) else { return };
    let is_opening = |index: &usize| matches!(log.sightings[*index].what, What::Opened { .. });
    let opening = (0..*first).rev().find(is_opening);
    let says = |index: &usize| match log.sightings[*index].what {
        What::Update(..) | What::Heartbeat(_) => places.contains(index),
        _ => true,
    };
    let shown: Vec<usize> = opening.into_iter().chain((*first..=*last).filter(says)).collect();
    let at = log.sightings[opening.unwrap_or(*first)].at;
    lines.push((at, format!("subscriber {number} asks for {}, {:?}", log.interest.describe(), log.habit)));
    let omitted = shown.len().saturating_sub(LINES_MAX);
    for (count, index) in shown.iter().enumerate() {
        let sighting = &log.sightings[*index];
        if count < LINES_MAX / 2 || count >= LINES_MAX / 2 + omitted {
            lines.push((sighting.at, format!("subscriber {number}: {}", describe(history, &sighting.what))));
        } else if count == LINES_MAX / 2 {
            lines.push((sighting.at, format!("subscriber {number}: … {omitted} more such lines …")));
        }
    }
}

fn describe(history: &History, what: &What) -> String {
    match what {
        What::Opened { node, after, header } => {
            let brief = |id: &Option<String>| match id.as_deref() {
                Some(id) => Cursor::parse(id).map_or_else(|| id.to_owned(), |cursor| cursor.brief()),
                None => "–".to_owned(),
            };
            let (after, header) = (brief(after), brief(header));
            format!("opened at {node} after {after}, answered {header}")
        }
        What::Refused(node, reason) => format!("refused by {node}: {reason}"),
        What::Ended(reason) => format!("ended: {reason}"),
        What::Stalled(duration) => format!("stops reading for {duration:?}"),
        What::Update(name, id) => {
            let topics = history.updates.get(name).map(|update| update.topics.join(" "));
            format!("saw {name} ({}) with id {}", topics.unwrap_or_default(), id.brief())
        }
        What::Strange(text) => format!("got {text}"),
        What::Heartbeat(id) => format!("heartbeat {}", id.brief()),
        What::Gap { id, topics, oldest } => {
            let id = id.as_ref().map_or("–".to_owned(), Cursor::brief);
            format!("told of a gap in {topics:?} before {}, id {id}", oldest.brief())
        }
    }
}
