//! How far the beginning of a URI Template can match a topic.

use smallvec::SmallVec;

/// A set of positions in a topic, from 0 to its length.
#[derive(Clone, Debug)]
pub(crate) struct Reach {
    /// Whether each position is in the set. Inline for all but very long topics.
    positions: SmallVec<[bool; 128]>,
    /// No position before this one is in the set.
    first: usize,
    /// No position after this one is in the set.
    last: usize,
}

impl Reach {
    /// Only the beginning of a topic of `topic_len` bytes.
    pub(crate) fn start(topic_len: usize) -> Self {
        let mut positions = smallvec::smallvec![false; topic_len + 1];
        positions[0] = true;
        Self { positions, first: 0, last: 0 }
    }

    /// The lowest position that may be in the set.
    pub(crate) fn first(&self) -> usize {
        self.first
    }

    /// The highest position that may be in the set.
    pub(crate) fn last(&self) -> usize {
        self.last
    }

    pub(crate) fn contains(&self, position: usize) -> bool {
        self.positions[position]
    }

    /// Adds a position. It must not lie before [`Reach::first`].
    pub(crate) fn insert(&mut self, position: usize) {
        self.positions[position] = true;
        self.last = self.last.max(position);
    }

    /// Moves the whole set behind `literal`, where it stands in the topic. Answers whether anything is left.
    pub(crate) fn advance_literal(&mut self, topic: &[u8], literal: &[u8]) -> bool {
        let (first, last) = (self.first, self.last);
        (self.first, self.last) = (self.positions.len(), 0);
        // Downwards, so that no position is moved twice.
        for position in (first..=last).rev() {
            if std::mem::take(&mut self.positions[position]) && topic[position..].starts_with(literal) {
                self.first = position + literal.len();
                self.insert(self.first);
            }
        }
        self.first <= self.last
    }
}
