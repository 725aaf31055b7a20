//! A replay: how a subscriber reads the log until it reaches the rings.

use std::{collections::VecDeque, sync::Arc};

use rivulet_core::{Matcher, Position, Topic};
use smallvec::SmallVec;

use crate::{Appended, Page, Selection, config::PAGE_BYTES_MAX, delivery::Delivery};

/// One page at most, written at the client's pace; then the next is read.
#[derive(Debug)]
pub(crate) struct Replay {
    pub(crate) selection: Selection,
    /// Of the page that was read, what is still to be written.
    pub(crate) pending: VecDeque<Arc<Delivery>>,
    /// Up to where the log has been read.
    pub(crate) through: Position,
    /// Whether the log had more when it was read.
    pub(crate) more: bool,
    /// Whether a page is being read now.
    pub(crate) reading: bool,
    /// Whether the subscriber has been told that something may be missing.
    pub(crate) told: Told,
}

/// What a subscriber was told when its replay began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// Everything after its last id follows.
    Complete,
    /// What is kept follows.
    Earliest,
}

impl Replay {
    /// A replay that has still to read what stands after `cursor`.
    pub(crate) fn starting_after(cursor: Position, selection: Selection, told: Told) -> Self {
        Self { told, selection, pending: VecDeque::new(), through: cursor, more: true, reading: false }
    }

    /// Takes of a page what `may_receive` allows, up to [`PAGE_BYTES_MAX`]; what does not fit is read again later.
    pub(crate) fn take_page(&mut self, page: &Page, may_receive: impl Fn(&Appended) -> bool) {
        self.reading = false;
        (self.through, self.more) = (self.through.max(page.through), page.more);
        let mut bytes = 0;
        for entry in page.entries.iter().filter(|entry| may_receive(entry)) {
            if bytes >= PAGE_BYTES_MAX
                && let Some(last) = self.pending.back()
            {
                (self.through, self.more) = (last.position(), true);
                return;
            }
            let delivery = Delivery::new(entry, SmallVec::new());
            bytes += delivery.frame.bytes.len();
            self.pending.push_back(delivery);
        }
    }
}

/// What a subscriber with these matchers reads from the log.
pub(crate) fn selection<'a>(matchers: impl Iterator<Item = &'a Matcher> + Clone) -> Selection {
    let topics: Option<Vec<Topic>> = matchers
        .clone()
        .map(|matcher| match matcher {
            Matcher::Exact(topic) => Some(topic.clone()),
            _ => None,
        })
        .collect();
    match topics {
        Some(topics) => Selection::Topics(topics.into()),
        None => Selection::Matching(matchers.cloned().collect()),
    }
}
