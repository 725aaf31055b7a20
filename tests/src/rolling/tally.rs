//! What one client has seen of one topic, whose updates are numbered from one.

use std::collections::BTreeSet;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// The highest number.
    seen: u64,
    /// Lower ones that were left out.
    missing: BTreeSet<u64>,
    /// Numbers that came again.
    pub(crate) twice: u64,
    /// Numbers that came behind a higher one.
    pub(crate) disordered: u64,
}

impl Tally {
    pub(crate) fn take(&mut self, number: u64) {
        if number > self.seen {
            self.missing.extend(self.seen + 1..number);
            self.seen = number;
        } else if self.missing.remove(&number) {
            self.disordered += 1;
        } else {
            self.twice += 1;
        }
    }

    /// How many of this many updates have not come.
    pub(crate) fn lost(&self, published: u64) -> u64 {
        self.missing.len() as u64 + published.saturating_sub(self.seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_doubled_or_late_is_counted() {
        for (numbers, published, expected) in [
            (&[1, 2, 3][..], 3, (0, 0, 0)),
            (&[], 2, (2, 0, 0)),
            (&[1, 3], 3, (1, 0, 0)),
            (&[1, 2], 4, (2, 0, 0)),
            (&[1, 2, 2, 1, 3], 3, (0, 2, 0)),
            (&[1, 4, 3, 2, 5], 5, (0, 0, 2)),
            (&[3, 2, 2], 3, (1, 1, 1)),
        ] {
            let mut tally = Tally::default();
            numbers.iter().for_each(|number| tally.take(*number));
            assert_eq!((tally.lost(published), tally.twice, tally.disordered), expected, "{numbers:?}");
        }
    }
}
