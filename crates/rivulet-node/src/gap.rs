//! What a stream is told about updates that it can no longer have.

use std::sync::Arc;

use rivulet_core::{Position, Topic};

use crate::{Gap, Selection};

/// Whether `told` covers a gap: who heard of it knows that these topics lost updates before that position.
pub(crate) fn covers(told: &Gap, gap: &Gap) -> bool {
    let topics = match (&told.topics, &gap.topics) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(told), Some(lost)) => lost.iter().all(|topic| told.contains(topic)),
    };
    topics && gap.oldest <= told.oldest
}

/// The names under which a stream knows what lost updates: topics, or all that it selects.
pub(crate) fn names<'a>(
    topics: Option<&'a Arc<[Topic]>>,
    selection: &'a Selection,
) -> Box<dyn Iterator<Item = &'a str> + 'a> {
    match (topics, selection) {
        (Some(topics), _) | (None, Selection::Topics(topics)) => Box::new(topics.iter().map(Topic::as_str)),
        (None, Selection::Matching(matchers)) => Box::new(matchers.iter().map(|matcher| matcher.text())),
    }
}

/// The position just before another one.
pub(crate) fn before(position: Position) -> Position {
    Position::from_micros(position.as_micros().saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_told_once_and_again_when_it_has_grown() {
        let gap = |names: Option<&[&str]>, oldest| Gap {
            topics: names.map(|names| names.iter().map(|name| Topic::parse(name).unwrap()).collect()),
            oldest: Position::from_micros(oldest),
        };
        let check = |told: &Gap, found: &Gap, expected| {
            assert_eq!(covers(told, found), expected, "{told:?} {found:?}");
        };
        check(&gap(Some(&["a", "b"]), 5), &gap(Some(&["a", "b"]), 5), true);
        check(&gap(Some(&["a", "b"]), 5), &gap(Some(&["b"]), 4), true);
        check(&gap(Some(&["a"]), 5), &gap(Some(&["a"]), 6), false);
        check(&gap(Some(&["a"]), 5), &gap(Some(&["b"]), 5), false);
        check(&gap(Some(&["a"]), 5), &gap(None, 5), false);
        check(&gap(None, 5), &gap(Some(&["b"]), 5), true);
    }
}
