//! An entry of the index: an update without its payload, whose length it knows, so that payloads are fetched in bounded
//! batches.

use rivulet_core::{Position, Topic};
use rivulet_node::PageLimits;

use crate::entry::Entry;

/// See the module.
#[derive(Debug)]
pub(crate) struct IndexEntry {
    pub(crate) position: Position,
    /// Those of the update's topics that stand in the partition. None where they cannot be read: then nobody knows whom it
    /// concerns.
    pub(crate) topics: Vec<Topic>,
    pub(crate) len: usize,
}

impl IndexEntry {
    /// What is not a topic can have been written by someone else only, or by a newer version.
    pub(crate) fn parse(entry: &Entry) -> Self {
        let text = String::from_utf8_lossy(&entry.content);
        let topics = text.split('\n').filter_map(|topic| Topic::parse(topic).ok()).collect();
        Self { position: entry.position, topics, len: entry.len }
    }

    /// Whether somebody may lack it who wants topics of which `wants` says so.
    pub(crate) fn concerns(&self, wants: impl FnOnce(&[Topic]) -> bool) -> bool {
        self.topics.is_empty() || wants(&self.topics)
    }

    /// Whose subscribers lack the update where it cannot be read; `None`: perhaps everyone's.
    pub(crate) fn lost_topics(&self) -> Option<&[Topic]> {
        (!self.topics.is_empty()).then_some(&self.topics)
    }
}

/// How many of these lengths, from the first on, are within limits: one at least.
pub(crate) fn fitting(lens: impl Iterator<Item = usize>, limits: PageLimits) -> usize {
    let mut bytes = 0;
    lens.take(limits.len.max(1))
        .take_while(|len| {
            let fits = bytes == 0 || bytes < limits.bytes;
            bytes += (*len).max(1);
            fits
        })
        .count()
}

/// The entries in batches within limits.
pub(crate) fn batches(entries: &[IndexEntry], limits: PageLimits) -> impl Iterator<Item = &[IndexEntry]> {
    let mut left = entries;
    std::iter::from_fn(move || {
        let (batch, rest) = left.split_at(fitting(left.iter().map(|entry| entry.len), limits));
        left = rest;
        (!batch.is_empty()).then_some(batch)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_end_a_batch() {
        let check = |lens: &[usize], limits: (usize, usize), expected: usize| {
            let limits = PageLimits { len: limits.0, bytes: limits.1 };
            assert_eq!(fitting(lens.iter().copied(), limits), expected, "{lens:?} {limits:?}");
        };
        check(&[], (10, 10), 0);
        check(&[5, 5, 5], (10, 10), 2);
        check(&[5, 6, 5], (10, 10), 2);
        check(&[4, 5, 5], (10, 10), 3);
        check(&[100, 1], (10, 10), 1);
        check(&[1, 1, 1], (2, 10), 2);
        check(&[0, 0, 0], (10, 2), 2);
        check(&[5], (0, 0), 1);
    }

    #[test]
    fn batches_hold_everything_in_order() {
        let entry = |micros: u64| IndexEntry {
            position: Position::from_micros(micros),
            topics: Vec::new(),
            len: usize::try_from(micros).unwrap(),
        };
        let entries: Vec<_> = [1, 9, 20, 3, 3, 3].map(entry).into();
        let limits = PageLimits { len: 2, bytes: 10 };
        let lens: Vec<Vec<usize>> =
            batches(&entries, limits).map(|batch| batch.iter().map(|entry| entry.len).collect()).collect();
        assert_eq!(lens, [vec![1, 9], vec![20], vec![3, 3], vec![3]]);
    }
}
