//! Gaps: each must have a loss of data as its reason, and only what lies in one is excused.

use super::{Kind, Verdict, Violation};
use crate::checker::{
    cursor::Cursor,
    history::{Effect, History, Log, Moment, Update, What},
};

/// How far the clocks of Redis and of the run may be apart, and how late a loss may be noticed.
const SLACK: Moment = Moment::from_secs(1);

/// A gap as a subscriber was told of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gap<'a> {
    index: usize,
    /// The last id before it.
    after: Option<&'a Cursor>,
    topics: &'a [String],
    oldest: &'a Cursor,
}

impl<'a> Gap<'a> {
    /// All gaps of a log.
    pub(super) fn all(log: &'a Log) -> Vec<Self> {
        let (mut gaps, mut after) = (Vec::new(), None);
        for (index, sighting) in log.sightings.iter().enumerate() {
            if let What::Gap { topics, oldest, .. } = &sighting.what {
                gaps.push(Gap { index, after, topics, oldest });
            }
            after = sighting.what.cursor().or(after);
        }
        gaps
    }

    /// Whether it says that this update may be lost.
    pub(super) fn excuses(&self, log: &Log, update: &Update, id: &Cursor) -> bool {
        let begins = self.after.map_or(0, Cursor::base);
        // With several partitions the update's own is not known here: it lies in the gap of one of them.
        let lies_within = id.base() > begins && id.base() < self.oldest.top();
        lies_within && log.interest.is_named(self.topics, &update.topics)
    }

    /// Whether data of its topics were lost within it.
    pub(super) fn has_reason(&self, history: &History, log: &Log) -> bool {
        let begins = self.after.map_or(Moment::ZERO, |cursor| history.moment(cursor.base()));
        let ends = history.moment(self.oldest.top());
        let losses = history.breakages.iter().filter(|breakage| breakage.effect == Effect::Loses);
        let mut within = losses.filter(|loss| begins <= loss.to + SLACK && ends + SLACK >= loss.from);
        begins <= ends && log.interest.asks_for(self.topics) && within.next().is_some()
    }
}

pub(super) fn check(history: &History, number: usize, verdict: &mut Verdict) {
    let log = &history.logs[number];
    for gap in Gap::all(log) {
        if gap.has_reason(history, log) {
            verdict.gaps += 1;
            continue;
        }
        let after = gap.after.map_or("nothing".to_owned(), ToString::to_string);
        verdict.violations.push(Violation {
            kind: Kind::FalseGap,
            text: format!(
                "subscriber {number} was told of a gap between {after} and {} in {:?}, where it lost nothing",
                gap.oldest, gap.topics
            ),
            updates: Vec::new(),
            places: vec![(number, gap.index)],
        });
    }
    check_headers(history, number, verdict);
}

/// A header that does not know an id which was asked for announces a gap too, and the stream must repeat it.
fn check_headers(history: &History, number: usize, verdict: &mut Verdict) {
    let loss = history.breakages.iter().filter(|breakage| breakage.effect == Effect::Loses);
    let first_loss = loss.map(|loss| loss.from).min();
    let sightings = &history.logs[number].sightings;
    for (index, sighting) in sightings.iter().enumerate() {
        let What::Opened { after: Some(after), header, .. } = &sighting.what else { continue };
        if header.as_ref() == Some(after) {
            continue;
        }
        let mut add = |kind, text: &str, places: Vec<usize>| {
            verdict.violations.push(Violation {
                kind,
                text: format!("subscriber {number} asked for {after} and was answered {header:?}, {text}"),
                updates: Vec::new(),
                places: places.into_iter().map(|index| (number, index)).collect(),
            });
        };
        if first_loss.is_none_or(|loss| sighting.at < loss) {
            add(Kind::FalseGap, "where nothing was lost", vec![index]);
        }
        // With several partitions what others of them keep may come before the gap.
        let is_single = Cursor::parse(after).is_some_and(|after| after.is_single());
        let says = |what: &What| matches!(what, What::Update(..) | What::Gap { .. } | What::Ended(_));
        let first = (index + 1..sightings.len()).find(|next| says(&sightings[*next].what));
        if let Some(next) = first.filter(|_| is_single)
            && matches!(sightings[next].what, What::Update(..))
        {
            add(Kind::SilentGap, "and no gap event came", vec![index, next]);
        }
    }
}
