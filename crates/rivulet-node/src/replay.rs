//! A replay: how a subscriber reads the log until it reaches the rings.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use rivulet_core::{Matcher, Position, Topic};

use crate::{
    Page, Selection, Transport, TransportError,
    config::{PAGE_LEN, REPLAY_ATTEMPTS_MAX},
    delivery::Delivery,
};

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
}

impl Replay {
    /// A replay that has still to read what stands after `cursor`.
    pub(crate) fn starting_after(cursor: Position, selection: Selection) -> Self {
        Self { selection, pending: VecDeque::new(), through: cursor, more: true, reading: false }
    }

    /// Takes a page; its entries must have been filtered by the subscriber's grants.
    pub(crate) fn take_page(&mut self, page: &Page, pending: VecDeque<Arc<Delivery>>) {
        self.reading = false;
        self.pending = pending;
        self.through = self.through.max(page.through);
        self.more = page.more;
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

/// Reads a page; tries again with growing pauses, since the log is often back before the client would be.
pub(crate) async fn read_page(
    transport: &dyn Transport,
    selection: &Selection,
    after: Position,
) -> Result<Page, TransportError> {
    let mut pause = Duration::from_millis(250);
    for _ in 1..REPLAY_ATTEMPTS_MAX {
        match transport.read(selection, after, PAGE_LEN).await {
            Ok(page) => return Ok(page),
            Err(error) => tracing::debug!(%error, "a page of the log could not be read; trying again"),
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
    transport.read(selection, after, PAGE_LEN).await
}
