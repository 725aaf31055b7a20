//! Looking into a node, for who operates it: its connections, its topics, its feed.
//!
//! Workers are asked one after another, and each looks at a bounded number of things between two slices: to look costs
//! the subscribers nothing that they could notice. What is seen was true when its worker looked; while a list is paged
//! through, who comes or goes may be missed, and nobody is seen twice on the same page.

mod connections;
mod feed;
mod topics;

use std::{fmt, str::FromStr};

pub use self::{
    connections::{ConnectionInfo, ConnectionState, ConnectionsPage, ConnectionsQuery, MATCHERS_SHOWN_MAX},
    feed::PartitionFeed,
    topics::{MatcherKind, TopicInfo, TopicsPage, TopicsQuery},
};
use crate::{node::NodeShared, question::Scanned, seats::Seats};

/// Entries on a page, at most: more are not given, whatever the limit of a query says.
pub const INSPECT_LEN_MAX: usize = 1000;

/// Where a list goes on. Written and read as text that means nothing to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListCursor {
    worker: u8,
    key: u32,
}

/// A text is no [`ListCursor`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor of a list of this node: it must be what the page before named as the next")]
pub struct ListCursorError;

impl fmt::Display for ListCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.worker, self.key)
    }
}

impl FromStr for ListCursor {
    type Err = ListCursorError;

    fn from_str(text: &str) -> Result<Self, ListCursorError> {
        let (worker, key) = text.split_once('-').ok_or(ListCursorError)?;
        let cursor = Self {
            worker: worker.parse().map_err(|_| ListCursorError)?,
            key: key.parse().map_err(|_| ListCursorError)?,
        };
        // One thing has one name.
        if cursor.to_string() == text { Ok(cursor) } else { Err(ListCursorError) }
    }
}

impl NodeShared {
    /// Gathers what workers find, from a place in their order on, until there is enough. `look` looks at some things of a
    /// worker from a key on, for at most so many.
    async fn list<T, L>(
        &self,
        after: Option<ListCursor>,
        limit: usize,
        look: L,
    ) -> (Vec<T>, Option<ListCursor>)
    where
        T: Send + 'static,
        L: Fn(&Seats, usize, usize) -> Scanned<T> + Clone + Send + 'static,
    {
        let limit = limit.clamp(1, INSPECT_LEN_MAX);
        let after = after.unwrap_or(ListCursor { worker: 0, key: 0 });
        let _turn = self.inspections.acquire().await;
        let mut found = Vec::new();
        for worker in self.workers.living().iter().filter(|worker| *worker >= after.worker) {
            let mut from = if worker == after.worker { after.key as usize } else { 0 };
            loop {
                if found.len() >= limit {
                    let key = u32::try_from(from).unwrap_or(u32::MAX);
                    return (found, Some(ListCursor { worker, key }));
                }
                let (look, wanted) = (look.clone(), limit - found.len());
                // One that does not answer has ended, or is passed over: the others are still worth seeing.
                let Some((some, next)) = self.ask(worker, move |seats| look(seats, from, wanted)).await
                else {
                    break;
                };
                found.extend(some);
                match next {
                    Some(next) => from = next,
                    None => break,
                }
            }
        }
        (found, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_are_read_as_they_are_written() {
        for (worker, key) in [(0, 0), (3, 17), (63, u32::MAX)] {
            let cursor = ListCursor { worker, key };
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
        for wrong in ["", "-", "1", "1-", "-1", "1-2-3", "256-1", "1-4294967296", "01-2", "+1-2", " 1-2"] {
            assert_eq!(wrong.parse::<ListCursor>(), Err(ListCursorError), "{wrong:?}");
        }
    }
}
