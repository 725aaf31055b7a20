//! A source: one matcher in one partition on one worker, with its ring and its members.

use rivulet_core::{Matcher, Partition, Position};
use smallvec::SmallVec;

use crate::{
    config::{RING_BYTES_MAX, RING_LEN_MAX},
    registry::PatternId,
    ring::Ring,
    timing::Round,
};

/// What all subscribers of one matcher share on one worker, of one partition.
///
/// A *pass* brings what was pushed to all members, in slices, round and round: `remaining` members have not been looked
/// at since the last push.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) matcher: Matcher,
    pub(crate) partition: Partition,
    pub(crate) pattern: Option<PatternId>,
    pub(crate) ring: Ring,
    /// Keys of seats.
    pub(crate) members: SmallVec<[u32; 2]>,
    /// Members that are behind: the ring is kept for them.
    pub(crate) behind: u32,
    pub(crate) remaining: u32,
    next: u32,
    fresh: u32,
    fresh_bytes: u32,
    pub(crate) round: Round,
    pub(crate) queued: bool,
    pub(crate) congested: bool,
    /// Whether the transport has confirmed the subscription.
    pub(crate) confirmed: bool,
}

impl Source {
    /// A source that has what comes after `start`.
    pub(crate) fn new(matcher: Matcher, pattern: Option<PatternId>, start: (Partition, Position)) -> Self {
        Self {
            matcher,
            partition: start.0,
            pattern,
            ring: Ring::starting_after(start.1),
            members: SmallVec::new(),
            behind: 0,
            remaining: 0,
            next: 0,
            fresh: 0,
            fresh_bytes: 0,
            round: Round::default(),
            queued: false,
            congested: false,
            confirmed: false,
        }
    }

    /// The transport delivers what comes after `since`; nothing before it is owed to anyone without the log.
    pub(crate) fn confirm(&mut self, since: Position) {
        if !self.confirmed {
            self.confirmed = true;
            self.ring.raise_floor(since);
        }
    }

    /// Adds a seat behind the last member, and answers its place.
    pub(crate) fn join(&mut self, key: u32) -> u32 {
        if self.remaining > 0 {
            // The pass comes by here as well: without one step more it would end before a member that it owes a look.
            self.remaining += 1;
        }
        self.members.push(key);
        self.behind += 1;
        self.member_count() - 1
    }

    /// Takes a member out; the last one takes its place. Answers who moved.
    pub(crate) fn leave(&mut self, index: u32) -> Option<u32> {
        self.members.swap_remove(index as usize);
        if self.remaining > 0 {
            // Someone who had not been looked at may stand among those who had: everybody is looked at again.
            self.remaining = self.member_count();
        }
        self.members.get(index as usize).copied()
    }

    pub(crate) fn member_count(&self) -> u32 {
        u32::try_from(self.members.len()).unwrap_or(u32::MAX)
    }

    /// Notes a push: everybody is to be looked at again.
    pub(crate) fn start_round(&mut self, bytes: usize) {
        self.remaining = self.member_count();
        self.fresh += 1;
        self.fresh_bytes = self.fresh_bytes.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
    }

    /// Whether so much waits for the pass to end that no more input may be taken: otherwise the ring would discard what
    /// level subscribers have not been offered yet.
    pub(crate) fn is_full(&self) -> bool {
        self.fresh as usize >= RING_LEN_MAX / 2 || self.fresh_bytes as usize >= RING_BYTES_MAX / 2
    }

    /// The next member of the pass.
    pub(crate) fn next_member(&mut self) -> Option<usize> {
        self.remaining = self.remaining.checked_sub(1)?;
        if self.next >= self.member_count() {
            self.next = 0;
        }
        let key = *self.members.get(self.next as usize)?;
        self.next += 1;
        Some(key as usize)
    }

    pub(crate) fn end_round(&mut self) {
        self.fresh = 0;
        self.fresh_bytes = 0;
    }

    /// Whether nobody needs the ring.
    pub(crate) fn is_settled(&self) -> bool {
        self.behind == 0 && self.remaining == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn source() -> Source {
        Source::new(Matcher::All, None, (Partition::default(), Position::ZERO))
    }

    #[derive(Clone, Debug)]
    enum Step {
        Push,
        Look(u8),
        Join,
        Leave(prop::sample::Index),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            Just(Step::Push),
            (1..64u8).prop_map(Step::Look),
            Just(Step::Join),
            any::<prop::sample::Index>().prop_map(Step::Leave),
        ];
        prop::collection::vec(step, 1..60)
    }

    proptest! {
        /// Whoever was a member at a push and still is one has been looked at after it when the pass has ended.
        #[test]
        fn a_pass_owes_everybody_a_look(first in 1..150u32, steps in steps()) {
            let mut source = source();
            let mut drawn = 0..;
            let mut owed = BTreeSet::new();
            for key in drawn.by_ref().take(first as usize) {
                source.join(key);
            }
            let look = |source: &mut Source, owed: &mut BTreeSet<u32>, times: u32| {
                for _ in 0..times {
                    let Some(key) = source.next_member() else { return };
                    owed.remove(&u32::try_from(key).unwrap());
                }
            };
            for step in steps {
                match step {
                    Step::Push => {
                        source.start_round(1);
                        owed = source.members.iter().copied().collect();
                    }
                    Step::Look(times) => look(&mut source, &mut owed, times.into()),
                    Step::Join => _ = source.join(drawn.next().unwrap()),
                    Step::Leave(which) if source.members.len() > 1 => {
                        let index = which.index(source.members.len());
                        owed.remove(&source.members[index]);
                        source.leave(u32::try_from(index).unwrap());
                    }
                    Step::Leave(_) => {}
                }
            }
            look(&mut source, &mut owed, u32::MAX);
            prop_assert!(owed.is_empty(), "{owed:?} were not looked at");
            prop_assert_eq!(source.remaining, 0);
        }
    }
}
